"""Runs one attempt: decodes the arguments, calls the function, and turns its result or exception into a report."""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from horsies.codec.adapters import CodecError
from horsies.codec.secrets import Scrubber
from horsies.codec.text import decode_json
from horsies.codes import ContractCode, OperationalErrorCode
from horsies.config.retry import ExceptionMapper, code_for_exception
from horsies.db.operations import MAX_TEXT_BYTES, CallFailedError, Runner
from horsies.errors import HorsiesError
from horsies.postponement import POSTPONING_CODES, AttemptPostponed, delay_ignored, is_delay
from horsies.task_result import TaskError, TaskResult, answer_error, with_answer
from horsies.tasks.current import CurrentTask, Reporter, Running
from horsies.tasks.registry import Registry, TaskDefinition
from horsies.tracing.policy import LINKS, TracePolicy
from horsies.worker.ipc import Job, Origin, Report, StopCause
from horsies.worker.runtime.around import Around
from horsies.worker.runtime.inputs import decode_merged, merge_inputs, read_inputs
from horsies.worker.runtime.post_run import Raised, restore_process
from horsies.worker.runtime.reports import ReadyCall, failed, postponed, size_in_array, stopped, type_and_text
from horsies.worker.runtime.secrecy import protect, scrubber_of
from horsies.worker.runtime.stopping import RunningAttempt, RunningAttempts
from horsies.worker.runtime.transactional import TransactionalAttempts
from horsies.worker.runtime.transactions import Transactions
from horsies.workflows.nodes import WorkflowContextMissingIdError

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Executor:
    """Runs jobs with the tasks of one app.

    Args:
        registry: the tasks and hooks of the app.
        app_mapper: maps exceptions to error codes, for tasks that do not set a mapper.
        app_default: the error code of other exceptions, for tasks that do not set one.
        runner: runs operations on the database.
        traces: how the spans of attempts relate to those of sends.
    """

    def __init__(
        self,
        registry: Registry,
        app_mapper: ExceptionMapper,
        app_default: str,
        runner: Runner,
        traces: TracePolicy = LINKS,
    ) -> None:
        self._registry = registry
        self.traces = traces
        self.attempts = RunningAttempts()
        self._around = registry.hooks.around_task
        self._runner = runner
        self._reporter = Reporter(runner)
        self._app_mapper = app_mapper
        self._app_default = app_default
        self._app_codes = frozenset({*app_mapper.values(), str(app_default)})
        self._transactional = TransactionalAttempts(self, runner.database, self._reporter)

    def report_commits(self, to: Callable[[Job], None]) -> None:
        """Set what is called when an attempt at a transactional task is about to be committed."""
        self._transactional.on_commit = to

    def is_async(self, job: Job) -> bool:
        """Whether a job calls an ``async def`` function."""
        return job.task_name in self._registry and self._registry.get(job.task_name).is_async

    def use_transactions(self, transactions: Transactions) -> None:
        """Set what begins the transactions of transactional tasks."""
        self._transactional.use(transactions)

    def prepare(self, job: Job) -> ReadyCall | Report:
        """Find the task and decode the arguments; returns a report if that fails, after the hooks have seen it."""
        call = self._prepare(job)
        if isinstance(call, Report) and self._around:
            task = self._current(job)
            definition = self._registry.get(job.task_name) if job.task_name in self._registry else None
            with Running(task):
                Around(self._around, task).leave(call, None if definition is None else definition.retry_policy)
        return call

    def _prepare(self, job: Job) -> ReadyCall | Report:
        try:
            definition = self._registry.get(job.task_name)
        except HorsiesError as error:
            return failed(job, OperationalErrorCode.WORKER_RESOLUTION_ERROR, error.message)
        scrub: Scrubber | None = None
        try:
            inputs = read_inputs(job, self._runner)
            call = None if inputs is None else merge_inputs(job, definition, inputs)
            if inputs is not None or definition.signature.secret_paths:
                scrub = scrubber_of(decode_json(job.args) if call is None else call, definition, inputs)
        except CodecError as error:
            return failed(job, OperationalErrorCode.WORKER_SERIALIZATION_ERROR, str(error))
        except CallFailedError as error:
            return failed(job, OperationalErrorCode.BROKER_ERROR, f"the results it depends on: {error.message}")
        report = self._decode(job, definition, scrub, call, inputs)
        if isinstance(report, Report):
            return protect(job, report, definition, scrub, self._app_codes)
        return report

    def _decode(
        self,
        job: Job,
        definition: TaskDefinition,
        scrub: Scrubber | None,
        call: dict[str, Any] | None,
        inputs: dict[str, Any] | None,
    ) -> ReadyCall | Report:
        """Decode the arguments: those of the job, or those that were merged with the inputs (``call``)."""
        try:
            if call is None or inputs is None:
                args, kwargs = definition.signature.decode_call(job.args)
            else:
                args, kwargs = decode_merged(call, definition, self._registry, inputs)
        except CodecError as error:
            return failed(job, OperationalErrorCode.WORKER_SERIALIZATION_ERROR, str(error))
        except BaseException as exception:  # noqa: BLE001 - a validator of the user's may raise anything
            message = f"the arguments of task {job.task_name} cannot be read: {type(exception).__name__}"
            return failed(job, OperationalErrorCode.WORKER_SERIALIZATION_ERROR, message, exception)
        return ReadyCall(job, definition, args, kwargs, scrub)

    def run(self, call: ReadyCall) -> Report:
        """Run a ``def`` task in this thread."""
        home = os.getpid()
        task, attempt = self._current(call.job, call.scrub), self.attempts[call.job.fence]
        with Running(task):
            around = Around(self._around, task)
            if call.definition.own_transaction is None:
                report = self.call(call, attempt, task)
            else:
                report = self._transactional.run(call, attempt, task)
            around.leave(report, call.definition.retry_policy)
        restore_process(home, None)
        self._reporter.settle(task)
        return report

    async def run_async(self, call: ReadyCall) -> Report:
        """Run an ``async def`` task on this event loop. The task is cancelled when it exceeds its time-out."""
        home = os.getpid()
        task, attempt = self._current(call.job, call.scrub), self.attempts[call.job.fence]
        with Running(task):
            around = Around(self._around, task)
            if call.definition.own_transaction is None:
                report = await self.call_async(call, attempt, task)
            else:
                report = await self._transactional.run_async(call, attempt, task)
            around.leave(report, call.definition.retry_policy)
        restore_process(home, None)
        if self._reporter.has_pending_report(task):
            await self._reporter.settle_async(task)
        return report

    def _current(self, job: Job, scrub: Scrubber | None = None) -> CurrentTask:
        return CurrentTask(
            self._reporter,
            job.fence.task_id,
            job.attempt,
            name=job.task_name,
            queue=job.queue,
            timeout_ms=job.timeout_ms,
            scrub=scrub,
        )

    def call(self, call: ReadyCall, attempt: RunningAttempt, task: CurrentTask) -> Report:
        """Call the function of a ``def`` task, unless the attempt was stopped, and report how it ended."""
        home = os.getpid()
        may_begin, returned = attempt.begin(task), None
        try:
            if may_begin:
                returned = call.definition.fn(*call.args, **call.kwargs)
        except BaseException as exception:  # noqa: BLE001 - every exception of user code is an outcome
            returned = Raised(exception)
        restore_process(home, returned)
        return self.conclude_attempt(call, attempt, returned)

    async def call_async(self, call: ReadyCall, attempt: RunningAttempt, task: CurrentTask) -> Report:
        """Like `call`, for an ``async def`` task on this event loop."""
        home = os.getpid()
        if not attempt.begin(task):
            return self.conclude_attempt(call, attempt, None)
        try:
            with attempt:
                returned = await cast("Coroutine[Any, Any, object]", call.definition.fn(*call.args, **call.kwargs))
        except BaseException as exception:  # noqa: BLE001 - every exception of user code is an outcome
            returned = Raised(exception)
        restore_process(home, returned)
        _forget_cancels()
        return self.conclude_attempt(call, attempt, returned)

    def conclude_attempt(self, call: ReadyCall, attempt: RunningAttempt, returned: object) -> Report:
        """Report how an attempt ended. A stopped attempt counts as stopped, even if its code returned a value."""
        cause = attempt.end()
        if cause is None:
            return self.conclude(call, returned)
        return protect(call.job, self._stopped(call, cause, returned), call.definition, call.scrub, self._app_codes)

    def _stopped(self, call: ReadyCall, cause: StopCause, returned: object) -> Report:
        exception = returned.exception if isinstance(returned, Raised) else None
        location = call.definition.location
        if isinstance(exception, asyncio.CancelledError):  # it adds nothing to the error code
            return stopped(call.job, cause, location=location)
        try:
            return stopped(call.job, cause, exception, location=location)
        except BaseException:  # noqa: BLE001 - accessing the user's exception may raise anything
            return stopped(call.job, cause, location=location)

    def conclude(self, call: ReadyCall, returned: object) -> Report:
        """Report the value that a function returned, or the exception that it raised, without secrets."""
        return protect(call.job, self._conclude(call, returned), call.definition, call.scrub, self._app_codes)

    def _conclude(self, call: ReadyCall, returned: object) -> Report:
        try:
            if isinstance(returned, Raised):
                return self._raised(call, returned.exception)
            return _storable(self._returned(call, returned), call)
        except BaseException as exception:  # noqa: BLE001 - the user's objects may raise anything when looked at
            message = f"the outcome of task {call.job.task_name} cannot be encoded: {type(exception).__name__}"
            code = OperationalErrorCode.WORKER_SERIALIZATION_ERROR
            return failed(call.job, code, message, location=call.definition.location)

    def _returned(self, call: ReadyCall, returned: object) -> Report:
        job, outcome, retry_after = call.job, with_answer(returned), None
        if isinstance(outcome, TaskResult):
            given = cast("TaskResult[Any, TaskError]", outcome)
            if given.err is not None and given.err.error_code in POSTPONING_CODES:
                return postponed(job, given.err, location=call.definition.location)
            retry_after = _retry_after(given)
            outcome = _with_remark(given, retry_after) if isinstance(retry_after, str) else given
        encoded = call.definition.encode_outcome(outcome)
        origin = Origin(place=str(call.definition.location))
        if isinstance(encoded, TaskError):
            code = str(encoded.error_code)
            return Report(job.fence, ok=False, result=encoded.to_json(), error_code=code, error=encoded, origin=origin)
        if encoded.is_ok:
            return Report(job.fence, ok=True, result=encoded.payload)
        code = encoded.error_code or OperationalErrorCode.TASK_EXCEPTION
        result = cast("TaskResult[Any, TaskError]", outcome)
        return Report(
            job.fence,
            ok=False,
            result=encoded.payload,
            error_code=code.replace("\0", ""),  # a text column cannot hold NUL; the stored result keeps it
            retry_after=retry_after if isinstance(retry_after, float) else None,
            error=result.err_value,
            origin=origin,
        )

    def _raised(self, call: ReadyCall, exception: BaseException) -> Report:
        definition = call.definition
        if isinstance(exception, AttemptPostponed):
            return postponed(call.job, answer_error(exception), exception, location=definition.location)
        if isinstance(exception, WorkflowContextMissingIdError):
            missing = ContractCode.WORKFLOW_CTX_MISSING_ID
            return failed(call.job, missing, type_and_text(exception), exception, location=definition.location)
        code = code_for_exception(
            exception,
            task_mapper=definition.exception_mapper,
            app_mapper=self._app_mapper,
            task_default=definition.default_unhandled_error_code,
            app_default=self._app_default,
        )
        return failed(call.job, code, type_and_text(exception), exception, location=definition.location)


