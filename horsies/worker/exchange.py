"""The exchange: outcomes go to the database, claims come back.

While exchanges are under way, outcomes gather for the next: batches grow by themselves with the load. Finish and
claim share a round trip and a commit; the notice to waiters goes behind them in a transaction of its own. Up to two are
under way at a time, over two connections, so that the server works on one while this process reads the other.

What a worker holds is always in one of four places: running in the pool, prefetched here, here as an outcome that the
database has not confirmed, or in a load under way. An outcome is sent until it is confirmed; its fence makes that
harmless.

What is prefetched (``prefetch_buffer``) waits CLAIMED under a lease. It passes `start` in an exchange before it begins.

Where queues are capped, claims go in a transaction of their own, for they may have to wait for other workers' claims,
and behind it goes a notice that there is room, if this worker's own claim has left some.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import UUID

from horsies.db.connection import Backoff, Link
from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Claim, Fence, Outcome, Verdict
from horsies.events import event
from horsies.worker.attempt_log import AttemptLog
from horsies.worker.dispatcher import ChildPool
from horsies.worker.ipc import Job
from horsies.worker.options import WorkerOptions, WorkerSettings, suspend_clock

_MOST_OUTCOMES = 1000
_MOST_BYTES = 16 << 20
_MOST_HELD_BYTES = 64 << 20
_STUCK_AFTER_S = 0.05


@dataclass(slots=True)
class Identity:
    """Under which id the worker is known to the database; a new one after it was declared dead."""

    worker_id: UUID
    hostname: str


class _Wish(NamedTuple):
    """What the next exchange is to bring: prefetched tasks that begin, tasks to begin, tasks to prefetch."""

    start: list[Fence]
    run: int
    prefetch: int

    @property
    def places(self) -> int:
        """For how many tasks children are to have room."""
        return len(self.start) + self.run

    def size(self, brought: int) -> int:
        """How much an exchange with this wish is that brings so many outcomes, as tasks."""
        return max(brought, self.places, self.prefetch)


class _Load(NamedTuple):
    """What one exchange brings and asks for.

    Attributes:
        makes_work: what it brings may make tasks ready.
        cancelled: tasks that were cancelled since it was sent.
        worker_id: by which the worker was known then.
        wakes: how often work had been announced when it was sent.
        taken_at: by the clock that goes on while the machine sleeps, in seconds.
    """

    outcomes: list[Outcome]
    wish: _Wish
    starting: dict[Fence, ClaimedTask]
    unbegun: list[Fence]
    freed: set[str]
    makes_work: bool
    exchange_no: int
    wakes: int
    taken_at: float
    worker_id: UUID
    cancelled: set[UUID]

    @property
    def size(self) -> int:
        """How much it is, as tasks."""
        return self.wish.size(len(self.outcomes) + len(self.unbegun))


class Exchange:
    """Carries outcomes to the database and claims back."""

    def __init__(
        self, link: Link, second: Link, identity: Identity, settings: WorkerSettings, options: WorkerOptions
    ) -> None:
        """Nothing is claimed before `run`."""
        self._link = link
        self._second = second
        self._identity = identity
        self._queues = options.queues or settings.queues
        self._settings = settings
        self._most_per_claim = options.max_claim_batch or 1 << 30
        self._most_in_hand = options.max_claim_per_worker or 1 << 30
        self._outcomes: dict[Fence, Outcome] = {}
        self._held_bytes = 0
        self._exchange_no = 0
        self._may_claim = True
        self._may_assist = True
        self._may_run_ahead = True
        self._unbegun: list[Fence] = []
        self._prefetched: dict[Fence, ClaimedTask] = {}
        self._freed: set[str] = set()
        self._is_governed = False
        self._may_have_work = True
        self._wakes = 0
        self._makes_work = False
        self._under_way: list[_Load] = []
        self._is_in_doubt = False
        self._lost: CallFailedError | None = None
        self._nudge = asyncio.Event()
        self._settled = asyncio.Event()
        self._due: asyncio.TimerHandle | None = None
        self._alone = asyncio.Lock()
        self._second_alone = asyncio.Lock()
        self._trouble: Backoff | None = None
        self._attempt_log = AttemptLog(successes=logging.INFO if options.reload else logging.DEBUG)
        self.stale_outcomes = 0

    def serve(self, pool: ChildPool) -> None:
        """Take the pool to which claims go."""
        self._pool = pool

    def report(self, job: Job, outcome: Outcome) -> None:
        """An attempt has ended.

        A failed one may be retried, and one on a node may make others ready: a claim in the same exchange takes them.
        """
        self._outcomes[outcome.fence] = outcome
        self._attempt_log.note(job, outcome)
        self._held_bytes += len(outcome.result)
        if self._is_full:
            self._pool.withdraw()
        if not outcome.ok or self._is_governed or job.on_node:
            self._expect_work()
            self._makes_work = True
        if job.capped:
            self._freed.add(job.queue)
        self._nudge.set()

    def room(self) -> None:
        """A child can take work."""
        self._nudge.set()

    def hand_back(self, jobs: Sequence[Job]) -> None:
        """These were claimed and have not begun: they go back to the queue."""
        self._unbegun += [job.fence for job in jobs]
        self._nudge.set()

    def wake(self) -> None:
        """There may be work."""
        self._expect_work()
        self._nudge.set()

    def _expect_work(self) -> None:
        """There may be work that a claim which is under way does not see."""
        self._may_have_work = True
        self._wakes += 1

    def cancel(self, task_id: UUID) -> None:
        """A task was cancelled: it ends if it runs, and does not begin if the reply that brings it is under way."""
        self._pool.cancel(task_id)
        for load in self._under_way:
            load.cancelled.add(task_id)

    def stop_claiming(self) -> None:
        """From now on only bring outcomes home, and hand back what is prefetched."""
        self._may_claim = False
        self._hand_back_prefetched()
        if self._due is not None:
            self._due.cancel()

    def _hand_back_prefetched(self) -> None:
        self._unbegun += self._prefetched
        self._prefetched.clear()
        self._nudge.set()

    async def flush(self) -> None:
        """Wait until every outcome is confirmed."""
        while self._outcomes or self._unbegun or self._under_way:
            self._settled.clear()
            await self._settled.wait()

    async def settle(self) -> None:
        """Wait until every outcome is confirmed and no claim is under way; what was claimed and not begun goes back."""
        await self.flush()
        try:
            await self.reconcile()  # a claim that is under way is answered before
        except CallFailedError as failure:
            event("database.lost", level=logging.WARNING, reason=failure.message)
        await self.flush()

    async def run(self) -> None:
        """Exchange whenever there is something to bring or to take."""
        while True:
            await self._nudge.wait()
            self._nudge.clear()
            while self._lost or self._is_in_doubt or self._has_cargo():
                try:
                    await self._next()
                except CallFailedError as failure:
                    await self._recover(failure)
                else:
                    self._trouble = None

    async def assist(self) -> None:
        """Exchange over the second connection, too, while the first is busy, all is well, and no queue is capped."""
        backoff = Backoff(self._settings.resilience)
        while True:
            await self._nudge.wait()
            self._nudge.clear()
            if not self._may_assist:
                await self._second.close()
            while self._is_well and self._alone.locked() and self._has_cargo():
                is_open = self._second.is_open
                try:
                    if is_open:
                        async with self._second_alone:
                            await self._exchange(self._second)
                        backoff = Backoff(self._settings.resilience)
                    else:  # before anything is taken: without this connection work goes on over the first
                        await self._second.open()
                except CallFailedError as failure:
                    if is_open:
                        self._lost = failure
                        self._nudge.set()
                    await backoff.pause(failure)

    @property
    def _is_well(self) -> bool:
        is_welcome = self._may_assist and self._link.is_open
        return is_welcome and not (self._is_governed or self._is_in_doubt or self._lost or self._trouble)

    def let_assist(self, *, allowed: bool) -> None:
        """Whether the other connections are there: a second one for exchanges must not take the place of any."""
        self._may_assist = allowed
        if not allowed:
            self._nudge.set()

    def _has_cargo(self) -> bool:
        """Whether there is something to bring or to take, and not too little beside what is under way and not stuck."""
        since = suspend_clock() - _STUCK_AFTER_S
        size = self._wish().size(len(self._outcomes) + len(self._unbegun))
        return size > 0 and 2 * size >= sum(load.size for load in self._under_way if load.taken_at > since)

    async def _next(self) -> None:
        if self._lost:
            raise self._lost
        if self._is_in_doubt:
            await self.reconcile()
            return
        async with self._alone:
            await self._exchange(self._link)

    def doubt(self) -> None:
        """What is in hand is to be compared with the database, behind the exchange that is under way."""
        self._is_in_doubt = True
        self._nudge.set()

    async def reconcile(self) -> None:
        """Compare what is in hand with the database, while no exchange is under way."""
        async with self._alone, self._second_alone:
            self._is_in_doubt = False
            running = self._pool.held()
            held = held_by(running, self._outcomes, self._unbegun, self._prefetched)
            lost = await self._link.call(worker_queries.reconcile(self._identity.worker_id, held))
            strays = lost.intersection(fence.task_id for fence in running)
            newly_lost = sum(self._pool.cancel(task_id) for task_id in strays)
            if newly_lost:  # a cancelled task that has not ended yet is lost at every comparison
                event("tasks.lost", count=newly_lost)

    async def keep_leases(self, lease_s: float) -> None:
        """Renew the leases of what is prefetched, for ever; what is lost or has waited too long is forgotten."""
        while True:
            await asyncio.sleep(lease_s / 3)
            async with self._alone:
                fences = list(self._prefetched)
                call = worker_queries.renew(self._identity.worker_id, fences, lease_s, self._settings.most_lease_s)
                try:
                    kept = await self._link.call(call) if fences else set[UUID]()
                except CallFailedError as failure:
                    event("database.lost", level=logging.WARNING, reason=failure.message)
                    continue
                for fence in fences:
                    if fence.task_id not in kept:
                        self._prefetched.pop(fence, None)

    async def _recover(self, failure: CallFailedError) -> None:
        """Wait for the database, then settle what the lost reply left open.

        The first try is made at once. Where exchanges fail again and again (the disk is full, say), pauses lengthen.
        """
        event("database.lost", level=logging.WARNING, reason=failure.message)
        if self._trouble is None:
            self._trouble = Backoff(self._settings.resilience)
        else:
            await self._trouble.pause(failure)
        while True:
            try:
                await self.reconcile()
            except CallFailedError as error:
                await self._trouble.pause(error)
            else:
                event("database.back")
                self._lost = None
                self._expect_work()
                return

    @property
    def _is_full(self) -> bool:
        """Whether so much waits for the database that nothing more is to be begun."""
        return self._held_bytes > _MOST_HELD_BYTES

    def _wish(self) -> _Wish:
        """What to ask for."""
        if not self._may_claim or self._is_full:
            return _Wish([], 0, 0)
        asked_run = sum(load.wish.places for load in self._under_way)
        asked_prefetch = sum(load.wish.prefetch for load in self._under_way)
        places = (self._pool.capacity_ahead if self._may_run_ahead else self._pool.capacity) - asked_run
        start = list(islice(self._prefetched, max(0, places))) if self._prefetched else []
        if not self._may_have_work:
            return _Wish(start, 0, 0)
        in_hand = self._pool.in_hand + len(self._prefetched) + asked_run + asked_prefetch
        room = min(self._most_in_hand - in_hand, self._most_per_claim)
        run = max(0, min(places - len(start), room))
        waiting = len(self._prefetched) - len(start) + asked_prefetch
        return _Wish(start, run, max(0, min(self._settings.prefetch_buffer - waiting, room - run)))

    def _batch(self) -> list[Outcome]:
        """The outcomes of the next exchange, bounded in number and size."""
        batch: list[Outcome] = []
        size = 0
        for outcome in self._outcomes.values():
            size += len(outcome.result)
            if batch and (len(batch) == _MOST_OUTCOMES or size > _MOST_BYTES):
                break
            batch.append(outcome)
        return batch

    async def _exchange(self, link: Link) -> None:
        load = self._take()
        self._under_way.append(load)
        try:
            answers = await link.transactions(*self._transactions(load))
        except BaseException:
            self._put_back(load)
            raise
        finally:
            self._under_way.remove(load)
            self._nudge.set()
            self._settled.set()
        self._take_in(load, chain.from_iterable(answers))

    def _take(self) -> _Load:
        """Gather what the next exchange brings and asks for."""
        batch, wish = self._batch(), self._wish()
        for outcome in batch:
            del self._outcomes[outcome.fence]
        starting = {fence: self._prefetched.pop(fence) for fence in wish.start}
        self._exchange_no += 1
        state = (self._makes_work, self._exchange_no, self._wakes, suspend_clock(), self._identity.worker_id)
        load = _Load(batch, wish, starting, self._unbegun, self._freed, *state, set())
        self._unbegun, self._freed, self._makes_work = [], set(), self._makes_work and bool(self._outcomes)
        return load

    def _put_back(self, load: _Load) -> None:
        """The reply got lost: what was to be brought is to be brought again."""
        self._outcomes = {outcome.fence: outcome for outcome in load.outcomes} | self._outcomes
        self._unbegun += load.unbegun
        self._freed |= load.freed
        self._makes_work |= load.makes_work

    def _transactions(self, load: _Load) -> list[list[Call[Any]]]:
        """The calls of an exchange, by transaction."""
        worker_id = load.worker_id
        calls: list[Call[Any]] = []
        behind: list[Call[Any]] = []
        if load.outcomes:
            calls.append(worker_queries.finish(worker_id, self._identity.hostname, load.outcomes))
            behind.append(worker_queries.notify_done([outcome.fence.task_id for outcome in load.outcomes]))
        if load.starting:
            calls.append(worker_queries.start(worker_id, list(load.starting)))
        if load.freed:
            behind.append(worker_queries.notify_room(worker_id, load.freed))
        claims = self._claims(load)
        groups = [calls, claims, behind] if self._is_governed else [[*calls, *claims], behind]
        if load.unbegun:
            groups += [[worker_queries.release(worker_id, load.unbegun)], [worker_queries.notify_wake()]]
        return [group for group in groups if group]

    def _claims(self, load: _Load) -> list[Call[Any]]:
        """Ask for tasks to begin, and for tasks to prefetch, under one exchange number."""
        others = sum(each.wish.places for each in self._under_way) - load.wish.run
        free = max(0, min(load.wish.run, self._pool.capacity - others))
        worker, names = (load.worker_id, load.exchange_no), (self._queues, self._settings.task_names)
        claims: list[Call[Any]] = []
        if load.wish.run:
            claims.append(worker_queries.claim(*worker, load.wish.run, *names, free=free))
        if load.wish.prefetch:
            lease_s = self._settings.lease_s
            claims.append(worker_queries.claim(*worker, load.wish.prefetch, *names, free=0, lease_s=lease_s))
        return claims

    def _take_in(self, load: _Load, replies: Iterator[Any]) -> None:
        """Read the replies, in the order of the calls, and begin what was claimed."""
        if load.outcomes:
            self._confirm(load.outcomes, next(replies))
        attempts: dict[UUID, int] = next(replies) if load.starting else {}
        jobs = [
            Job.of_claim(fence, task, attempts[task.id]) for fence, task in load.starting.items() if task.id in attempts
        ]
        claims: list[Claim] = list(replies)[: bool(load.wish.run) + bool(load.wish.prefetch)]
        if claims:
            self._note(load, claims)
        elif load.makes_work:
            self._expect_work()  # a claim on the other connection may have looked before this was committed
        if load.wish.prefetch:
            self._prefetched |= {Fence(task.id, load.exchange_no): task for task in claims.pop().tasks}
        jobs += [
            Job.of_claim(Fence(task.id, load.exchange_no), task, task.attempt)
            for claim in claims
            for task in claim.tasks
        ]
        self._begin(load, jobs)

    def _note(self, load: _Load, claims: list[Claim]) -> None:
        """Note what claims say of the work that is left."""
        if any(claim.is_filled for claim in claims):
            self._expect_work()
        elif self._wakes == load.wakes:
            self._may_have_work = False
        for claim in claims:
            self._is_governed |= claim.is_governed or any(task.capped for task in claim.tasks)
            if claim.due_in is not None:
                self._wake_in(claim.due_in)

    def _confirm(self, batch: list[Outcome], verdicts: dict[UUID, Verdict]) -> None:
        self._held_bytes -= sum(len(outcome.result) for outcome in batch)
        for outcome in batch:
            self._attempt_log.confirm(outcome, verdicts[outcome.fence.task_id])
        stale = sum(verdict.verdict == "stale" for verdict in verdicts.values())
        if stale:
            self.stale_outcomes += stale
            event("outcomes.stale", count=stale)

    def _begin(self, load: _Load, jobs: list[Job]) -> None:
        """Start what was claimed; what finds no place (a child died meanwhile) goes back unharmed.

        So does all of an answer that was long in coming (this process was stopped, say): others may have taken the
        tasks for abandoned by now. If they have, and the worker is known by a new id, they stay as they are.
        """
        age = suspend_clock() - load.taken_at
        is_welcome = (
            self._may_claim and load.worker_id == self._identity.worker_id and age < self._settings.stale_after_s / 2
        )
        jobs = [job for job in jobs if job.fence.task_id not in load.cancelled]
        homeless = [job for job in jobs if not (is_welcome and self._pool.assign(job))]
        if jobs:
            self._may_run_ahead = not homeless
        if homeless:
            self.hand_back(homeless)
            self._expect_work()
        if not self._may_claim:  # it was answered during the stop
            self._hand_back_prefetched()

    def _wake_in(self, seconds: float) -> None:
        """Look again then, or earlier if that was wanted before: not every claim sees all that will be due."""
        loop = asyncio.get_running_loop()
        if self._due is not None and loop.time() < self._due.when() <= loop.time() + seconds:
            return
        if self._due is not None:
            self._due.cancel()
        self._due = loop.call_later(seconds, self.wake)


def held_by(running: Sequence[Fence], *others: Iterable[Fence]) -> list[Fence]:
    """All fences in hand, without older ones of tasks that run: what was asked for twice is known by its last claim."""
    begun = {fence.task_id for fence in running}
    return [*running, *(fence for fence in chain(*others) if fence.task_id not in begun)]
