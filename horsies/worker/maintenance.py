"""The duties of the cluster: any worker does them, one at a time, each in a bounded batch that returns counts."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from horsies.config.app import RecoveryConfig
from horsies.db.connection import WorkerConnection
from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.events import event
from horsies.worker.attempt_log import log_reaped

_MOST_ROWS = 1000
_MOST_RUNS = 20
_PARTITION_DAYS = 14


@dataclass(frozen=True, slots=True)
class MaintenanceJob:
    """One duty: its name in the log, the call that does a batch, and how large one is; None: it takes one only."""

    name: str
    call: Callable[[], Call[Any]]
    most: int | None = None


def duties(recovery: RecoveryConfig) -> list[MaintenanceJob]:
    """What has to be done, given what the app wants kept and recovered."""
    found = [
        MaintenanceJob("expire", lambda: worker_queries.expire(_MOST_ROWS), _MOST_ROWS),
        MaintenanceJob("add_partitions", lambda: worker_queries.add_partitions(_PARTITION_DAYS)),
    ]
    if recovery.auto_fail_stale_running:
        found.insert(0, MaintenanceJob("reap", lambda: worker_queries.reap(None, _MOST_ROWS), _MOST_ROWS))
    if recovery.auto_requeue_stale_claimed:
        stale_s = recovery.claimed_stale_threshold_ms / 1000
        found.insert(
            0,
            MaintenanceJob(
                "return_stale_to_queue",
                lambda: monitoring_queries.return_stale_to_queue(stale_s, _MOST_ROWS),
                _MOST_ROWS,
            ),
        )
    keep_hours = recovery.terminal_record_retention_hours
    if keep_hours is not None:
        found.append(MaintenanceJob("prune", lambda: worker_queries.prune(keep_hours)))
        found.append(
            MaintenanceJob("prune_runs", lambda: workflow_queries.workflow_prune(keep_hours, _MOST_RUNS), _MOST_RUNS)
        )
    keep_workers = recovery.heartbeat_retention_hours
    if keep_workers is not None:
        found.append(MaintenanceJob("forget_workers", lambda: worker_queries.forget_workers(keep_workers)))
    return found


class MaintenanceService:
    """Does all duties every ``check_interval_ms``, and again at once while there is more than a batch to do."""

    def __init__(self, link: WorkerConnection, recovery: RecoveryConfig) -> None:
        """Take a connection of its own: duties may be slow."""
        self._link = link
        self._duties = duties(recovery)
        self._interval = recovery.check_interval_ms / 1000

    async def run(self) -> None:
        """Do the duties for ever; a failure is reported, and the next round tries again."""
        try:
            while True:
                if not any([await self._try(duty) for duty in self._duties]):
                    await asyncio.sleep(self._interval)
        finally:
            await self._link.close()

    async def _try(self, duty: MaintenanceJob) -> bool:
        """Do one batch of a duty; answers whether there may be more. Nothing is done if another worker is at them."""
        try:
            counts = await self._link.call(worker_queries.duty(duty.call()))
        except CallFailedError as failure:
            event("maintenance.failed", level=logging.WARNING, duty=duty.name, reason=failure.message)
            return False
        if counts and duty.name == "reap":
            log_reaped(counts)
        if counts and duty.name == "expire":
            event("tasks.expired", level=logging.WARNING, count=counts)
        if counts:
            event("maintenance.done", level=logging.DEBUG, duty=duty.name, counts=counts)
        return duty.most is not None and int(counts or 0) >= duty.most
