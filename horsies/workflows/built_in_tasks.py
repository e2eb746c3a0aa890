"""The tasks of the library that runs need besides those of the app: they build child runs, and expand and collect maps.

They are ordinary tasks: if their worker dies, they are repeated or their node fails.
"""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

from uuid_utils.compat import uuid7

from horsies.codec.signature import SignatureCodec
from horsies.codes import OperationalErrorCode
from horsies.db.operations import Call, CallFailedError, Operation, Pause, Runner
from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.workflows import RunRequest
from horsies.errors import SourceLocation, TaskDefinitionError
from horsies.postponement import AttemptPostponed
from horsies.task_result import TaskError, TaskResult, failed_with
from horsies.tasks.current import CurrentTask, current_task
from horsies.tasks.registry import PLAIN_RESULTS, TaskDefinition
from horsies.workflows.compile import compile_run
from horsies.workflows.definition import AnyDefinition, definitions
from horsies.workflows.nodes import BUILD_TASK
from horsies.workflows.spec import App

MAP_TASK = "horsies.map"
_TRIES = 20
_PAUSE_S = 0.5

type Done = TaskResult[None, TaskError]


def inner_tasks(app: App) -> Iterator[TaskDefinition]:
    """Return the built-in tasks: one for each imported definition, which builds a run of it, and one for maps."""
    none = SignatureCodec(_nothing)
    for key, definition in definitions().items():
        try:
            signature = definition.signature() or none
        except TaskDefinitionError:
            continue  # no workflow can use it as a node: HRS-023
        yield _inner(BUILD_TASK + key, partial(_build, app, definition), signature, definition.location)
    yield _inner(MAP_TASK, partial(_map, app.producer.runner), none, None)


def _inner(name: str, fn: Any, signature: SignatureCodec, location: SourceLocation | None) -> TaskDefinition:
    here = location or SourceLocation(inspect.getsourcefile(_map) or "", 1)
    return TaskDefinition(name, fn, is_async=False, signature=signature, result=PLAIN_RESULTS, location=here)


def _nothing() -> None:
    """Take no arguments; only the signature of this function is used."""


def _build(app: App, definition: AnyDefinition, /, *args: Any, **params: Any) -> Done:
    task = _task()
    try:
        compiled = compile_run(definition.build_with(app, *args, **params), task.scrub)
    except AttemptPostponed:
        raise
    except Exception as exception:  # noqa: BLE001 - user code may raise anything
        message = f"no run could be built of {definition.__name__}: {exception}"
        code = OperationalErrorCode.SUBWORKFLOW_LOAD_FAILED
        return TaskResult(err=TaskError(error_code=code, message=message, exception=exception))
    request = RunRequest(uuid7(), compiled.document, compiled.fingerprint)
    verdict = app.producer.runner.run(
        require_answer(workflow_queries.workflow_attach(task.uuid, task.attempt, request))
    )
    if verdict == "recursive":
        message = f"{definition.__name__} contains itself: a run of it is above this node"
        return failed_with(OperationalErrorCode.SUBWORKFLOW_LOAD_FAILED, message)
    return TaskResult(ok=None)


def _map(runner: Runner) -> Done:
    task = _task()
    runner.run(require_answer(workflow_queries.workflow_map(task.uuid, task.attempt)))
    return TaskResult(ok=None)


def _task() -> CurrentTask:
    task = current_task()
    if task is None:
        msg = "this task is run by workers only"
        raise RuntimeError(msg)
    return task


def require_answer[R](call: Call[R]) -> Operation[R]:
    """Make a call, and repeat it while the database is unreachable; these calls are safe to repeat."""
    for _ in range(_TRIES):
        try:
            return (yield call)
        except CallFailedError as failure:
            if not failure.retryable:
                raise
        yield Pause(_PAUSE_S)
    return (yield call)
