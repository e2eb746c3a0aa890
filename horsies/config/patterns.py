"""Schedule patterns: pure functions that compute the next run after an instant in a time zone.

Every pattern except the interval is a cron expression with seconds. cronsim finds the next *local* time that matches.
This module maps local times to instants in zones with daylight saving time. cronsim itself follows Debian's cron, which
loses or repeats some runs, and skips others where clocks are moved by half an hour. The rules here are:

- A pattern that matches in every hour of the day runs hourly or more often. It runs at each real occurrence.
- Every other pattern names times of the day, and each of them runs exactly once. A time that the clocks skip runs at
  the first instant after the gap. A time that occurs twice runs at its first occurrence.
"""

import datetime as dt
from abc import abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

from horsies.config.base import Contradiction, Settings, show_value
from horsies.config.cron_words import describe_cron
from horsies.errors import ConfigurationError, ErrorCode, caller_location

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_HOURS_OF_A_DAY = 24
_LONGEST_EXPRESSION = 500
_YEARS = 100
_SOME_DAY = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - cronsim takes naive local times


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"

    def __str__(self) -> str:
        """Show the member as it is written in source code."""
        return f"Weekday.{self.name}"


def invalid_schedule(message: str, help_text: str | None = None) -> ConfigurationError:
    """Make an HRS-205 error."""
    return ConfigurationError(ErrorCode.CONFIG_INVALID_SCHEDULE, message, help_text=help_text)


