"""`TaskSchedule` and `ScheduleConfig`: the tasks that an app sends repeatedly."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, PrivateAttr, field_validator

from horsies.config.base import Contradiction, Settings, show_value
from horsies.config.patterns import SchedulePattern, invalid_schedule
from horsies.errors import ErrorCode, SourceLocation, caller_location
from horsies.suggestions import suggest

_LONGEST_NAME = 128


def _check_name(name: str) -> str:
    if 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME and name.isprintable():
        return name
    message = f"TaskSchedule.name {show_value(name)} is not a valid schedule name"
    raise invalid_schedule(message, f"use 1 to {_LONGEST_NAME} bytes of printable characters")


def check_timezone(name: str) -> str:
    """Return the name of a time zone unchanged if that time zone exists.

    Raises:
        ConfigurationError: HRS-205: There is no time zone of that name.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        help_text = suggest(name, available_timezones()) or 'use a name of the time zone database: "Europe/Berlin"'
        msg = f"there is no time zone {show_value(name)}"
        raise invalid_schedule(msg, help_text) from error
    return name


class TaskSchedule(Settings):
    """A task that is sent repeatedly, at the times of a pattern.

    Attributes:
        name: The name, unique in the app. The database stores the state of the schedule under this name.
        task_name: The name of the task to send.
        pattern: When the task is sent.
        args: The positional arguments of the task.
        kwargs: The keyword arguments of the task.
        queue_name: The queue to send to; None: the queue of the task.
        enabled: If False, the schedule is registered but never runs.
        timezone: The time zone of the pattern, a name of the time zone database. Default: UTC.
        catch_up_missed: If True, run every time that was missed while no scheduler was running, oldest first. If False,
            run only the last missed time.
        max_catch_up_runs: How many missed times are run at once, 1 to 10,000.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_SCHEDULE

    name: Annotated[str, AfterValidator(_check_name)]
    task_name: str
    pattern: SchedulePattern
    args: Sequence[Any] = Field(default=(), repr=False)  # arguments must not appear in logs
    kwargs: Mapping[str, Any] = Field(default_factory=dict[str, Any], repr=False)
    queue_name: str | None = None
    enabled: bool = True
    timezone: Annotated[str, AfterValidator(check_timezone)] = "UTC"
    catch_up_missed: bool = False
    max_catch_up_runs: int = Field(default=100, ge=1, le=10_000)
    _location: SourceLocation | None = PrivateAttr(default_factory=caller_location)

    @property
    def location(self) -> SourceLocation | None:
        """The line of source code that defines the schedule; None if it is unknown."""
        return self._location

    @property
    def zone(self) -> ZoneInfo:
        """The `timezone` as a `ZoneInfo`."""
        return ZoneInfo(self.timezone)


class ScheduleConfig(Settings):
    """The schedules of an app.

    Attributes:
        enabled: If False, no schedule runs.
        check_interval_seconds: The longest time between two checks for due schedules, 1 to 60 seconds. The scheduler
            also checks whenever a schedule is due.
        schedules: The schedules; their names must be unique.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_SCHEDULE

    enabled: bool = True
    check_interval_seconds: int = Field(default=1, ge=1, le=60)
    schedules: Sequence[TaskSchedule] = ()

    @field_validator("schedules")
    @classmethod
    def _freeze(cls, value: Sequence[TaskSchedule]) -> tuple[TaskSchedule, ...]:
        return tuple(value)

    def contradictions(self) -> Iterator[Contradiction]:
        """Require unique names."""
        for name, count in Counter(schedule.name for schedule in self.schedules).items():
            if count > 1:
                message = f"ScheduleConfig.schedules has {count} schedules named {name!r}"
                help_text = "give each schedule a unique name"
                yield Contradiction.of(self.default_code, message, help_text, "schedules")
