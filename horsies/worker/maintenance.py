"""Maintenance of the cluster: any worker runs the jobs, one worker at a time, in batches of bounded size."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from horsies.config.app import RecoveryConfig
from horsies.db.connection import WorkerConnection
from horsies.db.migrate import PARTITION_DAYS
from horsies.db.operations import Call, CallFailedError
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import status as status_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.events import event
from horsies.worker.attempt_log import log_reaped
from horsies.worker.options import suspend_clock
from horsies.worker.silence import SilenceObserver

_MAX_ROWS = 1000
_MAX_RUNS = 20
_MAX_MINUTES = 10
_MAX_SECONDS_OF_A_JOB = 1.0


@dataclass(frozen=True, slots=True)
class MaintenanceJob:
    """One kind of maintenance.

    Attributes:
        name: its name in the log.
        call: makes the database call for one batch, which returns counts.
        batch_size: the largest count of one batch; a full batch is followed by another one. None: one batch does all.
    """

    name: str
    call: Callable[[], Call[Any]]
    batch_size: int | None = None


def maintenance_jobs(recovery: RecoveryConfig, silence: SilenceObserver | None = None) -> list[MaintenanceJob]:
    """Return the jobs that the recovery settings of an app require, in the order in which they run.

    Args:
        recovery: the settings.
        silence: knows which workers are silent; None: none is known to be.
    """
    silence = silence or SilenceObserver()
    keep_hours = recovery.terminal_record_retention_hours
    found = [
        MaintenanceJob("expire", lambda: worker_queries.expire(_MAX_ROWS), _MAX_ROWS),
        MaintenanceJob("sample", lambda: monitoring_queries.sample(keep_hours), _MAX_MINUTES),
        MaintenanceJob("sample_errors", monitoring_queries.sample_errors, 1),
        MaintenanceJob("count_waiting", status_queries.count_waiting),
        MaintenanceJob("add_partitions", lambda: worker_queries.add_partitions(PARTITION_DAYS, keep_hours)),
    ]
    if recovery.auto_fail_stale_running:
        found.insert(0, MaintenanceJob("reap", lambda: worker_queries.reap(None, _MAX_ROWS), _MAX_ROWS))
    if recovery.auto_requeue_stale_claimed:
        stale_s = recovery.claimed_stale_threshold_ms / 1000
        found.insert(
            0,
            MaintenanceJob(
                "return_stale_to_queue",
                lambda: monitoring_queries.return_stale_to_queue(stale_s, _MAX_ROWS, silence.silent_for(stale_s)),
                _MAX_ROWS,
            ),
        )
    if keep_hours is not None:
        found.append(MaintenanceJob("prune", lambda: worker_queries.prune(keep_hours), 1))
        found.append(
            MaintenanceJob("prune_runs", lambda: workflow_queries.workflow_prune(keep_hours, _MAX_RUNS), _MAX_RUNS)
        )
    keep_workers = recovery.heartbeat_retention_hours
    if keep_workers is not None:
        found.append(MaintenanceJob("forget_workers", lambda: worker_queries.forget_workers(keep_workers)))
    return found


class MaintenanceService:
    """Runs all jobs every ``check_interval_ms``, and repeats a job while its batches are full.

    The service has a separate connection, because maintenance may be slow.
    """

    def __init__(self, connection: WorkerConnection, recovery: RecoveryConfig) -> None:
        self._connection = connection
        self._silence = SilenceObserver()
        self._reaps_silent = recovery.auto_fail_stale_running
        self._jobs = maintenance_jobs(recovery, self._silence)
        self._interval = recovery.check_interval_ms / 1000

    async def run(self) -> None:
        """Run the jobs until cancelled. A failure is logged, and the next round retries."""
        try:
            while True:
                await self._observe()
                if not any([await self._repeat(job) for job in [*self._reaps(), *self._jobs]]):
                    await asyncio.sleep(self._interval)
        finally:
            await self._connection.close()

    async def _repeat(self, job: MaintenanceJob) -> bool:
        """Run batches of a job while they are full, for a second at most; returns whether more remains to be done."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _MAX_SECONDS_OF_A_JOB
        while is_full := await self._try(job):
            if loop.time() > until:
                break
        return is_full

    async def _observe(self) -> None:
        """Read which workers have sent heartbeats. Every worker does this, also if another one runs the maintenance."""
        asked_at = suspend_clock()
        try:
            workers = await self._connection.call(worker_queries.worker_beats())
        except CallFailedError as failure:
            event("maintenance.failed", level=logging.WARNING, job="worker_beats", reason=failure.message)
        else:
            self._silence.observe(workers, asked_at, suspend_clock())

    def _reaps(self) -> list[MaintenanceJob]:
        """One job for each worker that this process has seen silent for too long."""
        return [
            MaintenanceJob("reap", partial(worker_queries.reap_silent, silent, _MAX_ROWS), _MAX_ROWS)
            for silent in (self._silence.dead() if self._reaps_silent else ())
        ]

    async def _try(self, job: MaintenanceJob) -> bool:
        """Run one batch of a job, unless another worker runs maintenance; returns whether the batch was full."""
        try:
            counts = await self._connection.call(worker_queries.maintenance_call(job.call()))
        except CallFailedError as failure:
            event("maintenance.failed", level=logging.WARNING, job=job.name, reason=failure.message)
            return False
        if counts and job.name == "reap":
            log_reaped(counts)
        if counts and job.name == "expire":
            event("tasks.expired", level=logging.WARNING, count=counts)
        if counts:
            event("maintenance.done", level=logging.DEBUG, job=job.name, counts=counts)
        return job.batch_size is not None and int(counts or 0) >= job.batch_size
