"""Running one attempt at a transactional task.

The end of a successful attempt has a fixed order:

1. The result is encoded. If that fails, nothing is written.
2. The last report of progress is written. It goes over another connection and updates the row of the task, which the
   transaction locks in step 5: afterwards it would wait for this process, which PostgreSQL cannot see as a deadlock.
3. An ORM session is flushed.
4. The clock of the time-out stops: from here on, what the database does decides.
5. Deferred constraints are checked, `finish_own` writes the outcome, and the transaction is committed, in one pipeline.

Any other attempt is rolled back, and its outcome is reported as for every task. The same happens if the answer to the
commit is lost: when the supervisor writes the failure, the database looks up what has become of the transaction.
"""

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from horsies.codes import OperationalErrorCode, OutcomeCode
from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.db.queries.worker import Storage
from horsies.db.task_connection import OwnFence
from horsies.db.task_transaction import EndFailedError, EndReason
from horsies.tasks.current import CurrentTask, Reporter
from horsies.tasks.own_transaction import OwnTransaction
from horsies.worker.ipc import Job, Report
from horsies.worker.runtime.post_run import Raised
from horsies.worker.runtime.reports import ReadyCall, failed
from horsies.worker.runtime.stopping import RunningAttempt
from horsies.worker.runtime.transactions import AsyncTaskTransaction, TaskTransaction, Transactions, is_aborted

if TYPE_CHECKING:
    from collections.abc import Callable

_ABORTED = (
    "a statement had failed, so the transaction could not be committed although the task returned ok: return an error, "
    "or use a savepoint for statements that may fail: connection.transaction() of psycopg, begin_nested() of SQLAlchemy"
)
_ENDED_EARLY = (
    "the transaction of the task was committed or rolled back before the task ended, by SQL or by rollback(): let the "
    "worker end it, and use a savepoint to undo a part of the work. What was committed before stays committed"
)
_CLAIM_LOST = "this attempt does not hold the task any more, so everything that it wrote was rolled back"
_NO_CLAIMANT = "the task has become transactional since this worker was started: restart the worker"


class Calls(Protocol):
    """Calls the function of a task, and turns what it returned or raised into a report. `Executor` implements it."""

    def call(self, call: ReadyCall, attempt: RunningAttempt, task: CurrentTask) -> Report:
        """Call a ``def`` function."""
        ...

    async def call_async(self, call: ReadyCall, attempt: RunningAttempt, task: CurrentTask) -> Report:
        """Await an ``async def`` function."""
        ...

    def conclude(self, call: ReadyCall, returned: object) -> Report:
        """Report what a function returned, or `Raised`."""
        ...

    def conclude_attempt(self, call: ReadyCall, attempt: RunningAttempt, returned: object) -> Report:
        """Report the same, unless the attempt was stopped."""
        ...


