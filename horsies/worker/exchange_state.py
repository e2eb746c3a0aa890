"""The state that claimer, completer and reconciler of a worker share.

An *exchange* is one round trip to the database: outcomes go out, claims come back. Two phases describe everything that
decides whether an exchange may be sent and what it may ask for:

```
ClaimPhase   CLAIMING ── the worker stops ─────────────────────> STOPPED
                 └─────── the schema was upgraded ──> OUTDATED ──┘  the worker stops

SyncPhase    IN_SYNC ── heartbeat, end of the worker ──> COMPARE_REQUESTED ── compared ──> IN_SYNC
                 │                                             │
                 └────────── an exchange failed ───────────────┴──> REPLY_LOST ── compared ──> IN_SYNC
```

Exchanges are sent while the worker is IN_SYNC. In the other two phases the exchanges that are in flight end first; then
the reconciler compares all claims that the worker holds with the database.

All of this runs in one event loop, so plain attributes are enough: nothing changes between two awaits.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Fence, Outcome, Storage
from horsies.worker.options import WorkerSettings


class ClaimPhase(Enum):
    """Whether a worker takes new work."""

    CLAIMING = "claiming"
    OUTDATED = "outdated"  # the functions of the schema are not those that this release calls; outcomes are still sent
    STOPPED = "stopped"


class SyncPhase(Enum):
    """Whether the worker and the database agree on which claims the worker holds, as far as is known."""

    IN_SYNC = "in sync"
    COMPARE_REQUESTED = "compare requested"
    REPLY_LOST = "reply lost"


@dataclass(slots=True)
class WorkerIdentity:
    """How the database knows this worker. The supervisor assigns a new ``worker_id`` after it was declared dead."""

    worker_id: UUID
    hostname: str


class ClaimRequest(NamedTuple):
    """The tasks that the next exchange asks for.

    Attributes:
        start: prefetched tasks that are to start now.
        run: how many tasks to claim that start at once.
        prefetch: how many tasks to claim that wait in this worker.
    """

    start: Sequence[Fence]
    run: int
    prefetch: int

    @property
    def slots(self) -> int:
        """The number of free places in children that this request fills if it is granted in full."""
        return len(self.start) + self.run

    def size(self, carried: int) -> int:
        """The size of an exchange with this request that also carries ``carried`` outcomes and releases, in tasks."""
        return max(carried, self.slots, self.prefetch)


NO_REQUEST = ClaimRequest((), 0, 0)


class ExchangeCall(Enum):
    """The calls that an exchange can make. An exchange makes them, and receives the replies, in this order."""

    FINISH = "finish"
    START = "start"
    CLAIM_TO_RUN = "claim to run"
    CLAIM_TO_PREFETCH = "claim to prefetch"
    RELEASE = "release"


@dataclass(slots=True, eq=False)
class ExchangeBatch:
    """The content of one exchange, from when it is built until its replies are applied or it is put back.

    Attributes:
        request: the tasks that it asks for.
        outcomes: the outcomes that it carries.
        starting: prefetched tasks of ``request.start``, with their rows.
        releases: claims that have not started and return to the queue.
        freed_queues: queues with limits of which a task has ended.
        makes_work: whether its outcomes may make other tasks ready, by a retry or in a workflow.
        exchange_no: its number; a part of the fence of each task that it claims.
        worker_id: the id of the worker when the batch was built.
        wake_generation: how often work had been announced when it was built.
        built_at: by `suspend_clock`, in seconds.
        cancelled: tasks that were cancelled since it was built; written by `ExchangeState.note_cancelled`.
    """

    request: ClaimRequest
    outcomes: list[Outcome]
    starting: dict[Fence, ClaimedTask]
    releases: list[Fence]
    freed_queues: set[str]
    makes_work: bool
    exchange_no: int
    worker_id: UUID
    wake_generation: int
    built_at: float
    cancelled: set[UUID] = field(default_factory=set[UUID])

    @property
    def to_store(self) -> list[Outcome]:
        """The outcomes that it stores, without those that the transactions of their tasks have stored."""
        return [outcome for outcome in self.outcomes if outcome.storage is Storage.WORKER]

    @property
    def size(self) -> int:
        """Its size, in tasks."""
        return self.request.size(len(self.outcomes) + len(self.releases))

    @property
    def calls(self) -> list[ExchangeCall]:
        """The calls that the exchange makes and that have a reply, in their order.

        The calls are sent, and their replies are read, by this list. It depends only on fields that do not change while
        the batch is in flight.
        """
        needed = {
            ExchangeCall.FINISH: self.to_store,
            ExchangeCall.START: self.starting,
            ExchangeCall.CLAIM_TO_RUN: self.request.run,
            ExchangeCall.CLAIM_TO_PREFETCH: self.request.prefetch,
            ExchangeCall.RELEASE: self.releases,
        }
        return [call for call in ExchangeCall if needed[call]]


@dataclass(slots=True)
class ExchangeState:
    """What claimer, completer, reconciler and the lanes know together.

    Attributes:
        identity: how the database knows this worker; written by the supervisor.
        settings: the settings of the app.
        claim_phase: written by the claimer.
        sync_phase: written by the reconciler.
        limits_active: whether a limit or a pause of a queue has been seen. Claims then travel in a transaction of their
            own, because they may wait for other workers' claims, and one lane carries everything. Written by the
            claimer.
        in_flight: the batches that were sent and not answered.
        changed: set whenever there may be something new to do for a lane or for the reconciler.
        quiet: set while no batch is in flight.
        answered: set whenever a batch was answered or put back; cleared by those who wait for that.
    """

    identity: WorkerIdentity
    settings: WorkerSettings
    claim_phase: ClaimPhase = ClaimPhase.CLAIMING
    sync_phase: SyncPhase = SyncPhase.IN_SYNC
    limits_active: bool = False
    in_flight: list[ExchangeBatch] = field(default_factory=list[ExchangeBatch])
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """No batch is in flight at first."""
        self.quiet.set()

    def mark_sent(self, batch: ExchangeBatch) -> None:
        """Record that a batch is sent."""
        self.in_flight.append(batch)
        self.quiet.clear()

    def mark_answered(self, batch: ExchangeBatch) -> None:
        """Record that a batch was answered, or that its answer will not come."""
        self.in_flight.remove(batch)
        if not self.in_flight:
            self.quiet.set()
        self.answered.set()
        self.changed.set()

    async def next_change(self) -> None:
        """Wait until `changed` is set, and clear it.

        Every service checks what it has to do before it waits here. So several of them can share the event: one that
        does not wait at the moment loses nothing when another one clears it.
        """
        await self.changed.wait()
        self.changed.clear()

    def note_cancelled(self, task_id: UUID) -> None:
        """Remember a cancelled task until the exchanges that are in flight are answered: one of them may bring it."""
        for batch in self.in_flight:
            batch.cancelled.add(task_id)
