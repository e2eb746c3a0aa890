"""``horsies scheduler``."""

import asyncio
from typing import Annotated

import typer

from horsies.cli.locate import locate
from horsies.cli.worker import LogLevel, OfLogFormat, OfLogLevel
from horsies.db.connect import Database
from horsies.db.operations import CallFailedError
from horsies.errors import ConfigurationError, ErrorCode, raise_all
from horsies.events import configure_logging, event
from horsies.process import leave_on_stop_signals, open_standard_files
from horsies.scheduler.plan import plan_schedules
from horsies.scheduler.service import serve
from horsies.version import __version__


def scheduler(
    locator: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")],
    *,
    loglevel: OfLogLevel = LogLevel.INFO,
    log_format: OfLogFormat = "text",
) -> None:
    """Send the tasks of the app's schedules when they are due.

    Several schedulers may run. One of them leads each schedule; if it dies, another takes over within five seconds.

    Example: horsies scheduler instance:app
    """
    open_standard_files()
    leave_on_stop_signals(exit_code=0)
    configure_logging(loglevel.value, log_format)
    app = locate(locator)
    raise_all(app.check())
    config = app.config
    if config.schedule is None or not config.schedule.schedules:
        raise ConfigurationError(
            ErrorCode.CONFIG_INVALID_SCHEDULE,
            f"the app {app.name!r} has no schedules, so a scheduler would do nothing",
            help_text="give AppConfig(schedule=ScheduleConfig(schedules=[TaskSchedule(…)])), or run: horsies worker",
        )
    schedules = plan_schedules(config, app.registry)
    event("scheduler.starting", app=app.name, version=__version__, database=config.broker.masked_url())
    try:
        asyncio.run(serve(Database(config.broker), config.resilience, schedules))
    except CallFailedError as failure:
        raise config.broker.unusable(failure.message) from failure