class SchedulePattern(Settings):
    """The base class of all patterns. Fields are passed by keyword, or by position in the order of their definition."""

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_SCHEDULE

    def __init__(self, *positional: Any, **data: Any) -> None:
        names = list(type(self).model_fields)
        if len(positional) > len(names):
            problem = invalid_schedule(
                f"{type(self).__name__} takes at most {len(names)} positional arguments "
                f"({', '.join(names)}), got {len(positional)}"
            )
            problem.location = caller_location()
            raise problem
        super().__init__(**dict(zip(names, positional, strict=False)), **data)

    @abstractmethod
    def describe(self) -> str:
        """Describe in English when the pattern runs."""

    @property
    def runs_every_hour(self) -> bool:
        """Whether the pattern runs in each real hour. False: it names times of the day, and each runs exactly once."""
        return True

    def next_after(self, instant: dt.datetime) -> dt.datetime:
        """Return the first run after an instant.

        Args:
            instant: An aware datetime. The pattern is evaluated in its time zone.

        Returns:
            An aware datetime in the same time zone.

        Raises:
            ValueError: ``instant`` is naive.
        """
        zone = _zone_of(instant)
        return self._next(instant.astimezone(UTC), zone).astimezone(zone)

    def latest(self, due: dt.datetime, until: dt.datetime) -> dt.datetime:
        """Return the last run that is not after ``until``, starting from ``due``; ``due`` itself if there is none.

        Args:
            due: A run of the pattern, aware. The pattern is evaluated in its time zone.
            until: The end of the range, aware.
        """
        zone = _zone_of(due)
        return self._latest(due.astimezone(UTC), until.astimezone(UTC), zone).astimezone(zone)

    @abstractmethod
    def _next(self, instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        """Implement `next_after` with instants in UTC, because only these can be compared and subtracted safely."""

    def _latest(self, due: dt.datetime, until: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        """Implement `latest` by bisection, because there may be millions of runs in between and no formula for them."""
        low, high = 0, int((until - due) / _SECOND)
        latest = due
        while low <= high:
            middle = (low + high) // 2
            found = self._next(due + timedelta(seconds=middle), zone)
            if found > until:
                high = middle - 1
            else:
                latest = found
                low = max(middle + 1, int((found - due) / _SECOND))
        return latest


class IntervalSchedule(SchedulePattern):
    """Runs at a fixed interval, the sum of all given parts. At least one part is required.

    The first run is one interval after a scheduler first registered the schedule. All later runs follow at that
    interval, independent of changes of the clocks.

    Attributes:
        seconds: A whole number of seconds.
        minutes: A whole number of minutes.
        hours: A whole number of hours.
        days: A whole number of days of 24 hours.
    """

    seconds: int | None = Field(default=None, ge=1, le=_YEARS * 365 * 86_400)
    minutes: int | None = Field(default=None, ge=1, le=_YEARS * 365 * 1440)
    hours: int | None = Field(default=None, ge=1, le=_YEARS * 365 * 24)
    days: int | None = Field(default=None, ge=1, le=_YEARS * 365)

    @property
    def interval(self) -> timedelta:
        """The sum of all parts."""
        return timedelta(**{unit: part for unit, part in self if part is not None})

    def contradictions(self) -> Sequence[Contradiction]:
        """Require at least one part."""
        if self.interval:
            return ()
        message, help_text = "IntervalSchedule has no interval", "pass seconds=, minutes=, hours= or days="
        return (Contradiction.of(self.default_code, message, help_text, *type(self).model_fields),)

    def describe(self) -> str:
        """Describe the interval: ``Every 1 hour 30 minutes``."""
        parts = [f"{part} {unit if part > 1 else unit[:-1]}" for unit, part in reversed([*self]) if part is not None]
        return f"Every {' '.join(parts)}"

    def _next(self, instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:  # noqa: ARG002 - independent of the zone
        return instant + self.interval

    def _latest(self, due: dt.datetime, until: dt.datetime, zone: dt.tzinfo) -> dt.datetime:  # noqa: ARG002
        return due + max(0, (until - due) // self.interval) * self.interval


class _ClockPattern(SchedulePattern):
    """A pattern of local times in its time zone."""

    @abstractmethod
    def _fields(self) -> str:
        """Return the pattern as a cron expression of six fields, of which the first is for seconds."""

    def describe(self) -> str:
        """Describe the times: ``At 03:30 on Monday``."""
        return describe_cron(self._local_times(_SOME_DAY))

    @property
    def runs_every_hour(self) -> bool:
        """Whether the pattern matches in every hour of the day, so that it runs at each occurrence of its times."""
        return len(self._local_times(_SOME_DAY).hours) == _HOURS_OF_A_DAY

    def _local_times(self, wall: dt.datetime) -> CronSim:
        """Return the matching local times after the naive time ``wall``, in ascending order."""
        return CronSim(self._fields(), wall)

    def _next(self, instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        instant = instant.replace(microsecond=0)  # all runs are at whole seconds
        wall = _wall(instant, zone)
        while True:
            local_times = self._local_times(wall)
            if len(local_times.hours) < _HOURS_OF_A_DAY:
                return next(found for local in local_times if (found := _instant_of(local, zone)) > instant)
            found = next(local_times).replace(tzinfo=UTC) - _offset(instant, zone)
            change = first_change(zone, instant, found)
            if change is None:
                return found
            instant, wall = change, _wall(change, zone) - _SECOND  # continue there, where the UTC offset has changed


def _check_clock_time(value: dt.time) -> dt.time:
    if value.tzinfo is None and not value.microsecond:
        return value
    msg = f"the time {value} of a schedule has a {'fraction of a second' if value.microsecond else 'time zone'}"
    raise invalid_schedule(msg, "use whole seconds without a tzinfo, and set the time zone in TaskSchedule(timezone=…)")


_ClockTime = Annotated[dt.time, AfterValidator(_check_clock_time)]


def _time_fields(time: dt.time) -> str:
    return f"{time.second} {time.minute} {time.hour}"


class HourlySchedule(_ClockPattern):
    """Runs once an hour. An hour that occurs twice, at the end of daylight saving time, has two runs.

    Attributes:
        minute: The minute of the hour, 0 to 59.
        second: The second of the minute, 0 to 59. Default: 0.
    """

    minute: int = Field(ge=0, le=59)
    second: int = Field(default=0, ge=0, le=59)

    def _fields(self) -> str:
        return f"{self.second} {self.minute} * * * *"


class DailySchedule(_ClockPattern):
    """Runs once a day.

    Attributes:
        time: The local time in the time zone of the schedule, in whole seconds.
    """

    time: _ClockTime

    def _fields(self) -> str:
        return f"{_time_fields(self.time)} * * *"


class WeeklySchedule(_ClockPattern):
    """Runs on given days of each week.

    Attributes:
        days: The days of the week: at least one, each named once.
        time: The local time in the time zone of the schedule, in whole seconds.
    """

    days: Annotated[Sequence[Weekday], AfterValidator(tuple)]
    time: _ClockTime

    def contradictions(self) -> Sequence[Contradiction]:
        """Require at least one day, and no day twice."""
        repeated = [str(day) for day, count in Counter(self.days).items() if count > 1]
        if repeated:
            message = f"WeeklySchedule.days names {', '.join(repeated)} more than once"
            return (Contradiction.of(self.default_code, message, "name each day once", "days"),)
        message, help_text = "WeeklySchedule has no days", "set at least one, for example days=[Weekday.MONDAY]"
        return () if self.days else (Contradiction.of(self.default_code, message, help_text, "days"),)

    def _fields(self) -> str:
        numbers = sorted(1 + list(Weekday).index(day) for day in self.days)
        return f"{_time_fields(self.time)} * * {','.join(map(str, numbers))}"


class MonthlySchedule(_ClockPattern):
    """Runs once a month. Months without that day are skipped.

    Attributes:
        day: The day of the month, 1 to 31.
        time: The local time in the time zone of the schedule, in whole seconds.
    """

    day: int = Field(ge=1, le=31)
    time: _ClockTime

    def _fields(self) -> str:
        return f"{_time_fields(self.time)} {self.day} * *"


def _check_expression(value: str) -> str:
    expression = " ".join(value.split())
    try:
        if len(expression) > _LONGEST_EXPRESSION or expression.count(" ") != 4:  # noqa: PLR2004 - five fields
            problem = "does not have the five fields: minute, hour, day of month, month, day of week"
        elif next(CronSim(f"0 {expression}", _SOME_DAY), None) is None:
            problem = "never matches"
        else:
            return expression
    except CronSimError as error:
        problem = f"is invalid: {str(error).lower()}"
    msg = f"the cron expression {show_value(value)} {problem}"
    raise invalid_schedule(msg, 'write it like "*/5 9-17 * * mon-fri"')


class CronSchedule(_ClockPattern):
    """Runs whenever the local time matches a cron expression of five fields.

    Attributes:
        expression: The fields are minute, hour, day of month, month and day of week. Lists, ranges, steps and the names
            of months and days are supported, as are the extensions ``L`` (the last day), ``LW``, ``5L`` and ``mon#2``.
        match: How the day of the month and the day of the week combine if both are restricted. "any": one of them must
            match, as in cron. "all": both must match.
    """

    expression: Annotated[str, AfterValidator(_check_expression)]
    match: Literal["any", "all"] = "any"

    # At run time the base class takes any fields, so that fields of the packages 0.x get an error that names them.
    if TYPE_CHECKING:

        def __init__(self, expression: str, *, match: Literal["any", "all"] = "any") -> None: ...

    def contradictions(self) -> Iterable[Contradiction]:
        """Require with ``match="all"`` that some date matches both the day of the month and the day of the week."""
        if self.match == "all" and next(self._local_times(_SOME_DAY), None) is None:
            message = f'the cron expression {show_value(self.expression)} never matches with match="all"'
            help_text = 'change one of the day fields: no date matches both of them, or use match="any"'
            yield Contradiction.of(self.default_code, message, help_text, "expression", "match")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Omit the default of ``match``, because schedulers compare the pattern with its earlier ``repr``."""
        return [(name, value) for name, value in super().__repr_args__() if (name, value) != ("match", "any")]

    def _fields(self) -> str:
        return f"0 {self.expression}"

    def _local_times(self, wall: dt.datetime) -> CronSim:
        times = super()._local_times(wall)
        times.day_and = times.day_and or self.match == "all"
        return times


def _zone_of(instant: dt.datetime) -> dt.tzinfo:
    if instant.tzinfo is None or instant.utcoffset() is None:
        msg = f"{instant!r} is naive: pass an aware datetime, in the time zone of the schedule"
        raise ValueError(msg)
    return instant.tzinfo


def _wall(instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Return the naive local time of an instant in a zone."""
    return instant.astimezone(zone).replace(tzinfo=None)


def _offset(instant: dt.datetime, zone: dt.tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _instant_of(wall: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Return the instant of a local time: its first occurrence, or the end of the gap if the clocks skip it.

    The result never decreases when ``wall`` increases.
    """
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(first, zone) == wall:
        return first
    before_the_gap = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return first_change(zone, before_the_gap, first) or first


def first_change(zone: dt.tzinfo, after: dt.datetime, until: dt.datetime) -> dt.datetime | None:
    """Return the first change of the UTC offset after ``after`` and not after ``until``; None if there is none.

    The search assumes at most one change per day.
    """
    while after < until:
        step, offset = min(after + _DAY, until), _offset(after, zone)
        if _offset(step, zone) != offset:
            seconds = range(1, int((step - after) / _SECOND) + 1)
            is_changed = bisect_left(seconds, True, key=lambda s: _offset(after + s * _SECOND, zone) != offset)
            return after + seconds[is_changed] * _SECOND
        after = step
    return None
