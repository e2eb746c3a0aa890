"""Every pattern is compared with an independent evaluation, which checks the local time of every minute.

The evaluation covers all weeks with a change of the clocks from 2024 to 2030 and 200 random weeks, in 20 zones. Without
HORSIES_ALL_WEEKS it covers one in twenty of them.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest

from horsies.config.patterns import (
    CronSchedule,
    DailySchedule,
    HourlySchedule,
    IntervalSchedule,
    MonthlySchedule,
    SchedulePattern,
    Weekday,
    WeeklySchedule,
)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",  # has negative daylight saving time in winter
    "Atlantic/Azores",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",  # midnight is skipped
    "America/Santiago",
    "America/Asuncion",  # has abolished daylight saving time
    "America/Nuuk",
    "Africa/Cairo",
    "Africa/Casablanca",  # depends on the lunar calendar
    "Asia/Beirut",
    "Asia/Jerusalem",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # moves the clocks by half an hour
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Antarctica/Troll",  # two hours
]
MINUTE = timedelta(minutes=1)
WEEK = timedelta(days=7)
DAY = timedelta(days=1)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
YEARS = 7
SHARE = 1 if os.environ.get("HORSIES_ALL_WEEKS") else 20


@dataclass(frozen=True)
class Rule:
    """A pattern, and an independent definition of its times.

    ``matches`` takes a local time in whole minutes; ``always``: at each occurrence; ``second``: of that minute.
    """

    pattern: SchedulePattern
    matches: Callable[[datetime], bool]
    always: bool = False
    second: int = 0


def daily(hour: int, minute: int) -> Callable[[datetime], bool]:
    return lambda at: (at.hour, at.minute) == (hour, minute)


RULES = [
    *(Rule(HourlySchedule(minute=m), lambda at, m=m: at.minute == m, always=True) for m in (0, 15, 45, 59)),
    Rule(HourlySchedule(30, 20), lambda at: at.minute == 30, always=True, second=20),
    *(Rule(DailySchedule(time(h, m)), daily(h, m)) for h, m in ((0, 0), (0, 30), (1, 45), (2, 0), (2, 30), (23, 59))),
    Rule(DailySchedule(time(12, 34, 56)), daily(12, 34), second=56),
    Rule(
        WeeklySchedule(days=[Weekday.SUNDAY, Weekday.FRIDAY], time=time(2, 15)),
        lambda at: at.weekday() in {4, 6} and daily(2, 15)(at),
    ),
    Rule(
        WeeklySchedule(days=[Weekday.MONDAY, Weekday.SATURDAY], time=time(0, 0)),
        lambda at: at.weekday() in {0, 5} and daily(0, 0)(at),
    ),
    Rule(MonthlySchedule(day=31, time=time(2, 30)), lambda at: at.day == 31 and daily(2, 30)(at)),
    Rule(MonthlySchedule(day=29, time=time(0, 10)), lambda at: at.day == 29 and daily(0, 10)(at)),
    Rule(CronSchedule("* * * * *"), lambda _: True, always=True),
    Rule(CronSchedule("*/7 * * * *"), lambda at: at.minute % 7 == 0, always=True),
    Rule(CronSchedule("0,50 0-23 * * *"), lambda at: at.minute in {0, 50}, always=True),
    Rule(CronSchedule("20 * * * sun"), lambda at: at.weekday() == 6 and at.minute == 20, always=True),
    Rule(
        CronSchedule("*/30 * 26-31 3,10 *"),
        lambda at: at.month in {3, 10} and at.day >= 26 and at.minute % 30 == 0,
        always=True,
    ),
    Rule(CronSchedule("0 */2 * * *"), lambda at: at.hour % 2 == 0 and at.minute == 0),
    Rule(CronSchedule("*/15 1-2 * * *"), lambda at: at.hour in {1, 2} and at.minute % 15 == 0),
    Rule(
        CronSchedule("*/5 9-17 * * mon-fri"), lambda at: at.weekday() < 5 and 9 <= at.hour <= 17 and at.minute % 5 == 0
    ),
    Rule(
        CronSchedule("30 0,2,23 13 * 5"),
        lambda at: (at.day == 13 or at.weekday() == 4) and at.hour in {0, 2, 23} and at.minute == 30,
    ),
    Rule(CronSchedule("0 3 L * *"), lambda at: (at + DAY).day == 1 and daily(3, 0)(at)),
]


@cache
def changes(zone: ZoneInfo) -> list[datetime]:
    """Return the days from 2024 to 2030 on which the clocks change."""
    days = (FIRST + n * DAY for n in range(YEARS * 365))
    return [day for day in days if offset(day, zone) != offset(day + DAY, zone)]


def offset(instant: datetime, zone: ZoneInfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def weeks(zone: ZoneInfo) -> list[datetime]:
    """Return the first instants of the weeks to check."""
    pick = random.Random(zone.key)  # noqa: S311 - a choice of weeks
    of_changes = [change - timedelta(minutes=pick.randrange(1440, 5 * 1440)) for change in changes(zone)]
    others = [FIRST + timedelta(minutes=pick.randrange(YEARS * 365 * 1440)) for _ in range(200 // len(ZONES))]
    chosen = [week.replace(second=0) for week in of_changes + others]
    return pick.sample(chosen, -(-len(chosen) // SHARE))


@dataclass(frozen=True)
class Minute:
    """A minute of real time: its local time, whether that is its first occurrence, and the local times skipped before."""

    instant: datetime
    wall: datetime
    is_first: bool
    skipped: list[datetime]


def minutes_of(week: datetime, zone: ZoneInfo) -> Iterator[Minute]:
    """Yield all minutes of a week. The two days before it determine which local times have already occurred."""
    seen: set[datetime] = set()
    before: datetime | None = None
    for number in range(-2 * 1440, 7 * 1440):
        instant = week + number * MINUTE
        wall = instant.astimezone(zone).replace(tzinfo=None, fold=0)
        jump = 0 if before is None else int((wall - before) / MINUTE) - 1
        skipped = [] if before is None else [before + n * MINUTE for n in range(1, jump + 1)]
        if number >= 0:
            yield Minute(instant, wall, wall not in seen, skipped)
        seen.add(wall)
        before = wall


def expected(rule: Rule, minutes: list[Minute]) -> list[datetime]:
    found: set[datetime] = set()
    for minute in minutes:
        if rule.matches(minute.wall) and (rule.always or minute.is_first):
            found.add(minute.instant + timedelta(seconds=rule.second))
        if not rule.always and any(map(rule.matches, minute.skipped)):
            found.add(minute.instant)
    return sorted(found)


def times_of(pattern: SchedulePattern, zone: ZoneInfo, week: datetime) -> list[datetime]:
    found: list[datetime] = []
    instant = (week - timedelta(seconds=1)).astimezone(zone)
    while (instant := pattern.next_after(instant)).astimezone(UTC) < week + WEEK:
        found.append(instant.astimezone(UTC))
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ZONES)
def test_each_pattern_runs_exactly_when_the_clocks_say_so(name: str) -> None:
    zone = ZoneInfo(name)
    chosen = weeks(zone)
    assert chosen
    for week in chosen:
        minutes = list(minutes_of(week, zone))
        for rule in RULES:
            actual = times_of(rule.pattern, zone, week)
            assert actual == expected(rule, minutes), (rule.pattern, week)


@pytest.mark.parametrize("name", ZONES[1::6])
def test_the_latest_time_is_the_last_of_all(name: str) -> None:
    zone = ZoneInfo(name)
    pick = random.Random(name)  # noqa: S311 - a choice of instants
    week = min(weeks(zone))
    for rule in RULES:
        times = times_of(rule.pattern, zone, week)
        for until in (week + timedelta(minutes=pick.randrange(7 * 1440), seconds=pick.randrange(60)) for _ in range(3)):
            if times:
                actual = rule.pattern.latest(times[0].astimezone(zone), until)
                assert actual.astimezone(UTC) == max([each for each in times if each <= until], default=times[0])


def test_an_interval_is_real_time_whatever_the_clocks_do() -> None:
    zone = ZoneInfo("Europe/Berlin")
    for change in changes(zone):
        due = (change - timedelta(hours=2)).astimezone(zone)
        pattern = IntervalSchedule(hours=1, minutes=30)
        times = [due]
        for _ in range(7):
            times.append(pattern.next_after(times[-1]))
        assert [each.astimezone(UTC) - due.astimezone(UTC) for each in times] == [
            n * timedelta(minutes=90) for n in range(8)
        ]
        assert pattern.latest(due, times[5].astimezone(UTC) + timedelta(minutes=89)) == times[5]
