"""The configuration of a worker: from the command line (`WorkerOptions`) and from its app (`WorkerSettings`)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from horsies.config.app import RecoveryConfig, WorkerResilienceConfig
from horsies.config.payload import PayloadPolicy
from horsies.config.postgres import PostgresConfig
from horsies.db.queries.declarations import Declarations
from horsies.db.queries.flow import QueueFlow
from horsies.errors import ConfigurationError, ErrorCode, caller_location, raise_all
from horsies.events import LogFormat
from horsies.plain import short_repr
from horsies.scheduler.plan import Schedules

_MINIMUMS = {
    "processes": 1,
    "concurrency": 1,
    "max_claim_batch": 0,
    "max_claim_per_worker": 0,
    "max_tasks_per_child": 0,
    "max_memory_per_child_mb": 0,
}
_LARGEST_PORT = 65535

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
    metrics_port: int | None
    metrics_host: str
    loglevel: str
    log_format: LogFormat


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The command line of a worker.

    Attributes:
        processes: the number of child processes.
        concurrency: the number of tasks that each child runs at the same time.
        queues: the queues to work on; empty: all queues of the app.
        max_claim_batch: the largest number of tasks in one claim; 0: no limit.
        max_claim_per_worker: the largest number of claimed tasks that the worker holds; 0: as many as its children can
            run.
        max_tasks_per_child: the number of tasks after which a child is replaced; 0: no limit.
        max_memory_per_child_mb: resident memory, in MB of 2²⁰ bytes, above which a child is replaced; 0: no limit.
        start_method: ``fork``: children are forked from a process that has imported the app; ``spawn``: each child is a
            fresh interpreter that imports the app.
        scheduler: whether the worker also runs the app's schedules.
        reload: whether the worker restarts when a file of the app changes, and logs every task; for development.
        shutdown_timeout: seconds that running tasks may take after a stop signal; None: no limit.
        metrics_port: the port of the HTTP server for metrics and health checks; 0: any free port; None: no server. It
            needs the extra ``metrics``.
        metrics_host: the address of that server. Everybody who can reach it can read the metrics.
        loglevel: the name of a level of `logging`.
        log_format: ``text``, ``json`` or ``short``.
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
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    loglevel: str = "INFO"
    log_format: LogFormat = "text"

    def __post_init__(self) -> None:
        """Validate the options as the command line does.

        Raises:
            ConfigurationError: HRS-206; several at once as `MultipleValidationErrors`.
        """
        problems = [
            f"{name} must be a whole number of at least {least}, got {short_repr(value)}"
            for name, least in _MINIMUMS.items()
            if not isinstance(value := getattr(self, name), int) or value < least
        ]
        methods = get_args(StartMethod.__value__)
        if self.start_method not in methods:
            problems.append(f"start_method must be one of {', '.join(methods)}, got {self.start_method!r}")
        if self.metrics_port is not None and self.metrics_port not in range(_LARGEST_PORT + 1):
            problems.append(
                f"metrics_port must be a port from 0 to {_LARGEST_PORT}, got {short_repr(self.metrics_port)}"
            )
        where = caller_location()
        raise_all(ConfigurationError(ErrorCode.CLI_INVALID_ARGS, problem, location=where) for problem in problems)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of the app for the supervisor, which never imports user code itself.

    Attributes:
        app_name: for the log.
        broker: how to connect to the database.
        recovery: thresholds and intervals of heartbeats and maintenance.
        resilience: retry pauses and the poll interval.
        queues: maps the names of the queues to their caps; None: no cap.
        flow: the declared keys and rates of the queues of the app.
        cluster_cap: the cap on running tasks of the whole cluster; None: no cap.
        prefetch_buffer: the number of tasks to prefetch.
        lease_s: the lease of prefetched tasks, in seconds; None: nothing is prefetched.
        max_lease_s: the longest time for which a prefetched task is renewed, in seconds.
        task_names: the tasks that the worker can run.
        async_names: those of them that are ``async def``.
        transactional_names: those of them that run in a transaction and end themselves there.
        schedules: for the scheduler, if the worker runs one.
        folders: the folders that are watched with ``--reload``.
        declarations: the declarations of the tasks of the app.
        payload: the sizes above which results are logged.
        results_in_notices: whether notices carry small results.
    """

    app_name: str
    broker: PostgresConfig
    recovery: RecoveryConfig
    resilience: WorkerResilienceConfig
    queues: Mapping[str, int | None]
    cluster_cap: int | None
    prefetch_buffer: int
    lease_s: float | None
    max_lease_s: float
    task_names: tuple[str, ...]
    async_names: frozenset[str]
    transactional_names: frozenset[str]
    schedules: Schedules
    folders: tuple[str, ...]
    declarations: Declarations
    payload: PayloadPolicy
    flow: tuple[QueueFlow, ...] = ()
    results_in_notices: bool = False

    @property
    def stale_after_s(self) -> float:
        """The number of seconds without a heartbeat after which the worker is considered dead."""
        return self.recovery.running_stale_threshold_ms / 1000


def suspend_clock() -> float:
    """Return seconds of a monotonic clock that also runs while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
