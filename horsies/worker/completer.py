"""The completer holds outcomes until the database has confirmed them.

```
a child reports ──> waiting ── take ──> in an exchange ── confirm ──> forgotten
                     ^   ^                  │   │
                     │   └──── put_back ────┘   │  the reply was lost
                     │                          │
                     └── retry ── busy <────────┘  another transaction holds the row or the root run of the task
```

A busy outcome waits for a moment before it is sent again; the others do not wait for it, and claims continue.

Sending an outcome twice is harmless: the fence tells the database that it has been written already.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from horsies.codes import OperationalErrorCode
from horsies.db.queries.worker import Fence, Outcome, Storage, Verdict
from horsies.events import event
from horsies.task_result import TaskError
from horsies.worker.attempt_log import AttemptLog
from horsies.worker.exchange_state import ExchangeBatch
from horsies.worker.ipc import Job
from horsies.worker.metrics import WorkerCounters
from horsies.worker.options import suspend_clock
from horsies.worker.recent_counts import RecentCounts, attempt_end

_STORED = Verdict("accepted", None, None)
MAX_BATCH_OUTCOMES = 1000
MAX_BATCH_BYTES = 16 << 20
MAX_HELD_BYTES = 64 << 20
GATHER_S = 0.005
"""The longest time for which outcomes wait that need only a notice, in seconds."""


class BusyOutcome(NamedTuple):
    """An outcome that could not be written, because another transaction holds a row that it needs.

    Attributes:
        outcome: the outcome.
        since: when it was busy for the first time, by `suspend_clock`.
        freed_queues: queues with limits in which it may free a place.
        makes_work: whether it may make other tasks ready.
    """

    outcome: Outcome
    since: float
    freed_queues: set[str]
    makes_work: bool


class TakenOutcomes(NamedTuple):
    """The part of an exchange that the completer provides.

    Attributes:
        outcomes: the outcomes, oldest first.
        freed_queues: the queues with limits in which they free a place.
        makes_work: whether they may make tasks ready, by a retry or in a workflow.
    """

    outcomes: list[Outcome]
    freed_queues: set[str]
    makes_work: bool


def refused_outcome(outcome: Outcome, reason: str) -> Outcome:
    """Return the failure that is stored in place of an outcome which the database has refused."""
    code = OperationalErrorCode.WORKER_SERIALIZATION_ERROR
    message = "the database refused the outcome of this task"
    if outcome.error_code != code:  # else the reason may be what is refused
        message = f"{message}: {reason}"
    result = TaskError(error_code=code, message=message).to_json()
    return outcome._replace(ok=False, result=result, error_code=str(code), retry_after=None, postponed=None)


class Completer:
    """Collects outcomes, bounds the memory that they take, and hands them to exchanges.

    Args:
        attempt_log: logs attempts when their outcomes are confirmed.
        counters: counts them then; None: nothing is counted.
    """

    def __init__(self, attempt_log: AttemptLog, counters: WorkerCounters | None = None) -> None:
        self.recent = RecentCounts()
        self._attempt_log = attempt_log
        self._counters = counters
        self._waiting: dict[Fence, Outcome] = {}
        self._held_bytes = 0
        self._freed_queues: set[str] = set()
        self._makes_work = False
        self._gathers_since = 0.0
        self._busy: dict[Fence, BusyOutcome] = {}
        self._busy_since: dict[Fence, float] = {}
        self._isolated: set[Fence] = set()
        self.stale_outcomes = 0

    @property
    def fences(self) -> list[Fence]:
        """The fences of the outcomes that are not in an exchange: those that wait for one, and busy ones."""
        return [*self._waiting, *self._busy]

    @property
    def count(self) -> int:
        """The number of outcomes that wait for an exchange."""
        return len(self._waiting)

    @property
    def may_gather(self) -> bool:
        """Whether all outcomes that wait need only a notice, and none of them has waited for `GATHER_S`.

        Their tasks have stored them, and no task becomes ready by them.
        """
        if self._makes_work or any(each.storage is Storage.WORKER for each in self._waiting.values()):
            return False
        return not self._waiting or suspend_clock() - self._gathers_since < GATHER_S

    @property
    def busy_count(self) -> int:
        """The number of busy outcomes that do not wait for an exchange yet."""
        return len(self._busy)

    @property
    def is_full(self) -> bool:
        """Whether unconfirmed outcomes take more memory than `MAX_HELD_BYTES`; then no further task may start."""
        return self._held_bytes > MAX_HELD_BYTES

    def add(self, job: Job, outcome: Outcome, *, makes_work: bool) -> None:
        """Take the outcome of an attempt.

        Args:
            job: the attempt.
            outcome: how it ended.
            makes_work: whether it may make tasks ready, by a retry or in a workflow.
        """
        self._attempt_log.note(job, outcome)
        if outcome.storage is Storage.TASK and not self._waiting:
            self._gathers_since = suspend_clock()
        self._waiting[outcome.fence] = outcome
        self._held_bytes += len(outcome.result)
        self._makes_work |= makes_work
        if job.queue_limited:
            self._freed_queues.add(job.queue)

    def take(self) -> TakenOutcomes:
        """Take the outcomes of the next exchange, bounded in number and bytes.

        Outcomes that do not fit wait for the exchange after it. It is not recorded which outcomes make work, so in that
        case ``makes_work`` is reported for both exchanges. An isolated outcome is taken alone.
        """
        taken: list[Outcome] = []
        size = 0
        for outcome in self._waiting.values():
            size += len(outcome.result)
            is_isolated = outcome.fence in self._isolated
            if taken and (is_isolated or len(taken) == MAX_BATCH_OUTCOMES or size > MAX_BATCH_BYTES):
                break
            taken.append(outcome)
            if is_isolated:
                break
        for outcome in taken:
            del self._waiting[outcome.fence]
        freed_queues, self._freed_queues = self._freed_queues, set()
        makes_work, self._makes_work = self._makes_work, self._makes_work and bool(self._waiting)
        return TakenOutcomes(taken, freed_queues, makes_work)

    def put_back(self, batch: ExchangeBatch) -> None:
        """Take back what an exchange carried whose reply was lost. It is sent again, before all newer outcomes."""
        self._waiting = {outcome.fence: outcome for outcome in batch.outcomes} | self._waiting
        self._gathers_since = 0.0
        self._freed_queues |= batch.freed_queues
        self._makes_work |= batch.makes_work

    def isolate(self, batch: ExchangeBatch, reason: str) -> None:
        """Find the outcome because of which the database has refused a whole batch, after `put_back`.

        The outcomes are sent one by one from now on. If the batch had only one, that one is guilty: it becomes a
        failure with WORKER_SERIALIZATION_ERROR.
        """
        refused = batch.to_store
        self._isolated.update(outcome.fence for outcome in refused)
        event("outcomes.refused", level=logging.ERROR, count=len(refused), reason=reason)
        if len(refused) == 1:
            [guilty] = refused
            ended = refused_outcome(guilty, reason)
            self._held_bytes += len(ended.result) - len(guilty.result)
            self._waiting[guilty.fence] = ended

    def confirm(self, batch: ExchangeBatch, verdicts: Mapping[UUID, Verdict]) -> Sequence[BusyOutcome]:
        """Forget outcomes that the database has answered: as accepted, as a duplicate, as superseded, or as stale.

        A stale outcome belongs to a claim that this worker has lost, so the database ignored it. It is counted. A
        superseded one is a failure of a transactional task that has completed itself: it is logged as finished. An
        outcome that the transaction of its task has stored needs no answer.

        Returns:
            The busy outcomes, which are kept. Each has to be passed to `retry` later.
        """
        busy: list[BusyOutcome] = []
        for outcome in batch.outcomes:
            verdict = _STORED if outcome.storage is Storage.TASK else verdicts[outcome.fence.task_id]
            self._isolated.discard(outcome.fence)
            if verdict.verdict == "busy":
                since = self._busy_since.setdefault(outcome.fence, suspend_clock())
                busy.append(BusyOutcome(outcome, since, batch.freed_queues, batch.makes_work))
                continue
            self._held_bytes -= len(outcome.result)
            self._busy_since.pop(outcome.fence, None)
            ended = self._attempt_log.confirm(outcome, verdict)
            if ended is not None:
                self.recent.count(ended, attempt_end(outcome, verdict))
            if self._counters is not None and ended is not None:
                self._counters.count_attempt(ended, outcome, verdict)
        self._busy |= {each.outcome.fence: each for each in busy}
        stale = sum(verdict.verdict == "stale" for verdict in verdicts.values())
        if stale:
            self.stale_outcomes += stale
            if self._counters is not None:
                self._counters.count_rejected(stale)
            event("outcomes.stale", level=logging.WARNING, count=stale)
        return busy

    def retry(self, fence: Fence) -> None:
        """Let a busy outcome wait for an exchange again, behind all others."""
        busy = self._busy.pop(fence, None)
        if busy is None:
            return
        self._waiting[fence] = busy.outcome
        self._freed_queues |= busy.freed_queues
        self._makes_work |= busy.makes_work

    def busy_for(self, seconds: float) -> list[UUID]:
        """Return the tasks whose outcomes have been busy for at least this number of seconds."""
        latest = suspend_clock() - seconds
        return [fence.task_id for fence, since in self._busy_since.items() if since <= latest]
