"""The claimer decides how many tasks an exchange asks for, and turns the replies into jobs for the children.

Three facts bound a request: the free places in children, ``--max-claim-per-worker``, and whether any work is expected
at all. The last is a *hint*: every notice, poll, timer and failed attempt sets it, and a claim that comes back short
clears it. A claim sees only work that was committed before it ran, so it must not clear a hint that is newer than
itself. That is why announcements are counted: each batch remembers the count (``wake_generation``) of the moment when
it was built, and its reply may clear the hint only if the count is still the same.

Prefetched tasks (``prefetch_buffer``) wait here in state CLAIMED under a lease. They pass the server function `start`
in an exchange before they run.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Claim, ClaimMode, Fence
from horsies.events import event
from horsies.worker.dispatcher import Dispatcher
from horsies.worker.exchange_state import (
    NO_REQUEST,
    ClaimPhase,
    ClaimRequest,
    ExchangeBatch,
    ExchangeCall,
    ExchangeState,
)
from horsies.worker.ipc import Job
from horsies.worker.options import WorkerOptions, suspend_clock
from horsies.worker.turns import Turns

_UNLIMITED = 1 << 30
_RELEASE_AGAIN_S = 0.5
_ROW_ERRORS = ("22", "23")
"""The classes of SQLSTATE of data exceptions and violated constraints: a row makes the statement fail."""


class DueTimer:
    """Calls back when the next scheduled task falls due."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self._timer: asyncio.TimerHandle | None = None

    @property
    def fires_at(self) -> float | None:
        """The time of the event loop at which the callback will run; None: no timer is set."""
        return None if self._timer is None or self._timer.cancelled() else self._timer.when()

    def set(self, seconds: float) -> None:
        """Call back in ``seconds``, or earlier if an earlier time is set already.

        A timer is never moved to a later time: not every claim sees all scheduled tasks.
        """
        loop = asyncio.get_running_loop()
        if self._timer is not None and loop.time() < self._timer.when() <= loop.time() + seconds:
            return
        self.cancel()
        self._timer = loop.call_later(seconds, self._callback)

    def cancel(self) -> None:
        """Do not call back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class TakenClaims(NamedTuple):
    """The part of an exchange that the claimer provides.

    Attributes:
        request: the tasks to ask for.
        starting: the prefetched tasks of ``request.start``, with their rows.
        releases: the claims to return to the queue.
        exchange_no: the number of the exchange.
        wake_generation: how often work has been announced. The claims of the exchange can see the work of these
            announcements.
    """

    request: ClaimRequest
    starting: dict[Fence, ClaimedTask]
    releases: list[Fence]
    exchange_no: int
    wake_generation: int


class Claimer:
    """Asks for tasks, starts them in children, and releases the ones that cannot start."""

    def __init__(self, state: ExchangeState, dispatcher: Dispatcher, options: WorkerOptions) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._settings = settings = state.settings
        self._queues = options.queues or settings.queues
        self._max_per_claim = options.max_claim_batch or _UNLIMITED
        self._max_held = options.max_claim_per_worker or _UNLIMITED
        self._work_hint = True
        self._wake_generation = 0
        self._may_run_ahead = True
        self._exchange_no = 0
        self._prefetched: dict[Fence, ClaimedTask] = {}
        self._to_release: list[Fence] = []
        self._busy_releases: set[Fence] = set()
        self._due = DueTimer(self.announce_work)
        self._turns = Turns()
        self.mode = ClaimMode.TOGETHER

    @property
    def fences(self) -> list[Fence]:
        """The fences of claims that wait here: to be started, or to be released."""
        return [*self._to_release, *self._busy_releases, *self._prefetched]

    @property
    def prefetched(self) -> list[Fence]:
        """The fences of prefetched tasks."""
        return list(self._prefetched)

    @property
    def releases(self) -> int:
        """The number of claims that wait to be released."""
        return len(self._to_release)

    @property
    def busy_releases(self) -> int:
        """The number of claims that could not be released, because other transactions hold their rows."""
        return len(self._busy_releases)

    def announce_work(self) -> None:
        """Expect work that a claim which is in flight may not see, and look for it.

        A walk over keys that goes over several claims begins again, because it may have passed a key before that key
        had room.
        """
        self._turns.continues_walk = False
        self._look_for_work()

    def _continue_walk(self) -> None:
        """Claim again after a claim that stopped at its bound."""
        self._turns.continues_walk = True
        self._look_for_work()

    def _look_for_work(self) -> None:
        self._work_hint = True
        self._wake_generation += 1
        self._state.changed.set()

    def stop(self) -> None:
        """Claim nothing from now on, and release what is prefetched."""
        self._state.claim_phase = ClaimPhase.STOPPED
        self._release_prefetched()
        self._due.cancel()

    def set_outdated(self) -> None:
        """Claim nothing until this worker is restarted, because the schema has other functions than it calls.

        Nothing is released either, because the functions for that may have changed too. The leases of prefetched tasks
        expire.
        """
        if self._state.claim_phase is ClaimPhase.CLAIMING:
            self._state.claim_phase = ClaimPhase.OUTDATED
        self._prefetched.clear()
        self._to_release.clear()
        self._due.cancel()

    def release(self, fences: Sequence[Fence]) -> None:
        """Return claims that have not started to the queue, with the next exchange."""
        if fences:
            self._to_release += fences
            self._state.changed.set()

    def note_busy_releases(self, batch: ExchangeBatch, busy: Collection[UUID]) -> None:
        """Release claims again a little later whose rows other transactions hold."""
        fences = {fence for fence in batch.releases if fence.task_id in busy}
        if fences:
            self._busy_releases |= fences
            asyncio.get_running_loop().call_later(_RELEASE_AGAIN_S, self.retry_releases, fences)

    def retry_releases(self, fences: Iterable[Fence]) -> None:
        """Release those of the claims with the next exchange that could not be released before."""
        again = self._busy_releases.intersection(fences)
        self._busy_releases -= again
        self.release(list(again))

    def forget(self, fences: Sequence[Fence]) -> None:
        """Drop prefetched tasks that this worker has lost."""
        for fence in fences:
            self._prefetched.pop(fence, None)

    def request(self, *, is_full: bool) -> ClaimRequest:
        """Compute what the next exchange may ask for.

        Args:
            is_full: whether the memory for unconfirmed outcomes is full, so that nothing may start.
        """
        if self._state.claim_phase is not ClaimPhase.CLAIMING or is_full:
            return NO_REQUEST
        asked_slots = sum(batch.request.slots for batch in self._state.in_flight)
        asked_prefetch = sum(batch.request.prefetch for batch in self._state.in_flight)
        capacity = self._dispatcher.capacity_ahead if self._may_run_ahead else self._dispatcher.capacity
        slots = capacity - asked_slots
        start = list(islice(self._prefetched, max(0, slots))) if self._prefetched else []
        if not self._work_hint:
            return ClaimRequest(start, 0, 0)
        held = self._dispatcher.held_jobs + len(self._prefetched) + asked_slots + asked_prefetch
        room = min(self._max_held - held, self._max_per_claim)
        run = max(0, min(slots - len(start), room))
        waiting = len(self._prefetched) - len(start) + asked_prefetch
        return ClaimRequest(start, run, max(0, min(self._settings.prefetch_buffer - waiting, room - run)))

    def take(self, *, is_full: bool) -> TakenClaims:
        """Take the request, the prefetched tasks to start, and the releases of the next exchange, and number it.

        Args:
            is_full: see `request`.
        """
        request = self.request(is_full=is_full)
        starting = {fence: self._prefetched.pop(fence) for fence in request.start}
        releases, self._to_release = self._to_release, []
        self._exchange_no += 1
        return TakenClaims(request, starting, releases, self._exchange_no, self._wake_generation)

    @property
    def last_exchange(self) -> int:
        """The number of the latest exchange that may have claimed tasks."""
        return self._exchange_no

    def calls(self, batch: ExchangeBatch) -> dict[ExchangeCall, Call[Claim]]:
        """The claims of a batch, under the number of the exchange: of tasks to run, and of tasks to prefetch."""
        others = sum(each.request.slots for each in self._state.in_flight if each is not batch)
        free = max(0, min(batch.request.run, self._dispatcher.capacity - others - len(batch.request.start)))
        worker, names = (batch.worker_id, batch.exchange_no), (self._queues, self._settings.task_names)
        claims: dict[ExchangeCall, Call[Claim]] = {}
        if batch.request.run:
            claims[ExchangeCall.CLAIM_TO_RUN] = worker_queries.claim(
                *worker, batch.request.run, *names, free=free, mode=self.mode, cursors=self._turns.cursors
            )
        if batch.request.prefetch:
            claims[ExchangeCall.CLAIM_TO_PREFETCH] = worker_queries.claim(
                *worker, batch.request.prefetch, *names, free=0, lease_s=self._settings.lease_s, mode=self.mode
            )
        return claims

    def put_back(self, batch: ExchangeBatch) -> None:
        """Take back the releases of an exchange whose reply was lost. The reconciler settles its claims."""
        self._to_release += batch.releases

    def on_failed(self, batch: ExchangeBatch, failure: CallFailedError) -> None:
        """Take tasks one by one in the next claim, if a row may have made the claims of an exchange fail."""
        if failure.sqlstate.startswith(_ROW_ERRORS) and (batch.request.run or batch.request.prefetch):
            self.mode = ClaimMode.SINGLY
            event("claim.failed", level=logging.ERROR, sqlstate=failure.sqlstate, reason=failure.message)

    def apply(
        self, batch: ExchangeBatch, attempts: dict[UUID, int], to_run: Claim | None, to_prefetch: Claim | None
    ) -> None:
        """Start the tasks that an exchange has brought.

        Args:
            batch: the exchange.
            attempts: the number of the attempt for each prefetched task that may start.
            to_run: the reply to the claim of tasks to run; None: the exchange made no such claim.
            to_prefetch: the reply to the claim of tasks to prefetch; None: the exchange made no such claim.
        """
        starting = batch.starting.items()
        jobs = [Job.of_claim(fence, task, attempts[task.id]) for fence, task in starting if task.id in attempts]
        claims = [claim for claim in (to_run, to_prefetch) if claim is not None]
        if claims:
            self.mode = ClaimMode.TOGETHER
            self._note_remaining_work(batch, claims)
        elif batch.makes_work:
            self.announce_work()  # a claim on another lane may have looked before this batch was committed
        if to_run is not None:
            jobs += [Job.of_claim(Fence(task.id, batch.exchange_no), task, task.attempt) for task in to_run.tasks]
        if to_prefetch is not None:
            self._prefetched |= {Fence(task.id, batch.exchange_no): task for task in to_prefetch.tasks}
        self._start(batch, [self._with_claimant(batch, job) for job in jobs])
        if self._state.claim_phase is not ClaimPhase.CLAIMING:  # the reply came after the stop
            self._release_prefetched()

    def _with_claimant(self, batch: ExchangeBatch, job: Job) -> Job:
        """Add to the job of a transactional task who holds the claim: its child ends the task itself."""
        if job.task_name not in self._settings.transactional_names:
            return job
        return job.claimed_by(batch.worker_id, self._state.identity.hostname)

    def _note_remaining_work(self, batch: ExchangeBatch, claims: list[Claim]) -> None:
        """Update the hint, the limits and the timer by what claims say about the work that is left."""
        if any(claim.is_filled for claim in claims):
            self.announce_work()
        elif self._wake_generation == batch.wake_generation:
            self._work_hint = False
        for claim in claims:
            if self._turns.note(claim):
                self._continue_walk()
            elif claim.due_in is not None:
                self._due.set(claim.due_in)
        if any(claim.limits_active or any(task.queue_limited for task in claim.tasks) for claim in claims):
            self._state.limits_active = True
        elif not any(claim.is_filled for claim in claims):  # a filled claim does not say whether limits are active
            self._state.limits_active = False

    def _start(self, batch: ExchangeBatch, jobs: list[Job]) -> None:
        """Give jobs to children; release the ones that find no place, because a child has died meanwhile.

        Nothing of a reply is started that took longer than half of the time after which a silent worker is declared
        dead (the process was stopped, for instance), or that was claimed under an earlier id of this worker: another
        worker may run those tasks already.
        """
        age = suspend_clock() - batch.built_at
        may_start = (
            self._state.claim_phase is ClaimPhase.CLAIMING
            and batch.worker_id == self._state.identity.worker_id
            and age < self._settings.stale_after_s / 2
        )
        suspects = [job.fence for job in jobs if job.fence.task_id in batch.cancelled]
        jobs = [job for job in jobs if job.fence.task_id not in batch.cancelled]
        unassigned = self._dispatcher.assign_all(jobs) if may_start else jobs
        self.release(suspects)
        if jobs:
            self._may_run_ahead = not unassigned
        if unassigned:
            self.release([job.fence for job in unassigned])
            self.announce_work()

    def _release_prefetched(self) -> None:
        self.release(self.prefetched)
        self._prefetched.clear()
