"""`TaskHandle`: the result, the record and the cancellation of a sent task."""

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Unpack
from uuid import UUID

from horsies.codec.signature import plain_args
from horsies.codec.wire import ResultCodec
from horsies.codes import BrokerErrorCode, OperationalErrorCode, RetrievalCode, TaskStatus
from horsies.db.operations import CallFailedError, Operation, Pause, Runner, Wait, Watch, immediately
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import StoredResult
from horsies.process import monotonic
from horsies.producer.info import ArgsFor, InfoOptions, TaskInfo, task_info
from horsies.result import Err, Ok, Result
from horsies.task_result import TaskError, TaskResult, failed_with

_log = logging.getLogger("horsies")
_LONGEST_WAIT_S = 3600.0
_DATABASE_UNREACHABLE_S = 60.0
_ASK_AGAIN_S = 0.25

type CodecFor = Callable[[str], ResultCodec]


@dataclass(frozen=True, slots=True)
class BrokerOperationError:
    """Why an operation of the broker or of a handle failed.

    Attributes:
        code: The operation that failed.
        message: A description of the failure.
        retryable: Whether the same operation may succeed later.
        exception: The exception of the database driver; None if there was none.
    """

    code: BrokerErrorCode
    message: str
    retryable: bool
    exception: BaseException | None = None


type BrokerResult[T] = Result[T, BrokerOperationError]


def unanswered(code: BrokerErrorCode, failure: CallFailedError) -> Err[BrokerOperationError]:
    """Make the error of an operation whose call failed."""
    return Err(BrokerOperationError(code, failure.message, failure.retryable, failure.__cause__))


def no_such_task(task_id: str) -> Err[BrokerOperationError]:
    """Make the TASK_NOT_FOUND error for an id, which need not be a UUID."""
    return Err(BrokerOperationError(BrokerErrorCode.TASK_NOT_FOUND, _missing(task_id), retryable=False))


class TaskHandle[T, E: TaskError = TaskError]:
    """A task that was sent, whose outcome is a ``TaskResult[T, E]``.

    Attributes:
        task_id: The id of the task, a UUID as text. `Horsies.handle` makes a handle from it in another process. If the
            text is not a UUID, `get` and `cancel` fail with TASK_NOT_FOUND, and `info` returns ``Ok(None)``.
    """

    __slots__ = ("_args_for", "_codec_for", "_id", "_is_committed", "_outcome", "_runner", "task_id")

    def __init__(
        self,
        task_id: str | UUID,
        runner: Runner,
        codec_for: CodecFor,
        *,
        args_for: ArgsFor = plain_args,
        is_committed: bool = True,
    ) -> None:
        """Make a handle. Programs get one from `send`, `TaskFunction.handle` or `Horsies.handle`.

        Args:
            task_id: The id of the task.
            runner: Runs the operations.
            codec_for: Returns the result codec of a task by its name.
            args_for: Decodes the stored arguments of a task, given its name.
            is_committed: False if the task was sent in a transaction of the caller that may not be committed yet. `get`
                then waits until the task exists.
        """
        self._id = task_id if isinstance(task_id, UUID) else parse_id(task_id)
        self.task_id = str(self._id or task_id)
        self._runner = runner
        self._codec_for = codec_for
        self._args_for = args_for
        self._is_committed = is_committed
        self._outcome: TaskResult[T, E] | None = None

    def __repr__(self) -> str:
        """Show the id."""
        return f"TaskHandle({self.task_id!r})"

    def get(self, timeout_ms: int | None = None) -> TaskResult[T, E]:
        """Block until the task has ended, and return its outcome.

        Args:
            timeout_ms: How long to wait, in milliseconds; None: without limit.

        Returns:
            The outcome of the task, which the handle caches; or an error with WAIT_TIMEOUT, TASK_NOT_FOUND or
            BROKER_ERROR, which it does not cache, so that the call can be repeated. If the database cannot be reached,
            the call keeps trying for at most a minute.

            Errors made by horsies, such as these or WORKER_CRASHED, may be a plain `TaskError` where ``E`` is a
            subclass. Check ``error_code`` or use ``isinstance`` before you read the fields of the subclass.
        """
        if self._outcome is None and _in_event_loop():
            _warn_that_it_blocks()
        return self._runner.run(self._get(timeout_ms))

    async def get_async(self, timeout_ms: int | None = None) -> TaskResult[T, E]:
        """Like `get`, for asyncio."""
        return await self._runner.run_async(self._get(timeout_ms))

    def info(self, **options: Unpack[InfoOptions]) -> BrokerResult[TaskInfo | None]:
        """Return the record of the task; ``Ok(None)`` if there is no such task."""
        return self._runner.run(self._info(**options))

    async def info_async(self, **options: Unpack[InfoOptions]) -> BrokerResult[TaskInfo | None]:
        """Like `info`, for asyncio."""
        return await self._runner.run_async(self._info(**options))

    def cancel(self) -> BrokerResult[bool]:
        """Cancel the task, whether it is waiting or running. A running task is stopped without harm to other tasks.

        An ``async def`` task gets `asyncio.CancelledError`. A ``def`` task, or one that does not end within a second,
        is stopped by killing its process as soon as that process runs no other task.

        Returns:
            ``Ok(True)`` if this call cancelled the task, ``Ok(False)`` if it had already ended. An error has the code
            TASK_NOT_FOUND, or CLEANUP_FAILED if the database did not answer; then it is unknown whether the task was
            cancelled.
        """
        return self._runner.run(self._cancel())

    async def cancel_async(self) -> BrokerResult[bool]:
        """Like `cancel`, for asyncio."""
        return await self._runner.run_async(self._cancel())

    def _get(self, timeout_ms: int | None) -> Operation[TaskResult[T, E]]:
        if self._outcome is not None:
            return immediately(self._outcome)
        if self._id is None:
            missing: TaskResult[Any, Any] = failed_with(RetrievalCode.TASK_NOT_FOUND, _missing(self.task_id))
            return immediately(missing)
        return await_outcome(self._id, timeout_ms, self._fetch_outcome, self._describe)

    def _describe(self) -> str:
        return f"task {self.task_id}{uncommitted(self._is_committed)}"

    def _fetch_outcome(
        self, task_id: UUID, pushed_result: StoredResult | None
    ) -> Operation[TaskResult[Any, Any] | None]:
        stored: StoredResult | None = pushed_result or (yield task_queries.task_result(task_id))
        if stored is None and self._is_committed:
            return failed_with(RetrievalCode.TASK_NOT_FOUND, _missing(self.task_id))
        if stored is None or stored.result is None:
            return None
        codec = self._codec_for(stored.task_name)
        outcome: TaskResult[Any, Any] = codec.decode(stored.status == TaskStatus.COMPLETED, stored.result)
        self._outcome = outcome
        return outcome

    def _info(
        self,
        *,
        include_result: bool = False,
        include_failed_reason: bool = False,
        include_attempts: bool = False,
        include_args: bool = False,
    ) -> Operation[BrokerResult[TaskInfo | None]]:
        if self._id is None:
            return Ok(None)
        try:
            row = yield task_queries.task_info(self._id, with_args=include_args)
            attempt_rows = (
                (yield task_queries.task_attempts(self._id)) if row is not None and include_attempts else None
            )
        except CallFailedError as failure:
            return unanswered(BrokerErrorCode.TASK_INFO_QUERY_FAILED, failure)
        if row is None:
            return Ok(None)
        codec = self._codec_for(row.task_name) if include_result else None
        return Ok(task_info(row, attempt_rows, codec, with_reason=include_failed_reason, args_for=self._args_for))

    def _cancel(self) -> Operation[BrokerResult[bool]]:
        if self._id is None:
            return no_such_task(self.task_id)
        try:
            verdict: str = yield task_queries.cancel(self._id)
        except CallFailedError as failure:
            return unanswered(BrokerErrorCode.CLEANUP_FAILED, failure)
        return no_such_task(self.task_id) if verdict == "unknown" else Ok(verdict == "cancelled")


