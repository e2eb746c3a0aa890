"""Exchanges: one round trip each, in which outcomes go to the database and claims come back.

```
children ── outcomes ──> Completer ──┐                       ┌──> Completer: confirmed
                                     ├─> batch ─> lane ─> ───┤
children ── free places ─> Claimer ──┘                       └──> Claimer: jobs for children

                  Reconciler: between exchanges, at heartbeats and after a lost reply
```

While an exchange is in flight, outcomes gather for the next one, so batches grow with the load. Finish and claim share
a round trip and a commit; the notice to waiters follows in a separate transaction.

A *lane* is one connection for exchanges. Two lanes let the server work on one exchange while this process reads the
reply of the other. The lanes are equal; a further lane is used only while all lanes before it are busy, and only for an
exchange that is at least half as large as what is in flight. One lane is used alone while limits of queues are active
(their claims wait for each other in any case), after a failure, and while heartbeats fail.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from enum import Enum
from itertools import chain, groupby
from typing import Any
from uuid import UUID

from horsies.db.connection import Backoff, WorkerConnection
from horsies.db.errors import finds_other_schema, refuses_value
from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import ClaimMode, Fence, Outcome, Storage
from horsies.events import event
from horsies.postponement import PostponeScope
from horsies.worker.attempt_log import AttemptLog, LogDetail
from horsies.worker.busy_log import BusyLog
from horsies.worker.claimer import Claimer
from horsies.worker.completer import GATHER_S, BusyOutcome, Completer
from horsies.worker.dispatcher import Dispatcher
from horsies.worker.exchange_state import (
    ClaimRequest,
    ExchangeBatch,
    ExchangeCall,
    ExchangeState,
    SyncPhase,
    WorkerIdentity,
)
from horsies.worker.ipc import Job
from horsies.worker.metrics import WorkerCounters
from horsies.worker.options import WorkerOptions, WorkerSettings, suspend_clock
from horsies.worker.reconciler import Reconciler

_STUCK_AFTER_S = 0.05
_DISTANT_S = 0.004
"""The shortest time of recent exchanges, in seconds, from which on they are spread over the round trip."""
_EXCHANGES_PER_ROUND_TRIP = 4
_BUSY_PAUSE_S = 0.1
_BUSY_MAX_PAUSE_S = 2.0
_CLAIMS = (ExchangeCall.CLAIM_TO_RUN, ExchangeCall.CLAIM_TO_PREFETCH)


class LaneState(Enum):
    """The activity of a lane."""

    IDLE = "idle"
    OPENING = "opening"  # its connection is being opened, or was refused and is tried again after a pause
    BUSY = "busy"


class Lane:
    """One connection for exchanges.

    Attributes:
        connection: closed until the lane is first used.
        state: written by `Exchange` only.
    """

    def __init__(self, connection: WorkerConnection) -> None:
        self.connection = connection
        self.state = LaneState.IDLE


class Exchange:
    """Sends batches over the lanes and applies the replies."""

    def __init__(  # noqa: PLR0913 - the parts of a worker
        self,
        connections: Sequence[WorkerConnection],
        identity: WorkerIdentity,
        dispatcher: Dispatcher,
        settings: WorkerSettings,
        options: WorkerOptions,
        *,
        counters: WorkerCounters | None = None,
    ) -> None:
        self._counters = counters
        self._lanes = [Lane(connection) for connection in connections]
        self._dispatcher = dispatcher
        self._settings = settings
        self._more_lanes_allowed = True
        self.state = ExchangeState(identity, settings)
        detail = LogDetail.DEVELOPMENT if options.reload else LogDetail.PRODUCTION
        self.completer = Completer(AttemptLog(detail, settings.payload), counters)
        dispatcher.subscribe(on_outcome=self.on_outcome, on_capacity=self.on_capacity, on_unstarted=self.on_unstarted)
        self.claimer = Claimer(self.state, dispatcher, options)
        parts = (self.claimer, self.completer, dispatcher)
        self.reconciler = Reconciler(self.state, *parts, self._lanes[0].connection)

    def on_outcome(self, job: Job, outcome: Outcome) -> None:
        """Take the outcome of an attempt.

        A failed one may be retried, and one on a node may make other nodes ready: a claim in the same exchange sees
        them.
        """
        makes_work = not outcome.ok or self.state.limits_active or job.on_node
        self.completer.add(job, outcome, makes_work=makes_work)
        if self.completer.is_full:
            self._dispatcher.withdraw()
        if makes_work:
            self.claimer.announce_work()
        if outcome.storage is Storage.TASK and self.completer.count == 1:
            asyncio.get_running_loop().call_later(GATHER_S, self.state.changed.set)
        self.state.changed.set()

    def on_capacity(self) -> None:
        """A child can take work."""
        self.state.changed.set()

    def on_unstarted(self, jobs: Sequence[Job]) -> None:
        """Return jobs to the queue that were claimed and have not started."""
        self.claimer.release([job.fence for job in jobs])

    def wake(self) -> None:
        """Look for work."""
        self.claimer.announce_work()

    def on_cancel_notice(self, task_id: UUID) -> None:
        """Look whether a task was cancelled, as a notice says that anybody could have sent.

        The task is stopped if it runs and the database has no claim of this worker for it. If an exchange in flight
        brings the task, it is released instead of started, which has no effect on a cancelled task.
        """
        self.state.note_cancelled(task_id)
        self.reconciler.check(task_id)

    def check_running(self) -> None:
        """Look whether tasks that run were cancelled, where no notice can say so.

        While the database does not answer, a comparison is pending, which finds them as well.
        """
        if self.state.sync_phase is SyncPhase.IN_SYNC:
            for fence in self._dispatcher.held():
                self.reconciler.check(fence.task_id)

    def allow_more_lanes(self, *, allowed: bool) -> None:
        """Set whether more than one lane may be used.

        While heartbeats fail, only one is used: the server may have reached its limit of connections, and another lane
        could take the connection that the heartbeat needs.
        """
        self._more_lanes_allowed = allowed
        self.state.changed.set()

    async def flush(self) -> None:
        """Wait until every outcome is confirmed and every release is done."""
        while self._unconfirmed or self.state.in_flight:
            self.state.answered.clear()
            await self.state.answered.wait()

    @property
    def _unconfirmed(self) -> int:
        """The number of outcomes and releases that the database has not confirmed, without those in flight."""
        waiting = self.completer.count + self.claimer.releases
        return waiting + self.completer.busy_count + self.claimer.busy_releases

    async def settle(self) -> None:
        """Wait until every outcome is confirmed and no claim is open: at the end of a worker.

        Claims whose reply is lost are returned to the queue by a comparison.
        """
        await self.flush()
        try:
            await self.reconciler.compare()
        except CallFailedError as failure:
            event("connection.lost", level=logging.WARNING, reason=failure.message)
        await self.flush()

    def essential_services(self) -> list[Coroutine[Any, Any, None]]:
        """Return the services without which no outcome can be confirmed: each lane, and comparisons.

        They run until they are cancelled.
        """
        return [*(self.serve(number) for number in range(len(self._lanes))), self.reconciler.run()]

    def other_services(self) -> list[Coroutine[Any, Any, None]]:
        """Return the other services: checks of claims, the log of busy rows, and renewals of leases if any."""
        services: list[Coroutine[Any, Any, None]] = [
            self.reconciler.run_checks(),
            BusyLog(self.completer, self._lanes[0].connection).run(),
        ]
        if self._settings.lease_s is not None:
            services.append(self.reconciler.keep_leases(self._settings.lease_s))
        return services

    async def serve(self, number: int) -> None:
        """Send batches over one lane whenever there is something to carry; never returns."""
        lane = self._lanes[number]
        backoff = Backoff(self._settings.resilience)
        while True:
            if number and not self._more_lanes_allowed:
                await lane.connection.close()
            while self._may_send(number):
                if not lane.connection.is_open:
                    await self._open(lane, backoff)
                else:
                    await self._send(lane)
                    backoff = Backoff(self._settings.resilience)
            await self.state.next_change()

    def _may_send(self, number: int) -> bool:
        """Whether a lane may send a batch now: there is something to carry, and every lane before it is busy."""
        is_usable = number < self._usable_lanes and self.state.sync_phase is SyncPhase.IN_SYNC
        return (
            is_usable and all(lane.state is LaneState.BUSY for lane in self._lanes[:number]) and self.has_pending_work()
        )

    @property
    def _usable_lanes(self) -> int:
        is_cautious = self.state.limits_active or self.reconciler.failing or not self._more_lanes_allowed
        return 1 if is_cautious else len(self._lanes)

    def has_pending_work(self) -> bool:
        """Whether a batch that is built now would be worth a round trip.

        It has to carry something, and at least half as much as what is in flight: small batches on a second lane cost
        more than they gain. An exchange that is in flight for longer than 50 ms, and than two round trips, probably
        waits for a lock; it does not count.
        """
        recent = suspend_clock() - max(_STUCK_AFTER_S, 2 * self._dispatcher.round_trip_s)
        in_flight = sum(batch.size for batch in self.state.in_flight if batch.built_at > recent)
        request = self.claimer.request(is_full=self.completer.is_full)
        size = request.size(self.completer.count + self.claimer.releases)
        is_worthwhile = size > 0 and 2 * size >= in_flight
        return is_worthwhile and not (self._may_gather(request) or self._may_spread())

    def _may_gather(self, request: ClaimRequest) -> bool:
        """Whether a batch can wait a little, because children are busy for longer and nothing in it is urgent.

        An outcome that the transaction of its task has stored needs only a notice. An exchange for each of them would
        take more time than the task. So they gather for at most `GATHER_S` while jobs wait in children, and a claim
        waits until a child has used up half of the jobs that it may have ahead.
        """
        if self.claimer.releases or request.start or request.prefetch or not self.completer.may_gather:
            return False
        return self._dispatcher.is_half_ahead if request.run else self._dispatcher.has_waiting_jobs

    def _may_spread(self) -> bool:
        """Whether a batch can wait a little, because another one has just been sent to a distant database.

        Otherwise the first few outcomes of many would keep all lanes busy for a whole round trip, while all others
        wait. Nothing waits while a place in a child is free.
        """
        pause = self._pause_s
        if not (pause and self.state.in_flight and self._dispatcher.keeps_busy):
            return False
        return suspend_clock() - self.state.in_flight[-1].built_at < pause

    @property
    def _pause_s(self) -> float:
        """How long a batch may wait after the one before was sent, in seconds; 0: the database is near."""
        round_trip_s = self._dispatcher.round_trip_s
        return round_trip_s / _EXCHANGES_PER_ROUND_TRIP if round_trip_s >= _DISTANT_S else 0.0

    async def _open(self, lane: Lane, backoff: Backoff) -> None:
        """Open the connection of a lane, before a batch is built for it. If it is refused, the other lanes continue."""
        lane.state = LaneState.OPENING
        try:
            await lane.connection.open()
        except CallFailedError as failure:
            if any(other.connection.is_open for other in self._lanes):
                await backoff.pause(failure)
            else:
                self.reconciler.on_reply_lost(failure)
        finally:
            lane.state = LaneState.IDLE

    async def _send(self, lane: Lane) -> None:
        batch = self.build_batch()
        lane.state = LaneState.BUSY
        try:
            replies = await lane.connection.transactions(*self._transactions(batch))
        except CallFailedError as failure:
            self.on_failure(batch, failure)
        except asyncio.CancelledError:
            self.put_back(batch)
            raise
        else:
            self.reconciler.on_exchange_succeeded()
            self.apply_replies(batch, chain.from_iterable(replies))
        finally:
            lane.state = LaneState.IDLE

    def build_batch(self) -> ExchangeBatch:
        """Take everything that the next exchange carries and asks for; it is in flight from now on."""
        claims = self.claimer.take(is_full=self.completer.is_full)
        outcomes = self.completer.take()
        batch = ExchangeBatch(
            request=claims.request,
            outcomes=outcomes.outcomes,
            starting=claims.starting,
            releases=claims.releases,
            freed_queues=outcomes.freed_queues,
            makes_work=outcomes.makes_work,
            exchange_no=claims.exchange_no,
            worker_id=self.state.identity.worker_id,
            wake_generation=claims.wake_generation,
            built_at=suspend_clock(),
        )
        self.state.mark_sent(batch)
        if pause := self._pause_s:
            asyncio.get_running_loop().call_later(pause, self.state.changed.set)
        return batch

    def put_back(self, batch: ExchangeBatch) -> None:
        """Take back what a batch carried whose reply was lost: all of it is sent again."""
        self.completer.put_back(batch)
        self.claimer.put_back(batch)
        self.state.mark_answered(batch)

    def on_failure(self, batch: ExchangeBatch, failure: CallFailedError) -> None:
        """Take back what a batch carried that failed, and remove the cause if it is known.

        If the statement that stores outcomes refuses them, they are sent one by one. If another statement does not fit
        the schema, twice in a row, the schema was upgraded: then nothing is claimed, so that outcomes are still stored.
        """
        self.put_back(batch)
        is_finish = worker_queries.is_finish(failure.failed_call)
        if is_finish and refuses_value(failure):
            self.completer.isolate(batch, failure.message)
        if not is_finish:
            self.claimer.on_failed(batch, failure)
        if finds_other_schema(failure):
            self.reconciler.note_other_schema(failure, is_finish=is_finish)
        self.reconciler.on_reply_lost(failure)

    def _transactions(self, batch: ExchangeBatch) -> list[list[Call[Any]]]:
        """The calls of an exchange by transaction, in the order of `ExchangeBatch.calls`, followed by its notices.

        Outcomes, starts and claims share a transaction, and so a commit. Where limits are active, the claims follow in
        a separate transaction, because they may have to wait for the claims of other workers; so do claims that take
        tasks singly, because claims failed before. So do claims beside outcomes that hold a key or a queue: those
        outcomes lock queues, and a transaction waits for such locks only once.
        """
        is_separate = (
            self.state.limits_active
            or self.claimer.mode is ClaimMode.SINGLY
            or any(outcome.postponed not in (None, PostponeScope.TASK) for outcome in batch.to_store)
        )
        transaction_numbers = {
            ExchangeCall.FINISH: 1,
            ExchangeCall.START: 1,
            ExchangeCall.CLAIM_TO_RUN: 2 if is_separate else 1,
            ExchangeCall.CLAIM_TO_PREFETCH: 2 if is_separate else 1,
            ExchangeCall.RELEASE: 3,
        }
        calls = self._calls(batch)
        transactions = [
            [calls[call] for call in group] for _, group in groupby(batch.calls, transaction_numbers.__getitem__)
        ]
        notices = self._notices(batch)
        return [*transactions, notices] if notices else transactions

    def _calls(self, batch: ExchangeBatch) -> dict[ExchangeCall, Call[Any]]:
        calls: dict[ExchangeCall, Call[Any]] = {**self.claimer.calls(batch)}
        if to_store := batch.to_store:
            hostname = self.state.identity.hostname
            calls[ExchangeCall.FINISH] = worker_queries.finish(batch.worker_id, hostname, to_store)
        if batch.starting:
            calls[ExchangeCall.START] = worker_queries.start(batch.worker_id, list(batch.starting))
        if batch.releases:
            calls[ExchangeCall.RELEASE] = worker_queries.release(batch.worker_id, batch.releases)
        return calls

    def _notices(self, batch: ExchangeBatch) -> list[Call[Any]]:
        """The notices of an exchange, which are sent last: this worker's own claim may take the room in a queue."""
        notices: list[Call[Any]] = []
        if batch.outcomes:
            ids = [outcome.fence.task_id for outcome in batch.outcomes]
            notices.append(worker_queries.notify_done(ids, with_results=self._settings.results_in_notices))
        if batch.makes_work or batch.starting:
            notices.append(worker_queries.announce())
        if batch.freed_queues:
            notices.append(worker_queries.notify_room(batch.worker_id, batch.freed_queues))
        if batch.releases:
            notices.append(worker_queries.notify_wake())
        return notices

    def apply_replies(self, batch: ExchangeBatch, replies: Iterable[Any]) -> None:
        """Act on the replies to a batch, which come in the order of `ExchangeBatch.calls`; notices have none."""
        self.state.mark_answered(batch)
        self._dispatcher.observe_exchange(suspend_clock() - batch.built_at)
        if self._counters is not None and (batch.request.run or batch.request.prefetch):
            self._counters.observe_claim(suspend_clock() - batch.built_at)
        reply_to: dict[ExchangeCall, Any] = dict(zip(batch.calls, replies, strict=False))
        if batch.outcomes:
            for busy in self.completer.confirm(batch, reply_to.get(ExchangeCall.FINISH, {})):
                self._retry_later(busy)
        if ExchangeCall.RELEASE in reply_to:
            self.claimer.note_busy_releases(batch, reply_to[ExchangeCall.RELEASE])
        attempts: dict[UUID, int] = reply_to.get(ExchangeCall.START, {})
        to_run, to_prefetch = (reply_to.get(call) for call in _CLAIMS)
        self.claimer.apply(batch, attempts, to_run, to_prefetch)

    def _retry_later(self, busy: BusyOutcome) -> None:
        """Send a busy outcome again after a pause, which grows with the time since it was busy first."""
        age = suspend_clock() - busy.since
        pause = min(max(_BUSY_PAUSE_S, age / 2), _BUSY_MAX_PAUSE_S)
        asyncio.get_running_loop().call_later(pause, self.retry_busy, busy.outcome.fence)

    def retry_busy(self, fence: Fence) -> None:
        """Send a busy outcome with the next exchange."""
        self.completer.retry(fence)
        self.state.changed.set()
