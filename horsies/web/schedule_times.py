"""When schedules run: their due times, and how changes of the clocks affect them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from horsies.config.patterns import IntervalSchedule, SchedulePattern, first_change

_AHEAD = timedelta(days=200)
_SECOND = timedelta(seconds=1)
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class DueTimes:
    """The due times of a schedule in a range.

    Attributes:
        times: The times, in UTC, the earliest first.
        is_cut: Whether there are more of them.
    """

    times: tuple[datetime, ...]
    is_cut: bool


def due_times(  # noqa: PLR0913, PLR0917 - a range, and what it is about
    pattern: SchedulePattern, zone: ZoneInfo, known: datetime, first: datetime, until: datetime, most: int
) -> DueTimes:
    """Return the due times from ``first`` until before ``until``.

    Args:
        pattern: The pattern.
        zone: Its time zone.
        known: A due time of the schedule. The due times of an interval depend on it.
        first: The begin of the range, in UTC.
        until: The end of the range, in UTC.
        most: The largest number of times.
    """
    found: list[datetime] = []
    if isinstance(pattern, IntervalSchedule):
        at = known - (known - first) // pattern.interval * pattern.interval
        while at < until and len(found) <= most:
            found.append(at)
            at += pattern.interval
    else:
        at = (first - _SECOND).astimezone(zone)
        while len(found) <= most and (at := pattern.next_after(at)) < until:
            found.append(at.astimezone(UTC))
    return DueTimes(tuple(found[:most]), len(found) > most)


def clock_note(pattern: SchedulePattern, zone: ZoneInfo, now: datetime) -> str | None:
    """Say how the next change of the clocks affects a schedule; None: it does not, or none is near.

    Args:
        pattern: The pattern.
        zone: Its time zone.
        now: The present, in UTC.
    """
    change = None if isinstance(pattern, IntervalSchedule) else first_change(zone, now, now + _AHEAD)
    if change is None:
        return None
    before, after = (_offset(change - _SECOND, zone), _offset(change, zone))
    local = change.replace(tzinfo=None)
    begin, end = sorted((local + before, local + after))
    named = _named(pattern, begin, end)
    if not named:
        return None
    times = ", ".join(f"{each:%H:%M}" for each in named[:_MOST_NAMED]) + (", …" if len(named) > _MOST_NAMED else "")
    runs = f"the run of {times} is" if len(named) == 1 else f"the runs of {times} are"
    hours = f"{begin:%H:%M} to {end:%H:%M}"
    if after > before:
        effect = "there is no run in this time" if pattern.runs_every_hour else f"{runs} at {end:%H:%M} instead"
        return f"On {begin:%Y-%m-%d} the clocks skip {hours}: {effect}."
    effect = "it runs both times" if pattern.runs_every_hour else f"{runs} at the first of the two"
    return f"On {begin:%Y-%m-%d} the time from {hours} occurs twice: {effect}."


def _named(pattern: SchedulePattern, begin: datetime, end: datetime) -> list[datetime]:
    """Return the first local times of a range that a pattern names, as if the clocks were not changed."""
    found: list[datetime] = []
    at = (begin - _SECOND).replace(tzinfo=UTC)
    last = end.replace(tzinfo=UTC)
    while len(found) <= _MOST_NAMED and (at := pattern.next_after(at)) < last:
        found.append(at)
    return found


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def in_zone(times: Sequence[datetime], zone: ZoneInfo | timezone) -> tuple[str, ...]:
    """Return times in a time zone: ``Mon 2026-11-30 03:00 CET``. They have seconds if those of any are not zero."""
    clock = "%H:%M:%S" if any(each.second for each in times) else "%H:%M"
    return tuple(each.astimezone(zone).strftime(f"%a %Y-%m-%d {clock} %Z") for each in times)
