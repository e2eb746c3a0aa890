"""Patterns: their validation, their descriptions, and properties of all patterns."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from horsies.errors import ConfigurationError, ErrorCode

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Antarctica/Troll"]


def berlin(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=BERLIN)  # type: ignore[arg-type, misc]


def times(pattern: SchedulePattern, start: datetime, count: int) -> list[str]:
    found: list[str] = []
    for _ in range(count):
        start = pattern.next_after(start)
        found.append(start.isoformat())
    return found


@pytest.mark.parametrize(
    ("pattern", "start", "expected"),
    [
        (
            DailySchedule(time(2, 30)),  # skipped by the clocks: runs at the first instant after the gap
            berlin(2025, 3, 29, 12),
            ["2025-03-30T03:00:00+02:00", "2025-03-31T02:30:00+02:00"],
        ),
        (
            DailySchedule(time(2, 30)),  # occurs twice: runs at the first occurrence
            berlin(2025, 10, 25, 12),
            ["2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"],
        ),
        (
            HourlySchedule(minute=30),
            berlin(2025, 3, 30, 1, 0),
            ["2025-03-30T01:30:00+01:00", "2025-03-30T03:30:00+02:00"],
        ),
        (
            HourlySchedule(minute=30),
            berlin(2025, 10, 26, 2, 0),
            ["2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+01:00", "2025-10-26T03:30:00+01:00"],
        ),
        (
            CronSchedule("30 2,3 * * *"),  # both
            berlin(2025, 3, 30, 1, 0),
            ["2025-03-30T03:00:00+02:00", "2025-03-30T03:30:00+02:00"],
        ),
        (
            MonthlySchedule(day=31, time=time(9)),
            berlin(2025, 1, 31, 9),
            ["2025-03-31T09:00:00+02:00", "2025-05-31T09:00:00+02:00"],
        ),
        (
            CronSchedule("0 0 13 * fri"),  # the thirteenth, or a Friday
            berlin(2025, 5, 10),
            ["2025-05-13T00:00:00+02:00", "2025-05-16T00:00:00+02:00"],
        ),
        (
            CronSchedule("0 0 13 * fri", match="all"),  # the thirteenth, and a Friday
            berlin(2025, 5, 10),
            ["2025-06-13T00:00:00+02:00", "2026-02-13T00:00:00+01:00"],
        ),
        (
            CronSchedule("0 9 1-7 * mon", match="all"),  # the first Monday
            berlin(2025, 5, 10),
            ["2025-06-02T09:00:00+02:00", "2025-07-07T09:00:00+02:00"],
        ),
        (
            CronSchedule("0 0 29 2 mon"),
            berlin(2025, 2, 24),
            ["2026-02-02T00:00:00+01:00", "2026-02-09T00:00:00+01:00"],
        ),
        (
            IntervalSchedule(days=1),  # 24 hours, not a day of the calendar
            berlin(2025, 3, 29, 12),
            ["2025-03-30T13:00:00+02:00", "2025-03-31T13:00:00+02:00"],
        ),
    ],
)
def test_when_it_runs(pattern: SchedulePattern, start: datetime, expected: list[str]) -> None:
    assert times(pattern, start, len(expected)) == expected


def test_a_day_that_a_zone_skips_altogether() -> None:
    """Samoa crossed the date line and had no 30 December 2011."""
    found = times(DailySchedule(time(10)), datetime(2011, 12, 29, 10, tzinfo=ZoneInfo("Pacific/Apia")), 2)
    assert found == ["2011-12-31T00:00:00+14:00", "2011-12-31T10:00:00+14:00"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (IntervalSchedule(seconds=1), "Every 1 second"),
        (IntervalSchedule(minutes=90, days=2), "Every 2 days 90 minutes"),
        (HourlySchedule(minute=5), "At minute 5 of every hour"),
        (DailySchedule(time(3, 30)), "At 03:30 every day"),
        (WeeklySchedule(days=[Weekday.FRIDAY, Weekday.MONDAY], time=time(3)), "At 03:00 on Monday and Friday"),
        (MonthlySchedule(day=31, time=time(0, 0, 7)), "At 00:00:07 on the 31st of every month"),
        (HourlySchedule(minute=5, second=7), "At minute 5, second 7 of every hour"),
        (CronSchedule("0 0 1-31 * 1"), "At 00:00 every day"),
        (CronSchedule("0 0 1-31 * 1", match="all"), "At 00:00 on Monday"),
        (CronSchedule("0 0 13 * 0-7"), "At 00:00 every day"),
        (CronSchedule("0 0 * * 0,7"), "At 00:00 on Sunday"),
        (CronSchedule("0 9 13 * fri"), "At 09:00 on the 13th of the month or on Friday"),
        (CronSchedule("0 9 13 * fri", match="all"), "At 09:00 on the 13th of the month if it is Friday"),
        (
            CronSchedule("0 9 */2 6 fri"),
            "At 09:00 on every second day from the 1st through the 31st of the month if it is Friday, in June",
        ),
        (CronSchedule("0 0 1,1 1,2 *"), "At 00:00 on the 1st of January and February"),
        (CronSchedule("59-59 23 L,5 * *"), "At 23:59 on the 5th and the last day of every month"),
        (CronSchedule("0 0 * * 5L,mon#2,mon"), "At 00:00 on Monday and the last Friday of the month"),
        (CronSchedule("* * * 1-3 *"), "Every minute in January through March"),
        (CronSchedule("0-59/1 0-23 1-31 1-12 0-6"), "Every minute"),
        (CronSchedule("0 * * * *"), "At the start of every hour"),
        (CronSchedule("1-10 */2 * * *"), "At minutes 1 through 10 past every second hour"),
        (CronSchedule("*/15 3,5,9 * * *"), "Every 15th minute past hours 3, 5 and 9"),
        (CronSchedule("*/5 9-17 * * mon-fri"), "Every fifth minute from 09:00 through 17:59 on Monday through Friday"),
    ],
)
def test_the_description_says_when_it_runs(pattern: SchedulePattern, words: str) -> None:
    assert pattern.describe() == words


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (IntervalSchedule, "has no interval"),
        (lambda: IntervalSchedule(minutes=0), "minutes must be a whole number"),
        (lambda: HourlySchedule(minute=60), "minute must be a whole number from 0 to 59"),
        (lambda: HourlySchedule(minute=1, seconds=1), "did you mean 'second'?"),
        (lambda: HourlySchedule(1, 2, 3), "takes at most 2 positional arguments (minute, second), got 3"),
        (lambda: DailySchedule(time="03:30"), "time must be a time, got '03:30'"),
        (lambda: DailySchedule(time=time(3, microsecond=1)), "fraction of a second"),
        (lambda: DailySchedule(time=time(3, tzinfo=UTC)), "time zone"),
        (lambda: WeeklySchedule(days=[], time=time(3)), "has no days"),
        (lambda: WeeklySchedule(days=[Weekday.FRIDAY] * 2, time=time(3)), "days names Weekday.FRIDAY more than once"),
        (lambda: CronSchedule("0 0 30 2 mon", match="all"), '30 2 mon\' never matches with match="all"'),
        (lambda: CronSchedule("0 0 1 * mon#2", match="all"), "mon#2' never matches"),
        (lambda: CronSchedule("0 0 1 * *", match="both"), """match must be "any" or "all", got 'both'"""),  # type: ignore[arg-type]
        (lambda: WeeklySchedule(days=["mon"], time=time(3)), "must be Weekday.MONDAY or"),
        (lambda: MonthlySchedule(day=32, time=time(3)), "from 1 to 31, got 32"),
        (lambda: MonthlySchedule(day=0, time=time(3)), "from 1 to 31, got 0"),
        (lambda: MonthlySchedule(day=3), "is missing the required field time"),
        (lambda: CronSchedule("* * * *"), "'* * * *' does not have the five fields"),
        (lambda: CronSchedule("0 * * * * *"), "'0 * * * * *' does not have the five fields"),
        (lambda: CronSchedule("@daily"), "'@daily' does not have the five fields"),
        (lambda: CronSchedule("61 * * * *"), "bad minute"),
        (lambda: CronSchedule("* * * * fri-mon"), "bad day-of-week"),
        (lambda: CronSchedule("0 0 30 2 *"), "bad day-of-month"),
        (lambda: CronSchedule("* * */20 * 1L"), "never matches"),
        (lambda: CronSchedule("9" * 5000 + " * * * *"), "999… does not have"),
    ],
)
def test_an_impossible_pattern_is_refused_at_the_line_of_the_user(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        wrong()
    assert caught.value.code == ErrorCode.CONFIG_INVALID_SCHEDULE
    assert message in str(caught.value)
    assert caught.value.location is not None
    assert caught.value.location.file == __file__


def test_a_scheduler_knows_an_expression_as_it_did_before_there_was_a_choice_of_days() -> None:
    """Schedulers recognise a changed pattern by its ``repr``, which must stay the same for an unchanged pattern."""
    assert repr(CronSchedule("0 9 13 * fri")) == "CronSchedule(expression='0 9 13 * fri')"
    assert repr(CronSchedule("0 9 13 * fri", match="all")) == "CronSchedule(expression='0 9 13 * fri', match='all')"


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        HourlySchedule(minute=1).next_after(datetime(2025, 1, 1))  # noqa: DTZ001


@given(st.text(alphabet="0123456789*/,-#LW monfriJAN²", max_size=25) | st.text(max_size=25))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    try:
        pattern = CronSchedule(text)
    except ConfigurationError:  # any other exception fails
        return
    assert pattern.next_after(berlin(2025, 1, 1)) > berlin(2025, 1, 1)
    assert pattern.describe()


clock_times = st.times().map(lambda found: found.replace(microsecond=0))
patterns = st.one_of(
    st.builds(IntervalSchedule, seconds=st.integers(1, 10**6)),
    st.builds(HourlySchedule, minute=st.integers(0, 59), second=st.integers(0, 59)),
    st.builds(DailySchedule, time=clock_times),
    st.builds(WeeklySchedule, days=st.lists(st.sampled_from(Weekday), min_size=1, unique=True), time=clock_times),
    st.builds(MonthlySchedule, day=st.integers(1, 31), time=clock_times),
    st.builds(
        "{} {} {} {} {}".format,
        st.sampled_from(["*", "*/20", "7", "0,30", "50-59"]),
        st.sampled_from(["*", "*/3", "0", "1-2", "2,23"]),
        st.sampled_from(["*", "*/2", "1", "28-31", "L"]),
        st.sampled_from(["*", "3,10", "2"]),
        st.sampled_from(["*", "sun", "mon-fri", "6L", "tue#2"]),
    )
    .filter(lambda text: not text.endswith(("L 2 tue#2", "L * tue#2", "L 3,10 tue#2")))  # which may never match
    .map(CronSchedule),
)
instants = st.datetimes(
    datetime.fromisoformat("2005-01-01"),
    datetime.fromisoformat("2037-01-01"),
    timezones=st.sampled_from(ZONES).map(ZoneInfo),
)


@settings(deadline=None)
@given(patterns, instants)
def test_times_ascend_and_none_is_skipped(pattern: SchedulePattern, instant: datetime) -> None:
    found = [instant]
    for _ in range(5):
        found.append(pattern.next_after(found[-1]))
    in_utc = [each.astimezone(UTC) for each in found]
    assert all(earlier < later for earlier, later in pairwise(in_utc))
    assert all(each.tzinfo is instant.tzinfo for each in found)
    if not isinstance(pattern, IntervalSchedule):
        middle = in_utc[3] + (in_utc[4] - in_utc[3]) / 2
        assert pattern.next_after(middle.astimezone(instant.tzinfo)) == found[4]
        just_before = (in_utc[3] - timedelta(microseconds=1)).astimezone(instant.tzinfo)
        assert pattern.next_after(just_before) == found[3]


@settings(deadline=None)
@given(patterns, instants, st.integers(0, 6), st.integers(-3, 10**4))
def test_the_latest_equals_the_result_of_counting(
    pattern: SchedulePattern, instant: datetime, steps: int, seconds: int
) -> None:
    due = pattern.next_after(instant)
    last = due
    for _ in range(steps):
        last = pattern.next_after(last)
    until = last.astimezone(UTC) + timedelta(seconds=seconds)
    counted = [due.astimezone(UTC)]
    while (after := pattern.next_after(counted[-1].astimezone(due.tzinfo)).astimezone(UTC)) <= until:
        counted.append(after)
    assert pattern.latest(due, until).astimezone(UTC) == counted[-1]
