"""Starting workflow runs, with retries that never create a second run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.codes import WorkflowStartErrorCode
from horsies.db.operations import MAX_TEXT_BYTES, UNSET, CallFailedError, CallRefusedError, Operation, Runner
from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.workflows import RunRequest
from horsies.errors import HorsiesError
from horsies.masking import mask_secrets
from horsies.producer.handle import CodecFor
from horsies.producer.payloads import LargeArguments, wrong_size
from horsies.producer.send import with_resend, wrong_connection
from horsies.producer.suppression import Suppression, log_failure, note_suppressed, suppression
from horsies.producer.traces import begin_send, traced
from horsies.result import Err, Ok, Result
from horsies.tracing.policy import LINKS
from horsies.workflows.compile import compile_run, with_member
from horsies.workflows.handle import RunBroker, WorkflowHandle
from horsies.workflows.validation.spec import parse_workflow_id

if TYPE_CHECKING:
    from horsies.workflows.spec import WorkflowSpec


@dataclass(frozen=True, slots=True)
class WorkflowStartError:
    """Why a run was not started.

    Attributes:
        code: The kind of failure.
        message: A description of the failure.
        retryable: Whether `retry_start` may succeed. It never creates a second run, even if the first start reached
            the database. For a start in a transaction of the caller: whether the whole transaction may succeed later.
        workflow_name: The name of the workflow.
        workflow_id: The id of the run; None if the start failed before it was sent, or in a transaction of the caller.
        exception: The cause; None if there was none.
    """

    code: WorkflowStartErrorCode
    message: str
    retryable: bool = False
    workflow_name: str = ""
    workflow_id: str | None = None
    exception: BaseException | None = None


type WorkflowStartResult[H] = Result[H, WorkflowStartError]
type _Start[T] = Operation[WorkflowStartResult[WorkflowHandle[T]]]


@dataclass(frozen=True, slots=True)
class _AppBroker:
    """The broker interface of an app, for the handles of its runs."""

    runner: Runner
    codec_for: CodecFor


def start[T](
    spec: "WorkflowSpec[T]", workflow_id: str | UUID | None, broker: RunBroker | None = None, connection: object = UNSET
) -> _Start[T]:
    """Start a run, and log a failure, because a program may ignore the result."""
    return _logged((yield from _begin(spec, workflow_id, broker, connection)))


def _begin[T](
    spec: "WorkflowSpec[T]", workflow_id: str | UUID | None, broker: RunBroker | None, connection: object
) -> _Start[T]:
    """Start a run. With ``resend_on_transient_err``, retry it up to three times."""
    app, code = spec.app, WorkflowStartErrorCode.VALIDATION_FAILED
    if app is not None and broker is None:
        broker = _AppBroker(app.producer.runner, app.registry.result_codec)
    if broker is None:
        message = f"workflow {spec.name!r} belongs to no app: make it with app.workflow(…), or pass app="
        return Err(WorkflowStartError(WorkflowStartErrorCode.BROKER_NOT_CONFIGURED, message, workflow_name=spec.name))
    suppressed = suppression()
    if suppressed is not None:
        message = f"workflow {spec.name!r} was started {suppressed.value.format('start')}"
        note_suppressed(f"workflow {spec.name!r} is started")
        return Err(WorkflowStartError(code, message, workflow_name=spec.name))
    if wrong := wrong_connection(connection) or _check_sizes(spec):
        return Err(WorkflowStartError(code, wrong, workflow_name=spec.name))
    try:
        run_id = uuid7() if workflow_id is None else parse_workflow_id(workflow_id)
    except HorsiesError as error:
        return Err(WorkflowStartError(code, str(error), workflow_name=spec.name, exception=error))
    compiled = compile_run(spec)
    policy = LINKS if app is None else app.producer.traces
    span = begin_send(policy, spec.name, workflow_name=spec.name, message_id=run_id)
    document = compiled.document
    if span is not None:  # not a part of the fingerprint
        document = with_member(document, b"trace_context", span.context)
    request = RunRequest(run_id, document, compiled.fingerprint)

    def attempt(broker: RunBroker = broker) -> _Start[T]:
        return _start(request, spec, broker, connection)

    starting = attempt()
    if app is not None and connection is UNSET:
        starting = with_resend(app.producer, starting, attempt)
    return (yield from (starting if span is None else traced(span, starting)))


def _check_sizes(spec: "WorkflowSpec[Any]") -> str | None:
    """Return why the arguments of a node are too large, or None. Log those that exceed only ``warn_bytes``."""
    if spec.app is None:
        return None
    policy = spec.app.producer.payload
    large = LargeArguments(policy)
    for node, planned in zip(spec.tasks, spec.plan, strict=True):
        too_large = wrong_size(policy, node.task_name, len(planned.args))
        if too_large is not None:
            return f"node {planned.node_id!r}: {too_large}"
        large.note(node.task_name, len(planned.args))
    large.log()
    return None


def _start[T](request: RunRequest, spec: "WorkflowSpec[T]", broker: RunBroker, connection: object) -> _Start[T]:
    run_id = str(request.run_id)
    if len(request.document) >= MAX_TEXT_BYTES:
        message = f"the run has {len(request.document):,} bytes, and must have less than {MAX_TEXT_BYTES:,}"
        return Err(WorkflowStartError(WorkflowStartErrorCode.VALIDATION_FAILED, message, workflow_name=spec.name))
    try:
        verdict: str = yield workflow_queries.workflow_start(request, connection)
    except CallRefusedError as refusal:
        return Err(WorkflowStartError(WorkflowStartErrorCode.VALIDATION_FAILED, refusal.message, False, spec.name))
    except CallFailedError as failure:
        code, made_id = WorkflowStartErrorCode.ENQUEUE_FAILED, run_id if connection is UNSET else None
        return Err(WorkflowStartError(code, failure.message, failure.retryable, spec.name, made_id, failure.__cause__))
    if verdict == "mismatch":
        code, message = WorkflowStartErrorCode.PAYLOAD_MISMATCH, f"the id {run_id} belongs to a run of another spec"
        return Err(WorkflowStartError(code, message, workflow_name=spec.name, workflow_id=run_id))
    return Ok(WorkflowHandle(run_id, broker, spec, is_committed=connection is UNSET))


def retry_start[T](spec: "WorkflowSpec[T]", error: WorkflowStartError) -> _Start[T]:
    """Retry a start that failed with ENQUEUE_FAILED, with the same id. It creates at most one run."""
    if error.code is not WorkflowStartErrorCode.ENQUEUE_FAILED or error.workflow_id is None:
        what = "only a start that failed with ENQUEUE_FAILED outside of a transaction of the caller can be retried"
        message = f"{what}: this start failed with {error.code}"
        code = WorkflowStartErrorCode.VALIDATION_FAILED
        return _logged(Err(WorkflowStartError(code, message, workflow_name=spec.name, workflow_id=error.workflow_id)))
    return (yield from start(spec, error.workflow_id))


def _logged[H](answer: WorkflowStartResult[H]) -> WorkflowStartResult[H]:
    if isinstance(answer, Err) and suppression() is not Suppression.CHECK:
        error = answer.error
        ids = {} if error.workflow_id is None else {"id": error.workflow_id}
        reason = mask_secrets(error.message)
        log_failure(
            "workflow.start_failed",
            suppressed=suppression() is not None and error.code is WorkflowStartErrorCode.VALIDATION_FAILED,
            workflow=error.workflow_name,
            code=error.code,
            reason=reason,
            **ids,
        )
    return answer


def without_app[R](operation: Operation[R]) -> R:
    """Run an operation that returns before its first step, as all operations of a spec without an app do."""
    try:
        next(operation)
    except StopIteration as finished:
        return finished.value
    msg = "this operation requires an app: make the workflow with app.workflow(…)"
    raise RuntimeError(msg)


def start_workflow[T](
    spec: "WorkflowSpec[T]", broker: RunBroker, workflow_id: str | UUID | None = None, *, connection: object = UNSET
) -> WorkflowStartResult[WorkflowHandle[T]]:
    """Start a run with the given broker instead of the app of the spec; see `WorkflowSpec.start`."""
    return broker.runner.run(start(spec, workflow_id, broker, connection))


async def start_workflow_async[T](
    spec: "WorkflowSpec[T]", broker: RunBroker, workflow_id: str | UUID | None = None, *, connection: object = UNSET
) -> WorkflowStartResult[WorkflowHandle[T]]:
    """Like `start_workflow`, for asyncio."""
    return await broker.runner.run_async(start(spec, workflow_id, broker, connection))
