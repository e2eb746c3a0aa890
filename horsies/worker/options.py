"""What a worker is told: by the command line (`WorkerOptions`) and by its app (`WorkerSettings`)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from horsies.config.app import RecoveryConfig, WorkerResilienceConfig
from horsies.config.postgres import PostgresConfig
from horsies.errors import ConfigurationError, ErrorCode, caller_location, raise_all
from horsies.events import LogFormat
from horsies.scheduler.plan import Schedules

_LEAST = {
    "processes": 1,
    "concurrency": 1,
    "max_claim_batch": 0,
    "max_claim_per_worker": 0,
    "max_tasks_per_child": 0,
    "max_memory_per_child_mb": 0,
}

type StartMethod = Literal["fork", "spawn"]


class WorkerKeywords(TypedDict, total=False):
    """The fields of `WorkerOptions` as keywords."""

    processes: int
    concurrency: int
    queues: tuple[str, ...]
    max_claim_batch: int
    max_claim_per_worker: int
    max_tasks_per_child: int
    max_memory_per_child_mb: int
    start_method: StartMethod
    shutdown_timeout: float | None
    scheduler: bool
    reload: bool
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
        max_tasks_per_child: tasks after which a child is replaced; 0: no limit.
        max_memory_per_child_mb: resident memory, in MB of 2²⁰ bytes, over which a child is replaced; 0: no limit.
        start_method: how children come to be: ``fork`` from a process that has imported the app, or ``spawn``, each a
            fresh interpreter that imports it.
        scheduler: whether it runs the app's schedules, too.
        reload: whether it starts again when a file of the app changes, and logs each task: for development.
        shutdown_timeout: seconds that running tasks get when the worker stops; None: as long as they take.
        loglevel: a name of `logging`.
        log_format: ``text`` or ``json``.
    """

    processes: int = 1
    concurrency: int = 1
    queues: tuple[str, ...] = ()
    max_claim_batch: int = 0
    max_claim_per_worker: int = 0
    max_tasks_per_child: int = 0
    max_memory_per_child_mb: int = 0
    start_method: StartMethod = "fork"
    shutdown_timeout: float | None = None
    scheduler: bool = False
    reload: bool = False
    loglevel: str = "INFO"
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        """Refuse what the command line would refuse.

        Raises:
            ConfigurationError: HRS-206; several at once as `MultipleValidationErrors`.
        """
        problems = [
            f"{name} must be a whole number of at least {least}, got {value!r}"
            for name, least in _LEAST.items()
            if not isinstance(value := getattr(self, name), int) or value < least
        ]
        methods = get_args(StartMethod.__value__)
        if self.start_method not in methods:
            problems.append(f"start_method must be one of {', '.join(methods)}, got {self.start_method!r}")
        where = caller_location()
        raise_all(ConfigurationError(ErrorCode.CLI_INVALID_ARGS, problem, location=where) for problem in problems)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the supervisor must know of the app; it never imports user code itself. ``queues`` maps names to caps."""

    app_name: str
    broker: PostgresConfig
    recovery: RecoveryConfig
    resilience: WorkerResilienceConfig
    queues: Mapping[str, int | None]
    cluster_cap: int | None
    prefetch_buffer: int
    lease_s: float | None
    most_lease_s: float
    task_names: tuple[str, ...]
    async_names: frozenset[str]
    schedules: Schedules
    folders: tuple[str, ...]

    @property
    def stale_after_s(self) -> float:
        """Seconds without a heartbeat after which the worker is taken for dead."""
        return self.recovery.running_stale_threshold_ms / 1000


def suspend_clock() -> float:
    """Seconds by the clock that also counts while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
