"""``horsies schedules``: shows, pauses, resumes and runs schedules, and explains cron expressions."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from types import SimpleNamespace
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from horsies.cli.database import AS_JSON, LOCATOR, ask, did_you_mean, viewer
from horsies.cli.output import print_json, print_rows, say
from horsies.config.patterns import CronSchedule
from horsies.config.schedules import check_timezone
from horsies.db.queries.rows import ScheduleState
from horsies.errors import ConfigurationError, ErrorCode
from horsies.monitoring.broker import Broker
from horsies.producer.handle import BrokerResult

schedules = typer.Typer(
    no_args_is_help=True,
    help="Show, pause, resume and run schedules.\n\nExample: horsies schedules list instance:app",
)


class DayMatch(StrEnum):
    """Which day must match if both the day of the month and the day of the week are restricted."""

    ANY = "any"
    ALL = "all"


_ONE = typer.Argument(metavar="[MODULE:APP] NAME", help="The app whose database is used, and the schedule.")
_FACTS = [name for name in ScheduleState._fields if name not in {"config_hash", "fingerprint"}]
_COLUMNS = "name task_name pattern timezone next_run_at last_run_at run_count paused"


@schedules.command("list")
def list_(locator: Annotated[str | None, LOCATOR] = None, *, as_json: Annotated[bool, AS_JSON] = False) -> None:
    """List the schedules that the database knows, with their tasks, next times and number of runs.

    Times are in the time zone of the schedule.

    Example: horsies schedules list instance:app
    """
    found = ask(viewer(locator), lambda broker: broker.get_schedules())
    data = [{name: getattr(each, name) for name in _FACTS} for each in found]
    nothing = "no schedules: a running scheduler registers them"
    print_rows([_in_its_zone(each) for each in found], _COLUMNS, lambda: nothing, data if as_json else None)


def _in_its_zone(schedule: ScheduleState) -> SimpleNamespace:
    """Return a schedule with its times in its own time zone, followed by the zone's abbreviation."""
    try:
        zone: tzinfo = ZoneInfo(schedule.timezone)
    except (KeyError, OSError, ValueError):  # this machine does not have the zone
        zone = UTC

    def local(time: datetime | None) -> str | None:
        return None if time is None else f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"

    times = {"next_run_at": local(schedule.next_run_at), "last_run_at": local(schedule.last_run_at)}
    return SimpleNamespace(**schedule._asdict() | times)


@schedules.command()
def pause(arguments: Annotated[list[str], _ONE]) -> None:
    """Pause a schedule. Runs that are due during the pause are skipped.

    Example: horsies schedules pause instance:app nightly-report
    """
    name, changed = _change(arguments, lambda broker, name: broker.pause_schedule(name))
    say(f"schedule {name} is paused" if changed else f"schedule {name} is already paused")


@schedules.command()
def resume(arguments: Annotated[list[str], _ONE]) -> None:
    """Resume a paused schedule from now on.

    Example: horsies schedules resume instance:app nightly-report
    """
    name, changed = _change(arguments, lambda broker, name: broker.resume_schedule(name))
    say(f"schedule {name} is resumed" if changed else f"schedule {name} is already running")


@schedules.command()
def run(arguments: Annotated[list[str], _ONE]) -> None:
    """Send the task of a schedule now, even if it is not due or is paused, and print the task's id.

    Example: horsies schedules run instance:app nightly-report
    """
    say(_change(arguments, lambda broker, name: broker.run_schedule(name))[1])


@schedules.command("next")
def next_(  # noqa: PLR0913 - one parameter an option
    expression: Annotated[str, typer.Argument(metavar="EXPRESSION", help="Five fields, in quotes.")],
    *,
    match: Annotated[DayMatch, typer.Option(help="Which of the two days must match if both are given.")] = DayMatch.ANY,
    timezone: Annotated[str, typer.Option(help="The time zone of the expression.")] = "UTC",
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many times to show.")] = 5,
    after: Annotated[datetime | None, typer.Option(help="Start at this time of the zone. Default: now.")] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Explain a cron expression in words, and show when it runs next. Needs no database.

    Example: horsies schedules next "*/5 9-17 * * mon-fri" --timezone Europe/Berlin
    """
    try:
        pattern = CronSchedule(expression, match=match.value)
        zone = ZoneInfo(check_timezone(timezone))
    except ConfigurationError as error:
        error.location = None  # the expression comes from the command line, not from a source file
        raise
    times = [datetime.now(zone) if after is None else after.replace(tzinfo=after.tzinfo or zone).astimezone(zone)]
    for _ in range(count):
        times.append(pattern.next_after(times[-1]))
    if as_json:
        print_json({"expression": pattern.expression, "words": pattern.describe(), "next": times[1:]})
        return
    say(pattern.describe())
    for each in times[1:]:
        say(f"{each:%a %Y-%m-%d %H:%M %Z}" + ("" if zone.key == "UTC" else f" = {each.astimezone(UTC):%H:%M} UTC"))


def _change[R](
    arguments: Sequence[str], change: Callable[[Broker, str], Awaitable[BrokerResult[R | None]]]
) -> tuple[str, R]:
    """Change one schedule, which must exist."""
    if len(arguments) > 2:  # noqa: PLR2004 - an app and a name
        message = "name one schedule"
        raise typer.BadParameter(message, param_hint="NAME")
    *locators, name = arguments
    app = viewer(locators[0] if locators else None)
    changed = ask(app, lambda broker: change(broker, name))
    if changed is None:
        known = [each.name for each in ask(app, lambda broker: broker.get_schedules())]
        message = f"there is no schedule {name!r}{did_you_mean(name, known)}"
        help_text = "see: horsies schedules list; a running scheduler registers schedules"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text=help_text)
    return name, changed
