"""Log lines about outcomes that stay busy: they name the transactions that hold the rows."""

import asyncio
import logging
from uuid import UUID

from horsies.db.connection import WorkerConnection
from horsies.db.operations import CallFailedError
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import LockHolder
from horsies.events import event
from horsies.rendering import printable
from horsies.worker.completer import Completer

_BUSY_FOR_S = 10.0
_LOOK_EVERY_S = 1.0
_LOG_EVERY_S = 60.0
_MAX_TASKS = 100


class BusyLog:
    """Logs ``outcomes.blocked`` when outcomes have been busy for 10 s, and every minute while they still are."""

    def __init__(self, completer: Completer, connection: WorkerConnection) -> None:
        self._completer = completer
        self._connection = connection

    async def run(self) -> None:
        """Look at the busy outcomes once per second; never returns."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            busy = self._completer.busy_for(_BUSY_FOR_S)
            if busy:
                await self._log(busy)
                await asyncio.sleep(_LOG_EVERY_S)

    async def _log(self, busy: list[UUID]) -> None:
        try:
            holders = await self._connection.call(worker_queries.lock_holders(busy[:_MAX_TASKS]))
        except CallFailedError as failure:
            event("outcomes.blocked", level=logging.WARNING, count=len(busy), id=busy[0], reason=failure.message)
            return
        for holder in holders:
            facts = {"count": holder.tasks, "id": holder.task_id, "holder": _describe(holder)}
            event("outcomes.blocked", level=logging.WARNING, **facts)
        if not holders:  # it has ended meanwhile, or holds a lock of a table
            event(
                "outcomes.blocked", level=logging.WARNING, count=len(busy), id=busy[0], holder="unknown: see pg_locks"
            )


def _describe(holder: LockHolder) -> str:
    since = "" if holder.seconds is None else f", its transaction is open for {holder.seconds:.0f} s"
    if holder.pid is None:
        return printable(f"{holder.state}{since}")
    session = f"process {holder.pid} ({holder.application}, user {holder.username}, {holder.state})"
    return printable(f"{session}{since}")