def _forget_cancels() -> None:
    """Reset cancellations of this coroutine: they were meant for the task that has just ended."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _retry_after(result: TaskResult[Any, TaskError]) -> float | str | None:
    """Return the delay of ``TaskError.data={"retry_after": seconds}``, which overrides that of the retry policy.

    A string says why the value cannot be used.
    """
    data = None if result.err is None else result.err.data
    if not isinstance(data, dict) or "retry_after" not in data:
        return None
    seconds = cast("dict[str, object]", data)["retry_after"]
    return float(cast("float", seconds)) if is_delay(seconds) else delay_ignored(seconds)


def _with_remark(result: TaskResult[Any, TaskError], remark: str) -> TaskResult[Any, TaskError]:
    """Append a remark to the message of an error."""
    error = result.err_value
    return TaskResult(err=error.model_copy(update={"message": f"{error.message or ''} ({remark})".lstrip()}))


def _storable(report: Report, call: ReadyCall) -> Report:
    """Return a report, or a failure if its result is too large for the database."""
    size = size_in_array(report.result)
    if size < MAX_TEXT_BYTES:
        return report
    message = (
        f"the result of task {call.job.task_name} takes {size:,} bytes, and the database stores less than "
        f"{MAX_TEXT_BYTES:,}: store the data elsewhere, and return a reference to it"
    )
    code = OperationalErrorCode.WORKER_SERIALIZATION_ERROR
    return failed(call.job, code, message, location=call.definition.location)
