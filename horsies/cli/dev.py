"""``horsies dev``."""

import os
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from horsies.cli.locate import locate
from horsies.cli.output import say
from horsies.cli.worker import LogLevel, OfLogLevel
from horsies.config.postgres import DEV_URL_VARIABLE
from horsies.config.urls import with_driver
from horsies.embedded import server as embedded
from horsies.errors import ConfigurationError, ErrorCode
from horsies.worker.main import run_worker
from horsies.worker.options import WorkerOptions

_KILL_AFTER_S = 1.0


def dev(
    locator: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")],
    *,
    processes: Annotated[int, typer.Option(min=1, help="Child processes that run tasks.")] = 2,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks that each child runs at once.")] = 1,
    loglevel: OfLogLevel = LogLevel.INFO,
) -> None:
    """Run an app for development on an embedded PostgreSQL, in one terminal.

    The command runs a worker and the schedules. It uses a PostgreSQL in .horsies/pg instead of the database that the
    app names. When a file of the app changes, the worker restarts. After a change or Ctrl-C, running tasks have one
    second to finish before they are killed.

    Example: horsies dev instance:app
    """
    home = Path(".horsies", "pg").absolute()
    url = os.environ[DEV_URL_VARIABLE] = f"embedded://{quote(str(home))}"
    try:
        address = embedded.acquire(home)
    except embedded.EmbeddedError as error:
        raise ConfigurationError(ErrorCode.BROKER_INIT_FAILED, str(error)) from error
    say("dev: using the embedded PostgreSQL in .horsies/pg", err=True)
    say(f"dev: to use this database in another terminal: export {DEV_URL_VARIABLE}={shlex.quote(url)}", err=True)
    say(f"dev: to connect with psql or psycopg: {shlex.quote(address)}", err=True)
    say(f"dev: to connect with SQLAlchemy: {shlex.quote(with_driver(address, 'psycopg'))}", err=True)
    options = WorkerOptions(
        processes=processes,
        concurrency=concurrency,
        scheduler=True,
        reload=True,
        shutdown_timeout=_KILL_AFTER_S,
        loglevel=loglevel.value,
        log_format="short",
    )
    raise typer.Exit(run_worker(partial(locate, locator), options))
