"""The reconciler compares the claims that a worker holds with the database.

A reply that is lost leaves two questions open: which outcomes were written, and which tasks were claimed. The first one
needs no answer, because an outcome is sent until it is confirmed. The second one is settled here: the worker lists
every claim that it holds, and the server function `reconcile` returns all others of this worker to the queue and
answers with the ones that are not this worker's any more. Those are cancelled in their children.

The comparison runs after every lost reply and at every heartbeat, because a server process whose client is gone may
still commit a claim later. It needs a moment without exchanges in flight: a claim that is in flight is in neither list.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from itertools import chain
from uuid import UUID

from horsies.db.connection import Backoff, WorkerConnection
from horsies.db.errors import finds_other_schema
from horsies.db.operations import CallFailedError
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from horsies.events import event
from horsies.worker.claimer import Claimer
from horsies.worker.completer import Completer
from horsies.worker.dispatcher import Dispatcher
from horsies.worker.exchange_state import ClaimPhase, ExchangeState, SyncPhase

_SCHEMA_FAILURES = 2
_RESTART = "the schema was upgraded: restart this worker with the new version of horsies; it claims nothing until then"


class Reconciler:
    """Runs comparisons, and reconnects after a lost reply."""

    def __init__(
        self,
        state: ExchangeState,
        claimer: Claimer,
        completer: Completer,
        dispatcher: Dispatcher,
        connection: WorkerConnection,
    ) -> None:
        self._state = state
        self._claimer = claimer
        self._completer = completer
        self._dispatcher = dispatcher
        self._connection = connection
        self._resilience = state.settings.resilience
        self._max_lease_s = state.settings.max_lease_s
        self._backoff: Backoff | None = None
        self._failure: CallFailedError | None = None
        self._schema_failures = 0
        self._comparing = asyncio.Lock()
        self._to_check: set[UUID] = set()
        self._check_requested = asyncio.Event()

    @property
    def failing(self) -> bool:
        """Whether an exchange has failed and none has succeeded since."""
        return self._backoff is not None

    def request(self) -> None:
        """Compare as soon as the exchanges that are in flight are answered."""
        if self._state.sync_phase is SyncPhase.IN_SYNC:
            self._state.sync_phase = SyncPhase.COMPARE_REQUESTED
            self._state.changed.set()

    def on_exchange_succeeded(self) -> None:
        """Let the next failure be followed by a comparison without a pause."""
        self._backoff = None
        self._schema_failures = 0

    def note_other_schema(self, failure: CallFailedError, *, is_finish: bool = False) -> None:
        """A statement does not fit the functions of the schema: stop claiming if that happens twice in a row.

        A single failure may be the moment of an upgrade to functions that fit.
        """
        self._schema_failures += 1
        if self._schema_failures < _SCHEMA_FAILURES:
            return
        if self._state.claim_phase is ClaimPhase.CLAIMING or is_finish:
            event("worker.outdated", level=logging.ERROR, reason=failure.message, help=_RESTART)
        self._claimer.set_outdated()

    def on_reply_lost(self, failure: CallFailedError) -> None:
        """An exchange has failed: reconnect, compare, and only then continue."""
        self._failure = failure
        self._state.sync_phase = SyncPhase.REPLY_LOST
        self._state.changed.set()

    async def run(self) -> None:
        """Compare whenever it is requested or a reply was lost; never returns."""
        while True:
            while self._state.sync_phase is not SyncPhase.IN_SYNC:
                if self._failure is not None:
                    await self._recover(self._failure)
                else:
                    try:
                        await self.compare()
                    except CallFailedError as failure:
                        self.on_reply_lost(failure)
            await self._state.next_change()

    def check(self, task_id: UUID) -> None:
        """Look soon whether a task that runs still belongs to this worker."""
        self._to_check.add(task_id)
        self._check_requested.set()

    async def run_checks(self) -> None:
        """Make the checks that are requested; never returns. If the database does not answer, a comparison follows."""
        while True:
            await self._check_requested.wait()
            self._check_requested.clear()
            wanted, self._to_check = self._to_check, set()
            fences = [fence for fence in self._dispatcher.held() if fence.task_id in wanted]
            if fences:
                try:
                    lost = await self._connection.call(
                        worker_queries.lost_claims(self._state.identity.worker_id, fences)
                    )
                except CallFailedError as failure:
                    event("connection.lost", level=logging.WARNING, reason=failure.message)
                    self.request()
                    continue
                # A task that has ended meanwhile may run again here, under another claim.
                for fence in lost_fences(fences, lost, self._dispatcher.held()):
                    self._dispatcher.cancel(fence.task_id)

    async def compare(self) -> None:
        """Compare what this worker holds with the database once the exchanges in flight are answered.

        Raises:
            CallFailedError: the database did not answer.
        """
        self.request()
        async with self._comparing:
            if self._state.sync_phase is SyncPhase.IN_SYNC:
                return  # somebody else has compared meanwhile, and exchanges are in flight again
            await self._state.quiet.wait()
            running = self._dispatcher.held()
            held = held_claims(running, self._completer.fences, self._claimer.fences)
            lost = await self._reconcile(held)
            self._failure = None
            self._state.sync_phase = SyncPhase.IN_SYNC
            self._state.changed.set()
        lost_jobs = lost.intersection(fence.task_id for fence in running)
        newly_lost = sum(self._dispatcher.cancel(task_id) for task_id in lost_jobs)
        if newly_lost:  # a cancelled task that has not ended yet is lost at every comparison
            event("tasks.lost", level=logging.WARNING, count=newly_lost)

    async def _reconcile(self, held: Sequence[Fence]) -> set[UUID]:
        try:
            worker_id, last_exchange = self._state.identity.worker_id, self._claimer.last_exchange
            return await self._connection.call(worker_queries.reconcile(worker_id, held, last_exchange))
        except CallFailedError as failure:
            if not finds_other_schema(failure):
                raise
            self.note_other_schema(failure)
            if self._state.claim_phase is ClaimPhase.CLAIMING:
                raise
            return set()  # outcomes can be sent without a comparison, and nothing is claimed

    async def _recover(self, failure: CallFailedError) -> None:
        """Reconnect and compare, until that succeeds.

        The first attempt is made at once. If exchanges fail again and again, because the disk of the server is full for
        instance, the pauses become longer.
        """
        event("connection.lost", level=logging.WARNING, reason=failure.message)
        is_repeated = self._backoff is not None
        # An exchange of another lane may succeed during this recovery and reset the attribute.
        backoff = self._backoff = self._backoff or Backoff(self._resilience)
        if is_repeated:
            await backoff.pause(failure)
        while True:
            try:
                await self.compare()
            except CallFailedError as error:
                await backoff.pause(error)
            else:
                event("connection.restored")
                self._claimer.announce_work()
                return

    async def keep_leases(self, lease_s: float) -> None:
        """Renew the leases of prefetched tasks three times per lease; never returns.

        A task that this worker has lost, or that has waited longer than ``max_claim_renew_age_ms``, is forgotten.
        """
        while True:
            await asyncio.sleep(lease_s / 3)
            fences = self._claimer.prefetched
            if not fences:
                continue
            call = worker_queries.renew(self._state.identity.worker_id, fences, lease_s, self._max_lease_s)
            try:
                kept = await self._connection.call(call)
            except CallFailedError as failure:
                event("connection.lost", level=logging.WARNING, reason=failure.message)
                continue
            self._claimer.forget([fence for fence in fences if fence.task_id not in kept])


def lost_fences(checked: Iterable[Fence], lost: Iterable[UUID], held: Iterable[Fence]) -> set[Fence]:
    """Return the claims that were checked and are lost, and that this worker still holds."""
    return {fence for fence in set(checked).intersection(held) if fence.task_id in set(lost)}


def held_claims(running: Sequence[Fence], *others: Iterable[Fence]) -> list[Fence]:
    """Return the fences of all claims that a worker holds, without older claims of tasks that run.

    A task can be claimed again while the reply to its older outcome is lost. The database knows it by the newer claim,
    so listing the older one would report the running task as lost.
    """
    started = {fence.task_id for fence in running}
    return [*running, *(fence for fence in chain(*others) if fence.task_id not in started)]
