"""When schedules run: patterns, which are pure functions of an instant and its time zone.

Every pattern but the interval is a cron expression with seconds. cronsim finds the next *local* time of it. What that
means in a zone whose clocks are put forward and back is decided here, for cronsim follows Debian's cron, which loses
or doubles some of them, and steps over others where clocks are moved by half an hour:

- A pattern that allows every hour of the day fires hourly or oftener: it runs at each real occurrence of its times.
- The times of any other are times of a day: each is for exactly one instant. One that clocks skip is for the first
  instant after the gap, one that they show twice is for the first of the two.
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
_SOME_DAY = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - local, as all that cronsim is given


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
        """As it is written in a program."""
        return f"Weekday.{self.name}"


def invalid_schedule(message: str, help_text: str | None = None) -> ConfigurationError:
    """Make an HRS-205."""
    return ConfigurationError(ErrorCode.CONFIG_INVALID_SCHEDULE, message, help_text=help_text)


class SchedulePattern(Settings):
    """The base of all patterns. Their fields may be given by keyword or, in their order, by position."""

    default_code: ClassVar[ErrorCode] = ErrorCode.CONFIG_INVALID_SCHEDULE

    def __init__(self, *positional: Any, **data: Any) -> None:
        """Take the fields."""
        names = list(type(self).model_fields)
        if len(positional) > len(names):
            problem = invalid_schedule(f"{type(self).__name__} takes {', '.join(names)} and no more")
            problem.location = caller_location()
            raise problem
        super().__init__(**dict(zip(names, positional, strict=False)), **data)

    @abstractmethod
    def describe(self) -> str:
        """Say in words when it runs."""

    def next_after(self, instant: dt.datetime) -> dt.datetime:
        """The first time to run after an instant.

        Args:
            instant: aware; its time zone is the one whose clocks the pattern follows.

        Returns:
            Aware, in that zone.

        Raises:
            ValueError: ``instant`` is naive.
        """
        zone = _zone_of(instant)
        return self._next(instant.astimezone(UTC), zone).astimezone(zone)

    def latest(self, due: dt.datetime, until: dt.datetime) -> dt.datetime:
        """The last time to run, of ``due`` and those that follow it, that is not after ``until``; else ``due``.

        Args:
            due: a time to run, aware and in the zone that counts.
            until: aware.
        """
        zone = _zone_of(due)
        return self._latest(due.astimezone(UTC), until.astimezone(UTC), zone).astimezone(zone)

    @abstractmethod
    def _next(self, instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        """`next_after` with instants in UTC, which alone can be compared and subtracted."""

    def _latest(self, due: dt.datetime, until: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        """By bisection: there may be millions of times between the two, and not a formula for them."""
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
    """Runs again after a fixed time; at least one part is given, and all are summed.

    The first run is one interval after the schedule was first seen; all others keep to that rhythm, whatever clocks do.

    Attributes:
        seconds: a whole number, as are the others.
        minutes: …
        hours: …
        days: of 24 hours.
    """

    seconds: int | None = Field(default=None, ge=1, le=_YEARS * 365 * 86_400)
    minutes: int | None = Field(default=None, ge=1, le=_YEARS * 365 * 1440)
    hours: int | None = Field(default=None, ge=1, le=_YEARS * 365 * 24)
    days: int | None = Field(default=None, ge=1, le=_YEARS * 365)

    @property
    def interval(self) -> timedelta:
        """The sum of the parts."""
        return timedelta(**{unit: part for unit, part in self if part is not None})

    def contradictions(self) -> Sequence[Contradiction]:
        """One part at least is needed."""
        if self.interval:
            return ()
        message, help_text = "IntervalSchedule needs an interval", "give seconds=, minutes=, hours= or days="
        return (Contradiction.of(self.default_code, message, help_text, *type(self).model_fields),)

    def describe(self) -> str:
        """``Every 1 hour 30 minutes``."""
        parts = [f"{part} {unit if part > 1 else unit[:-1]}" for unit, part in reversed([*self]) if part is not None]
        return f"Every {' '.join(parts)}"

    def _next(self, instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:  # noqa: ARG002 - its clocks don't matter
        return instant + self.interval

    def _latest(self, due: dt.datetime, until: dt.datetime, zone: dt.tzinfo) -> dt.datetime:  # noqa: ARG002
        return due + max(0, (until - due) // self.interval) * self.interval


class _ClockPattern(SchedulePattern):
    """A pattern that looks at the clocks of its zone."""

    @abstractmethod
    def _fields(self) -> str:
        """The pattern as a cron expression of six fields, the first of which is for seconds."""

    def describe(self) -> str:
        """``At 03:30 on Monday``."""
        return describe_cron(self._local_times(_SOME_DAY))

    def _local_times(self, wall: dt.datetime) -> CronSim:
        """The local times that match after ``wall``, which is naive, in ascending order."""
        return CronSim(self._fields(), wall)

    def _next(self, instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
        instant = instant.replace(microsecond=0)  # times to run are whole seconds
        wall = _wall(instant, zone)
        while True:
            local_times = self._local_times(wall)
            if len(local_times.hours) < _HOURS_OF_A_DAY:
                return next(found for local in local_times if (found := _instant_of(local, zone)) > instant)
            found = next(local_times).replace(tzinfo=UTC) - _offset(instant, zone)
            change = _first_change(zone, instant, found)
            if change is None:
                return found
            instant, wall = change, _wall(change, zone) - _SECOND  # look on from there: clocks show another time


def _check_clock_time(value: dt.time) -> dt.time:
    if value.tzinfo is None and not value.microsecond:
        return value
    msg = f"the time {value} of a schedule has a {'fraction of a second' if value.microsecond else 'time zone'}"
    raise invalid_schedule(
        msg,
        "give whole seconds, without a zone: TaskSchedule(timezone=…) has it",
    )


_ClockTime = Annotated[dt.time, AfterValidator(_check_clock_time)]


def _time_fields(time: dt.time) -> str:
    return f"{time.second} {time.minute} {time.hour}"


class HourlySchedule(_ClockPattern):
    """Runs once an hour, also in an hour that occurs twice.

    Attributes:
        minute: 0 to 59.
        second: 0 to 59.
    """

    minute: int = Field(ge=0, le=59)
    second: int = Field(default=0, ge=0, le=59)

    def _fields(self) -> str:
        return f"{self.second} {self.minute} * * * *"


class DailySchedule(_ClockPattern):
    """Runs once a day.

    Attributes:
        time: by the clocks of the schedule's time zone, in whole seconds.
    """

    time: _ClockTime

    def _fields(self) -> str:
        return f"{_time_fields(self.time)} * * *"


class WeeklySchedule(_ClockPattern):
    """Runs on some days of each week.

    Attributes:
        days: at least one, each once.
        time: by the clocks of the schedule's time zone, in whole seconds.
    """

    days: Annotated[Sequence[Weekday], AfterValidator(tuple)]
    time: _ClockTime

    def contradictions(self) -> Sequence[Contradiction]:
        """At least one day is needed, and no day may be given twice."""
        repeated = [str(day) for day, count in Counter(self.days).items() if count > 1]
        if repeated:
            message = f"WeeklySchedule.days names {', '.join(repeated)} more than once"
            return (Contradiction.of(self.default_code, message, "name each day once", "days"),)
        message, help_text = "WeeklySchedule needs a day", "give days=[Weekday.MONDAY]"
        return () if self.days else (Contradiction.of(self.default_code, message, help_text, "days"),)

    def _fields(self) -> str:
        numbers = sorted(1 + list(Weekday).index(day) for day in self.days)
        return f"{_time_fields(self.time)} * * {','.join(map(str, numbers))}"


class MonthlySchedule(_ClockPattern):
    """Runs once a month; a month without that day is left out.

    Attributes:
        day: 1 to 31.
        time: by the clocks of the schedule's time zone, in whole seconds.
    """

    day: int = Field(ge=1, le=31)
    time: _ClockTime

    def _fields(self) -> str:
        return f"{_time_fields(self.time)} {self.day} * *"


def _check_expression(value: str) -> str:
    expression = " ".join(value.split())
    try:
        if len(expression) > _LONGEST_EXPRESSION or expression.count(" ") != 4:  # noqa: PLR2004 - five fields
            problem = "has not the five fields: minute, hour, day of month, month, day of week"
        elif next(CronSim(f"0 {expression}", _SOME_DAY), None) is None:
            problem = "never comes true"
        else:
            return expression
    except CronSimError as error:
        problem = f"can't be read: {str(error).lower()}"
    msg = f"the cron expression {show_value(value)} {problem}"
    raise invalid_schedule(msg, 'write it like "*/5 9-17 * * mon-fri"')


class CronSchedule(_ClockPattern):
    """Runs whenever the clocks match a cron expression of five fields.

    Attributes:
        expression: minute, hour, day of month, month, day of week; with lists, ranges, steps and names of months and
            days, and beyond the classic rules ``L`` (the last day), ``LW``, ``5L`` and ``mon#2``.
        match: which day must match if both the day of the month and the day of the week are restricted. "any", the
            rule of cron: one of them is enough; "all": both must.
    """

    expression: Annotated[str, AfterValidator(_check_expression)]
    match: Literal["any", "all"] = "any"

    if TYPE_CHECKING:  # the fields of the packages 0.x, which were given without an expression, are answered by name

        def __init__(self, expression: str, *, match: Literal["any", "all"] = "any") -> None:
            """Take the fields."""

    def contradictions(self) -> Iterable[Contradiction]:
        """Dates on which both days match must exist."""
        if self.match == "all" and next(self._local_times(_SOME_DAY), None) is None:
            message = f'the cron expression {show_value(self.expression)} never comes true with match="all"'
            help_text = "no day of these months is both that day of the month and that day of the week"
            yield Contradiction.of(self.default_code, message, help_text, "expression", "match")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Leave out the default of ``match``: schedulers compare a pattern with its earlier ``repr``."""
        return [(name, value) for name, value in super().__repr_args__() if (name, value) != ("match", "any")]

    def _fields(self) -> str:
        return f"0 {self.expression}"

    def _local_times(self, wall: dt.datetime) -> CronSim:
        times = super()._local_times(wall)
        times.day_and = times.day_and or self.match == "all"
        return times


def _zone_of(instant: dt.datetime) -> dt.tzinfo:
    if instant.tzinfo is None or instant.utcoffset() is None:
        msg = f"{instant!r} is naive: a pattern needs a time zone whose clocks it follows"
        raise ValueError(msg)
    return instant.tzinfo


def _wall(instant: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """What the clocks of a zone show."""
    return instant.astimezone(zone).replace(tzinfo=None)


def _offset(instant: dt.datetime, zone: dt.tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _instant_of(wall: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """When clocks show a local time first; one that they skip, when they have skipped it. Never decreases."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(first, zone) == wall:
        return first
    before_the_gap = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _first_change(zone, before_the_gap, first) or first


def _first_change(zone: dt.tzinfo, after: dt.datetime, until: dt.datetime) -> dt.datetime | None:
    """The first instant in between, ``until`` included, at which clocks are put forward or back: never twice a day."""
    while after < until:
        step, offset = min(after + _DAY, until), _offset(after, zone)
        if _offset(step, zone) != offset:
            seconds = range(1, int((step - after) / _SECOND) + 1)
            is_changed = bisect_left(seconds, True, key=lambda s: _offset(after + s * _SECOND, zone) != offset)
            return after + seconds[is_changed] * _SECOND
        after = step
    return None
