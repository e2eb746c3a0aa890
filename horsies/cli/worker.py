"""``horsies worker``."""

from enum import StrEnum
from functools import partial
from typing import Annotated, Literal

import typer

from horsies.cli.locate import locate
from horsies.worker.main import run_worker
from horsies.worker.options import WorkerOptions


class LogLevel(StrEnum):
    """The levels of log messages."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


OfLogLevel = Annotated[LogLevel, typer.Option(case_sensitive=False, help="Log events of this level and above.")]
OfLogFormat = Annotated[Literal["text", "json"], typer.Option(help="Log events as lines of text or as JSON objects.")]
OfMetricsPort = Annotated[
    int | None,
    typer.Option(min=0, max=65535, metavar="PORT", help="Serve metrics and health checks over HTTP; 0: any free port."),
]
OfMetricsHost = Annotated[str, typer.Option(metavar="ADDRESS", help="Where to serve metrics and health checks.")]


def worker(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")],
    *,
    processes: Annotated[int, typer.Option(min=1, help="Child processes that run tasks.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks that each child runs at once.")] = 1,
    queues: Annotated[str, typer.Option(metavar="A,B", help="Serve only these queues.")] = "",
    max_claim_batch: Annotated[int, typer.Option(min=0, help="Maximum number of tasks in one claim; 0: no limit.")] = 0,
    max_claim_per_worker: Annotated[
        int, typer.Option(min=0, help="Maximum number of claimed tasks; 0: as many as the children can run.")
    ] = 0,
    max_tasks_per_child: Annotated[
        int, typer.Option(min=0, help="Replace a child after this number of tasks; 0: no limit.")
    ] = 0,
    max_memory_per_child_mb: Annotated[
        int, typer.Option(min=0, help="Replace a child whose resident memory exceeds this; 0: no limit.")
    ] = 0,
    start_method: Annotated[
        Literal["fork", "spawn"], typer.Option(help="Fork children, or let each child import the app itself.")
    ] = "fork",
    scheduler: Annotated[bool, typer.Option("--scheduler", help="Also run the app's schedules.")] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when a file of the app changes, and log each task.")
    ] = False,
    shutdown_timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Kill tasks that still run this long after a stop. Default: never."
        ),
    ] = None,
    metrics_port: OfMetricsPort = None,
    metrics_host: OfMetricsHost = "127.0.0.1",
    loglevel: OfLogLevel = LogLevel.INFO,
    log_format: OfLogFormat = "text",
) -> None:
    """Run tasks until the worker is stopped.

    Ctrl-C, SIGTERM and SIGHUP shut down gracefully; press Ctrl-C again to kill running tasks.

    Example: horsies worker instance:app --processes=8 --loglevel=INFO
    """
    options = WorkerOptions(
        processes=processes,
        concurrency=concurrency,
        queues=tuple(name.strip() for name in queues.split(",") if name.strip()),
        max_claim_batch=max_claim_batch,
        max_claim_per_worker=max_claim_per_worker,
        max_tasks_per_child=max_tasks_per_child,
        max_memory_per_child_mb=max_memory_per_child_mb,
        start_method=start_method,
        scheduler=scheduler,
        reload=reload,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        shutdown_timeout=shutdown_timeout,
        loglevel=loglevel.value,
        log_format=log_format,
    )
    raise typer.Exit(run_worker(partial(locate, locator), options))
