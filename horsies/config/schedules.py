"""`TaskSchedule` and `ScheduleConfig`: which tasks are sent when, as an app says it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, PrivateAttr, field_validator

from horsies.config.base import Contradiction, Settings, show_value
from horsies.config.patterns import SchedulePattern, invalid_schedule
from horsies.errors import ErrorCode, SourceLocation, caller_location

_LONGEST_NAME = 128


def _check_name(name: str) -> str:
    if 0 < len(name.encode(errors="replace")) <= _LONGEST_NAME and name.isprintable():
        return name
    message = f"TaskSchedule.name {show_value(name)} cannot be a schedule's name"
    raise invalid_schedule(message, f"use 1 to {_LONGEST_NAME} bytes of printable characters")


def check_timezone(name: str) -> str:
    """Pass the name of a time zone.

    Raises:
        ConfigurationError: HRS-205, there is none of that name.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        close = get_close_matches(name, available_timezones(), n=1)
        help_text = f"did you mean {close[0]!r}?" if close else 'use a name of the time zone database: "Europe/Berlin"'
        msg = f"there is no time zone {show_value(name)}"
        raise invalid_schedule(msg, help_text) from error
    return name


class TaskSchedule(Settings):
    """A task that is sent again and again.

    Attributes:
        name: unique in the app; the database keeps the schedule's state under it.
        task_name: the task.
        pattern: when.
        args: positional arguments.
        kwargs: keyword arguments.
        queue_name: another queue than the task's own.
        enabled: False: it is known, and not run.
        timezone: whose clocks the pattern follows; a name of the time zone database.
        catch_up_missed: run each time that was missed while no scheduler ran, oldest first; else only the last of them.
        max_catch_up_runs: how many of them at once, 1 to 10,000.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_SCHEDULE

    name: Annotated[str, AfterValidator(_check_name)]
    task_name: str
    pattern: SchedulePattern
    args: Sequence[Any] = Field(default=(), repr=False)  # neither is for a log
    kwargs: Mapping[str, Any] = Field(default_factory=dict[str, Any], repr=False)
    queue_name: str | None = None
    enabled: bool = True
    timezone: Annotated[str, AfterValidator(check_timezone)] = "UTC"
    catch_up_missed: bool = False
    max_catch_up_runs: int = Field(default=100, ge=1, le=10_000)
    _location: SourceLocation | None = PrivateAttr(default_factory=caller_location)

    @property
    def location(self) -> SourceLocation | None:
        """Where it is written."""
        return self._location

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)


class ScheduleConfig(Settings):
    """The schedules of an app.

    Attributes:
        enabled: False: none is run.
        check_interval_seconds: how often a scheduler looks, at least, 1 to 60; it also looks when a schedule is due.
        schedules: with unique names.
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
        """Names must be unique."""
        for name, count in Counter(schedule.name for schedule in self.schedules).items():
            if count > 1:
                message = f"ScheduleConfig.schedules has {count} schedules named {name!r}"
                help_text = "give each schedule a name of its own"
                yield Contradiction.of(self.default_code, message, help_text, "schedules")
