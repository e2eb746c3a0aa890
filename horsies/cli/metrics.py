"""``horsies metrics``."""

import asyncio
from typing import Annotated

import typer

from horsies.cli.database import LOCATOR, ask, viewer
from horsies.cli.output import print_document
from horsies.cli.worker import LogLevel, OfLogFormat, OfLogLevel
from horsies.events import configure_logging
from horsies.metrics.packages import missing_packages
from horsies.monitoring.metrics import cluster_metrics_async
from horsies.process import leave_on_stop_signals, open_standard_files


def metrics(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print the metrics and exit, instead of serving them.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Serve on this port; 0: any free port.")
    ] = 9465,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Serve on this address.")] = "127.0.0.1",
    loglevel: OfLogLevel = LogLevel.INFO,
    log_format: OfLogFormat = "text",
) -> None:
    """Serve or print metrics of queues, workers, runs and schedules for Prometheus.

    They are served over HTTP at /metrics. One such process is enough for a cluster. It asks the database at most every
    10 seconds, however many clients ask.

    Example: horsies metrics instance:app --once
    """
    missing = missing_packages("horsies metrics")
    if missing is not None:
        raise missing
    from horsies.metrics.exposition import render  # noqa: PLC0415 - its packages are optional
    from horsies.metrics.server import open_listener  # noqa: PLC0415
    from horsies.monitoring.metrics_service import serve_metrics  # noqa: PLC0415

    app = viewer(locator)
    if once:
        print_document(render(ask(app, cluster_metrics_async)).decode())
        return
    open_standard_files()
    leave_on_stop_signals(exit_code=0)
    configure_logging(loglevel.value, log_format)
    listener = open_listener(host, port)
    asyncio.run(serve_metrics(app.get_broker(), listener))
