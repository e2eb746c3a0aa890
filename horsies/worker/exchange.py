"""The exchange: outcomes go to the database, claims come back.

While one exchange is under way, outcomes gather for the next: batches grow by themselves with the load. Finish and
claim share a round trip and a commit; the notice to waiters goes behind them in a transaction of its own.

What a worker holds is always in one of three places: running in the pool, prefetched here, or here as an outcome that
the database has not confirmed. An outcome is sent until it is confirmed; its fence makes that harmless.

What is prefetched (``prefetch_buffer``) waits CLAIMED under a lease. It passes `start` in an exchange before it begins.

Where queues are capped, claims go in a transaction of their own, for they may have to wait for other workers' claims,
and behind it goes a notice that there is room, if this worker's own claim has left some.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import UUID

from horsies.db import calls_worker
from horsies.db.calls_worker import Claim, Fence, Outcome
from horsies.db.link import Backoff, Link
from horsies.db.operations import Call, CallFailedError
from horsies.db.rows import ClaimedTask
from horsies.telemetry import event
from horsies.worker.pool import ChildPool
from horsies.worker.protocol import Job
from horsies.worker.settings import WorkerOptions, WorkerSettings, suspend_clock

_MOST_OUTCOMES = 1000
_MOST_BYTES = 16 << 20
_MOST_HELD_BYTES = 64 << 20


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


class Exchange:
    """Carries outcomes to the database and claims back."""

    def __init__(self, link: Link, identity: Identity, settings: WorkerSettings, options: WorkerOptions) -> None:
        """Nothing is claimed before `run`."""
        self._link = link
        self._identity = identity
        self._queues = options.queues or settings.queues
        self._settings = settings
        self._most_per_claim = options.max_claim_batch or 1 << 30
        self._most_in_hand = options.max_claim_per_worker or 1 << 30
        self._outcomes: dict[Fence, Outcome] = {}
        self._held_bytes = 0
        self._exchange_no = 0
        self._may_claim = True
        self._may_run_ahead = True
        self._unbegun: list[Fence] = []
        self._prefetched: dict[Fence, ClaimedTask] = {}
        self._freed: set[str] = set()
        self._cancelled: set[UUID] = set()
        self._is_governed = False
        self._may_have_work = True
        self._is_in_doubt = False
        self._nudge = asyncio.Event()
        self._settled = asyncio.Event()
        self._due: asyncio.TimerHandle | None = None
        self._alone = asyncio.Lock()
        self._trouble: Backoff | None = None
        self.stale_outcomes = 0

    def serve(self, pool: ChildPool) -> None:
        """Take the pool to which claims go."""
        self._pool = pool

    def report(self, job: Job, outcome: Outcome) -> None:
        """An attempt has ended.

        A failed one may be retried, and one on a node may make others ready: a claim in the same exchange takes them.
        """
        self._outcomes[outcome.fence] = outcome
        self._held_bytes += len(outcome.result)
        if self._is_full:
            self._pool.withdraw()
        self._may_have_work |= not outcome.ok or self._is_governed or job.on_node
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
        self._may_have_work = True
        self._nudge.set()

    def cancel(self, task_id: UUID) -> None:
        """A task was cancelled: it ends if it runs, and does not begin if the reply that brings it is under way."""
        self._pool.cancel(task_id)
        if self._alone.locked():
            self._cancelled.add(task_id)

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
        while self._outcomes or self._unbegun:
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
            while self._is_in_doubt or self._outcomes or self._unbegun or any(self._wish()):
                try:
                    async with self._alone:
                        await (self._compare() if self._is_in_doubt else self._exchange())
                except CallFailedError as failure:
                    await self._recover(failure)
                else:
                    self._trouble = None

    def doubt(self) -> None:
        """What is in hand is to be compared with the database, behind the exchange that is under way."""
        self._is_in_doubt = True
        self._nudge.set()

    async def reconcile(self) -> None:
        """Compare what is in hand with the database, while no exchange is under way."""
        async with self._alone:
            await self._compare()

    async def _compare(self) -> None:
        self._is_in_doubt = False
        running = self._pool.held()
        held = [*running, *self._outcomes, *self._unbegun, *self._prefetched]
        lost = await self._link.call(calls_worker.reconcile(self._identity.worker_id, held))
        strays = lost.intersection(fence.task_id for fence in running)
        if strays:
            event("tasks.lost", count=len(strays))
            for task_id in strays:
                self._pool.cancel(task_id)

    async def keep_leases(self, lease_s: float) -> None:
        """Renew the leases of what is prefetched, for ever; what is lost or has waited too long is forgotten."""
        while True:
            await asyncio.sleep(lease_s / 3)
            async with self._alone:
                fences = list(self._prefetched)
                call = calls_worker.renew(self._identity.worker_id, fences, lease_s, self._settings.most_lease_s)
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
                self._may_have_work = True
                return

    @property
    def _is_full(self) -> bool:
        """Whether so much waits for the database that nothing more is to be begun."""
        return self._held_bytes > _MOST_HELD_BYTES

    def _wish(self) -> _Wish:
        """What to ask for."""
        if not self._may_claim or self._is_full:
            return _Wish([], 0, 0)
        places = self._pool.capacity_ahead if self._may_run_ahead else self._pool.capacity
        start = list(islice(self._prefetched, places)) if self._prefetched else []
        if not self._may_have_work:
            return _Wish(start, 0, 0)
        room = min(self._most_in_hand - self._pool.in_hand - len(self._prefetched), self._most_per_claim)
        run = max(0, min(places - len(start), room))
        waiting = len(self._prefetched) - len(start)
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

    async def _exchange(self) -> None:
        batch, wish = self._batch(), self._wish()
        worker_id = self._identity.worker_id
        calls: list[Call[Any]] = []
        if batch:
            calls.append(calls_worker.finish(worker_id, self._identity.hostname, batch))
        if wish.start:
            calls.append(calls_worker.start(worker_id, wish.start))
        claims = self._claims(wish)
        behind = [calls_worker.notify_done([outcome.fence.task_id for outcome in batch])] if batch else []
        freed, self._freed = self._freed, set()
        if freed:
            behind.append(calls_worker.notify_room(worker_id, freed))
        unbegun, self._unbegun = self._unbegun, []
        returns = [calls_worker.release(worker_id, unbegun)] if unbegun else []
        wakes = [calls_worker.notify_wake()] if unbegun else []
        first = (calls, claims) if self._is_governed else (calls + claims,)
        starting = {fence: self._prefetched.pop(fence) for fence in wish.start}
        asked_at = suspend_clock()
        self._cancelled.clear()
        try:
            answers = await self._link.transactions(*filter(None, (*first, behind, returns, wakes)))
        except CallFailedError:
            self._unbegun += unbegun
            self._freed |= freed
            raise
        self._settled.set()
        replies = chain.from_iterable(answers)
        if batch:
            self._confirm(batch, next(replies))
        attempts: dict[UUID, int] = next(replies) if wish.start else {}
        jobs = [_job(fence, task, attempts[task.id]) for fence, task in starting.items() if task.id in attempts]
        if wish.run:
            jobs += [_job(fence, task, task.attempt) for fence, task in self._read(next(replies)).items()]
        if wish.prefetch:
            self._prefetched |= self._read(next(replies))
        if wish.start or claims:
            self._begin(jobs, is_fresh=suspend_clock() - asked_at < self._settings.stale_after_s / 2)

    def _claims(self, wish: _Wish) -> list[Call[Claim]]:
        """Ask for tasks to begin, and for tasks to prefetch, under one exchange number."""
        asked = [
            (wish.run, min(wish.run, self._pool.capacity - len(wish.start)), None),
            (wish.prefetch, 0, self._settings.lease_s),
        ]
        claims = [
            calls_worker.claim(
                self._identity.worker_id,
                self._exchange_no + 1,
                wanted,
                self._queues,
                self._settings.task_names,
                free=free,
                lease_s=lease_s,
            )
            for wanted, free, lease_s in asked
            if wanted
        ]
        if claims:
            self._exchange_no += 1
            self._may_have_work = False
        return claims

    def _confirm(self, batch: list[Outcome], verdicts: dict[UUID, str]) -> None:
        for outcome in batch:
            del self._outcomes[outcome.fence]
            self._held_bytes -= len(outcome.result)
        stale = sum(verdict == "stale" for verdict in verdicts.values())
        if stale:
            self.stale_outcomes += stale
            event("outcomes.stale", count=stale)
        self._settled.set()

    def _read(self, claim: Claim) -> dict[Fence, ClaimedTask]:
        """Note what a claim says; its tasks."""
        self._may_have_work |= claim.is_filled
        self._is_governed |= claim.is_governed or any(task.capped for task in claim.tasks)
        if claim.due_in is not None:
            self._wake_in(claim.due_in)
        return {Fence(task.id, self._exchange_no): task for task in claim.tasks}

    def _begin(self, jobs: list[Job], *, is_fresh: bool) -> None:
        """Start what was claimed; what finds no place (a child died meanwhile) goes back unharmed.

        So does all of an answer that was long in coming (this process was stopped, say): others may have taken the
        tasks for abandoned by now.
        """
        jobs = [job for job in jobs if job.fence.task_id not in self._cancelled]
        homeless = [job for job in jobs if not (self._may_claim and is_fresh and self._pool.assign(job))]
        self._may_run_ahead = not homeless
        if homeless:
            self.hand_back(homeless)
            self._may_have_work = True
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


def _job(fence: Fence, task: ClaimedTask, attempt: int) -> Job:
    on_node, inputs = task.root_id is not None, task.inputs or b""
    return Job(fence, attempt, task.task_name, task.queue, task.args, task.timeout_ms, task.capped, on_node, inputs)