type FetchOutcome = Callable[[UUID, StoredResult | None], Operation[TaskResult[Any, Any] | None]]


def await_outcome(
    awaited: UUID, timeout_ms: int | None, fetch: FetchOutcome, describe: Callable[[], str]
) -> Operation[TaskResult[Any, Any]]:
    """Fetch the outcome after each notification until there is one, or until the timeout expires.

    The subscription is made before the first fetch, so that an end between a fetch and a wait is not missed.

    Args:
        awaited: The id of the task or run.
        timeout_ms: How long to wait, in milliseconds; None: without limit.
        fetch: Returns the outcome; None if there is none yet. It receives the result that a notification pushed.
        describe: Returns a description of the task or run, for messages. It is a function, because most of the many
            callers that may wait at a time need no message.
    """
    deadline = None if timeout_ms is None else monotonic() + timeout_ms / 1000
    ticket = yield Watch(awaited)
    pushed_result: StoredResult | None = None
    unreachable_since: float | None = None
    failure: CallFailedError | None = None
    try:
        while True:
            try:
                outcome = yield from fetch(awaited, pushed_result)
            except CallFailedError as error:
                failure = error
                unreachable_since = unreachable_since or monotonic()
                if not error.retryable or monotonic() - unreachable_since > _DATABASE_UNREACHABLE_S:
                    return _no_answer(describe(), error)
            else:
                failure = unreachable_since = None
                if outcome is not None:
                    return outcome
            left = math.inf if deadline is None else min(deadline - monotonic(), _LONGEST_WAIT_S)
            if left <= 0:
                return _timed_out(describe(), timeout_ms) if failure is None else _no_answer(describe(), failure)
            pushed_result = yield Wait(ticket, left) if failure is None else Pause(min(left, _ASK_AGAIN_S))
    finally:
        ticket.close()


def uncommitted(is_committed: bool) -> str:  # noqa: FBT001 - an answer
    """Return the part of a message about a task or run whose transaction may not be committed."""
    return "" if is_committed else ", sent in a transaction that may not be committed,"


def _missing(task_id: str) -> str:
    if parse_id(task_id) is None:
        return f"there is no task {task_id!r}: the id of a task must be a UUID"
    return f"there is no task {task_id}; its record may have been pruned"


def _timed_out(what: str, timeout_ms: int | None) -> TaskResult[Any, TaskError]:
    return failed_with(RetrievalCode.WAIT_TIMEOUT, f"{what} did not end within {timeout_ms} ms; it continues")


def _no_answer(what: str, failure: CallFailedError) -> TaskResult[Any, TaskError]:
    message = f"the database did not answer for {what}: {failure.message}"
    return failed_with(OperationalErrorCode.BROKER_ERROR, message)


def parse_id(task_id: object) -> UUID | None:
    """Parse the id of a task or a run; return None if it is not a UUID."""
    try:
        return UUID(str(task_id))
    except ValueError:
        return None


@cache
def _warn_that_it_blocks() -> None:
    _log.warning("get() blocks the running event loop; use `await handle.get_async()`")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
