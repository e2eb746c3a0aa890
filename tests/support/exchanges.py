"""The exchanges of a worker without database and processes: children never run, and tests write the replies."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from horsies.config.app import RecoveryConfig, WorkerResilienceConfig
from horsies.config.payload import PayloadPolicy
from horsies.config.postgres import PostgresConfig
from horsies.db.connect import Database
from horsies.db.connection import WorkerConnection
from horsies.db.operations import CallFailedError
from horsies.db.queries.declarations import Declarations
from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Claim, Fence, Storage, Verdict
from horsies.worker import ipc
from horsies.worker.dispatcher import Dispatcher
from horsies.worker.exchange import Exchange
from horsies.worker.exchange_state import ExchangeBatch, WorkerIdentity
from horsies.worker.fork_server import ForkServer
from horsies.worker.ipc import Frame, Kind, Report
from horsies.worker.options import WorkerOptions, WorkerSettings
from horsies.worker.processes import ProcessManager

_NO_SUCH_PID = 1 << 22  # and above: larger than any process id of Linux
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def worker_settings(*, prefetch_buffer: int = 0) -> WorkerSettings:
    """Return the settings of an app with one queue, whose database cannot be reached."""
    return WorkerSettings(
        app_name="shop",
        broker=PostgresConfig(database_url=NOWHERE),
        recovery=RecoveryConfig(),
        resilience=WorkerResilienceConfig(),
        queues={"default": None},
        cluster_cap=None,
        prefetch_buffer=prefetch_buffer,
        lease_s=60.0 if prefetch_buffer else None,
        max_lease_s=180.0,
        task_names=("send_email",),
        async_names=frozenset(),
        transactional_names=frozenset(),
        schedules=(),
        folders=(),
        declarations=Declarations(None, []),
        payload=PayloadPolicy(),
    )


def claimed(task_id: UUID | None = None, *, attempt: int = 1, queue_limited: bool = False) -> ClaimedTask:
    """Return one row of a reply to a claim."""
    return ClaimedTask(task_id or uuid4(), "send_email", b"{}", attempt, None, "default", queue_limited, None, None)


def claim_of(
    *tasks: ClaimedTask, is_filled: bool = False, limits_active: bool = False, due_in: float | None = None
) -> Claim:
    """Return the reply to a claim."""
    return Claim(list(tasks), is_filled, limits_active, due_in)


@dataclass
class Parts:
    """A dispatcher over children that never run anything, and an exchange over connections that are never opened."""

    dispatcher: Dispatcher
    exchange: Exchange
    processes: ProcessManager
    identity: WorkerIdentity
    settings: WorkerSettings

    def batch(self) -> ExchangeBatch:
        """Build the batch of the next exchange."""
        return self.exchange.build_batch()

    def reply(
        self,
        batch: ExchangeBatch,
        *claims: Claim,
        verdict: str = "accepted",
        starts: Sequence[UUID] = (),
        busy: Collection[UUID] = (),
    ) -> None:
        """Apply the replies of the database to a batch: its claims, and one verdict for all outcomes of free rows.

        ``busy`` are the tasks whose rows another transaction holds.
        """
        replies: list[object] = []
        if batch.to_store:
            ids = [outcome.fence.task_id for outcome in batch.to_store]
            replies.append({each: Verdict("busy" if each in busy else verdict, None, None) for each in ids})
        if batch.starting:
            replies.append(dict.fromkeys(starts, 1))
        released = [set(busy)] if batch.releases else []
        self.exchange.apply_replies(batch, iter([*replies, *claims, *released]))

    def running(self) -> set[UUID]:
        """Return the tasks that were assigned to children."""
        return {fence.task_id for fence in self.dispatcher.held()}

    def finish(
        self,
        fence: Fence,
        *,
        ok: bool = True,
        result: bytes = b"null",
        seconds: float = 1.0,
        storage: Storage = Storage.WORKER,
    ) -> None:
        """Report, as a child does, that an attempt has ended."""
        child = next(child for child in self.processes if fence in child.jobs)
        report = Report(fence, ok, result, None if ok else "DECLINED", seconds=seconds, storage=storage)
        self.dispatcher.on_frames(child, [Frame(Kind.DONE, report.encode())])

    def failure(self) -> CallFailedError:
        """Return the error of a call that failed because the database became unreachable."""
        return CallFailedError("the connection is lost", retryable=True)

    def run_one(self) -> Fence:
        """Claim one task and assign it to a child."""
        batch = self.batch()
        task = claimed()
        self.reply(batch, claim_of(task, is_filled=True))
        return Fence(task.id, batch.exchange_no)


@asynccontextmanager
async def worker_parts(children: int = 2, *, prefetch_buffer: int = 0, **options: int) -> AsyncGenerator[Parts]:
    """Yield the parts of a worker with this number of children, all of which are ready."""
    settings, worker_options = (
        worker_settings(prefetch_buffer=prefetch_buffer),
        WorkerOptions(processes=children, **options),
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        processes = ProcessManager(ForkServer(os.getpid(), ours), "test", worker_options)
        dispatcher = Dispatcher(processes, settings, worker_options)
        identity = WorkerIdentity(uuid4(), "host")
        connections = [WorkerConnection(Database(settings.broker)) for _ in range(2)]
        exchange = Exchange(connections, identity, dispatcher, settings, worker_options)
        await processes.start()
        for child in processes:
            processes.on_frames(child, [ipc.ready(_NO_SUCH_PID + child.number)])
        try:
            yield Parts(dispatcher, exchange, processes, identity, settings)
        finally:
            exchange.claimer.stop()
            asyncio.get_running_loop().remove_reader(ours)
            for child in processes:
                if child.transport is not None:
                    child.transport.abort()
            await asyncio.sleep(0)
