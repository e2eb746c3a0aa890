"""What a worker is told: by the command line (`WorkerOptions`) and by its app (`WorkerSettings`)."""

import time
from dataclasses import dataclass
from typing import TypedDict

from horsies.config import PostgresConfig, RecoveryConfig, WorkerResilienceConfig
from horsies.telemetry import LogFormat


class WorkerKeywords(TypedDict, total=False):
    """The fields of `WorkerOptions` as keywords."""

    processes: int
    concurrency: int
    queues: tuple[str, ...]
    max_claim_batch: int
    max_claim_per_worker: int
    shutdown_timeout: float | None
    loglevel: str
    log_format: LogFormat


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The command line of a worker.

    Attributes:
        processes: children.
        concurrency: tasks at a time in each child.
        queues: work on these only; empty: on all the app has.
        max_claim_batch: tasks taken in one claim at most; 0: no limit.
        max_claim_per_worker: tasks in hand at most; 0: as many as the children can run.
        shutdown_timeout: seconds that running tasks get when the worker stops; None: as long as they take.
        loglevel: a name of `logging`.
        log_format: ``text`` or ``json``.
    """

    processes: int = 1
    concurrency: int = 1
    queues: tuple[str, ...] = ()
    max_claim_batch: int = 0
    max_claim_per_worker: int = 0
    shutdown_timeout: float | None = None
    loglevel: str = "INFO"
    log_format: LogFormat = "text"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the supervisor must know of the app; it never imports user code itself."""

    app_name: str
    broker: PostgresConfig
    recovery: RecoveryConfig
    resilience: WorkerResilienceConfig
    queues: tuple[str, ...]
    task_names: tuple[str, ...]
    async_names: frozenset[str]

    @property
    def stale_after_s(self) -> float:
        """Seconds without a heartbeat after which the worker is taken for dead."""
        return self.recovery.running_stale_threshold_ms / 1000


def suspend_clock() -> float:
    """Seconds by the clock that also counts while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