class TransactionalAttempts:
    """Runs attempts at transactional tasks.

    Args:
        calls: calls the functions.
        database: the database of the app.
        reporter: writes the progress of tasks.
    """

    def __init__(self, calls: Calls, database: Database, reporter: Reporter) -> None:
        self._calls = calls
        self._reporter = reporter
        self._transactions = Transactions(database)
        self.on_commit: Callable[[Job], None] = _ignore

    def use(self, transactions: Transactions) -> None:
        """Let others begin the transactions."""
        self._transactions = transactions

    def run(self, call: ReadyCall, attempt: RunningAttempt, task: CurrentTask) -> Report:
        """Run an attempt at a ``def`` task in this thread."""
        begun = _own(call)
        if isinstance(begun, Report):
            return begun
        try:
            transaction = self._transactions.begin(*begun)
        except Exception as error:  # noqa: BLE001 - the errors of SQLAlchemy are not known here
            return _not_begun(call.job, error)
        try:
            report = self._calls.call(_with_first(call, transaction.argument), attempt, task)
            return self._complete(call, report, attempt, task, transaction) if report.ok else report
        finally:
            transaction.end()

    async def run_async(self, call: ReadyCall, attempt: RunningAttempt, task: CurrentTask) -> Report:
        """Run an attempt at an ``async def`` task on this event loop."""
        begun = _own(call)
        if isinstance(begun, Report):
            return begun
        try:
            transaction = await self._transactions.begin_async(*begun)
        except Exception as error:  # noqa: BLE001 - the errors of SQLAlchemy are not known here
            return _not_begun(call.job, error)
        try:
            report = await self._calls.call_async(_with_first(call, transaction.argument), attempt, task)
            return await self._complete_async(call, report, attempt, task, transaction) if report.ok else report
        finally:
            await transaction.end()

    def _complete(
        self, call: ReadyCall, report: Report, attempt: RunningAttempt, task: CurrentTask, transaction: TaskTransaction
    ) -> Report:
        """Commit, as the last step of a successful attempt; returns another report if that is not possible."""
        if is_aborted(transaction.connection):
            return _failure(call, OperationalErrorCode.TASK_EXCEPTION, _ABORTED)
        self._reporter.settle(task)
        try:
            transaction.flush()
        except BaseException as exception:  # noqa: BLE001 - event hooks of the user may raise anything
            return self._calls.conclude_attempt(call, attempt, Raised(exception))
        if not self._may_commit(call, attempt):
            return self._calls.conclude_attempt(call, attempt, None)
        try:
            transaction.finish(report.result)
        except EndFailedError as failure:
            return self._not_committed(call, failure)
        return replace(report, storage=Storage.TASK)

    async def _complete_async(
        self,
        call: ReadyCall,
        report: Report,
        attempt: RunningAttempt,
        task: CurrentTask,
        transaction: AsyncTaskTransaction,
    ) -> Report:
        """Like `_complete`, for asyncio. Only the flush can be cancelled."""
        if is_aborted(transaction.connection):
            return _failure(call, OperationalErrorCode.TASK_EXCEPTION, _ABORTED)
        await self._reporter.settle_async(task)
        try:
            with attempt:
                await transaction.flush()
        except BaseException as exception:  # noqa: BLE001 - event hooks of the user may raise anything
            return self._calls.conclude_attempt(call, attempt, Raised(exception))
        if not self._may_commit(call, attempt):
            return self._calls.conclude_attempt(call, attempt, None)
        try:
            await transaction.finish(report.result)
        except EndFailedError as failure:
            return self._not_committed(call, failure)
        return replace(report, storage=Storage.TASK)

    def _may_commit(self, call: ReadyCall, attempt: RunningAttempt) -> bool:
        """Stop the clock of the time-out; returns False if the attempt was stopped, so that it must not commit."""
        if attempt.end() is not None:
            return False
        self.on_commit(call.job)
        return True

    def _not_committed(self, call: ReadyCall, failure: EndFailedError) -> Report:
        match failure.reason:
            case EndReason.ENDED_EARLY:
                return _failure(call, OperationalErrorCode.TASK_EXCEPTION, _ENDED_EARLY)
            case EndReason.CLAIM_LOST:
                return _failure(call, OutcomeCode.TASK_CANCELLED, _CLAIM_LOST)
            case EndReason.RESULT_REFUSED:
                message = f"the database refused this outcome: {call_failed(failure.error).message}"
                return _failure(call, OperationalErrorCode.WORKER_SERIALIZATION_ERROR, message)
            case EndReason.REFUSED | EndReason.UNKNOWN:
                return self._calls.conclude(call, Raised(failure.error))


def _own(call: ReadyCall) -> tuple[OwnTransaction, OwnFence] | Report:
    """Return the transaction that a task wants, and the claim under which it runs."""
    wanted, claimant = call.definition.own_transaction, call.job.claimant
    if wanted is None or claimant is None:
        return _failure(call, OperationalErrorCode.WORKER_RESOLUTION_ERROR, _NO_CLAIMANT)
    worker_id, on_node, hostname, process_name = claimant
    own = OwnFence(worker_id, call.job.fence, hostname, os.getpid(), process_name, on_node, call.job.traceparent)
    return wanted, own


def _with_first(call: ReadyCall, argument: object) -> ReadyCall:
    return replace(call, args=(argument, *call.args))


def _failure(call: ReadyCall, code: OperationalErrorCode | OutcomeCode, message: str) -> Report:
    return failed(call.job, code, message, location=call.definition.location)


def _not_begun(job: Job, error: Exception) -> Report:
    """Report that no transaction could be begun. SQLAlchemy wraps the error of the driver."""
    original = getattr(error, "orig", None)
    reason = call_failed(original if isinstance(original, Exception) else error).message
    return failed(job, OperationalErrorCode.BROKER_ERROR, f"the transaction of the task could not begin: {reason}")


def _ignore(_job: Job) -> None:
    """Nobody waits for commits."""
