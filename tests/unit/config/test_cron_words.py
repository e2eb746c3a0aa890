"""Descriptions of cron expressions: when a test parses them, they match exactly when the expression does."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from horsies.config.patterns import CronSchedule
from horsies.errors import ConfigurationError

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WORDS = ["zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
YEARS = [date(2023, 1, 1) + timedelta(days=number) for number in range(2 * 366)]  # 2024 is a leap year

type Predicate = Callable[[date], bool]


def number(word: str) -> int:
    return WORDS.index(word) if word in WORDS else int(re.sub(r"\D", "", word))


def split(text: str) -> list[str]:
    return re.split(r", | and ", text)


def spans(text: str, value: Callable[[str], int]) -> set[int]:
    """Parse values such as ``5, 10 through 15 and 30``."""
    found: set[int] = set()
    for item in split(text):
        first, *last = map(value, item.split(" through "))
        found |= set(range(first, (last or [first])[0] + 1))
    return found


def every(text: str, first: int, last: int) -> set[int]:
    """Parse a step such as ``every second hour from 3 through 21``."""
    matched = re.fullmatch(r"every(?: (\w+))? (?:minute|hour|day)(?: from (.+) through (.+))?", text)
    assert matched, text
    if matched[2]:
        first, last = number(matched[2]), number(matched[3])
    return set(range(first, last + 1, number(matched[1] or "first")))


def read_times(text: str) -> set[tuple[int, int]]:
    """Parse the hours and minutes in the first part of a description."""
    if text.startswith("at ") and ":" in text:
        return {(int(hour), int(minute)) for hour, _, minute in (each.partition(":") for each in split(text[3:]))}
    if text == "at the start of every hour":
        return set(product(range(24), [0]))
    if matched := re.fullmatch(r"(.+) from (\d\d):00 through (\d\d):59", text):
        return set(product(range(int(matched[2]), int(matched[3]) + 1), every(matched[1], 0, 59)))
    minutes, _, hours = text.removesuffix(" of every hour").partition(" past ")
    if hours.startswith("every"):
        of_day = every(hours, 0, 23)
    else:
        of_day = spans(re.sub(r"^hours? ", "", hours), int) if hours else set(range(24))
    listed = re.fullmatch(r"at minutes? (.+)", minutes)
    return set(product(of_day, spans(listed[1], int) if listed else every(minutes, 0, 59)))


def is_last(day: date) -> bool:
    return (day + timedelta(days=1)).day == 1


def is_last_weekday(day: date) -> bool:
    following = (day + timedelta(days=n) for n in range(1, 4))
    return day.weekday() < 5 and not any(next_.month == day.month and next_.weekday() < 5 for next_ in following)


def read_days(text: str) -> Predicate:
    """Parse days such as ``the 1st, the 5th through the 7th and the last day``."""
    if text.startswith("every"):
        listed = every(text, 1, 31)
        return lambda day: day.day in listed
    special: list[Predicate] = []
    numbers: set[int] = set()
    for item in split(text):
        if item in {"the last day", "the last weekday"}:
            special.append(is_last if item == "the last day" else is_last_weekday)
        else:
            numbers |= spans(item, number)
    return lambda day: day.day in numbers or any(test(day) for test in special)


def read_weekdays(text: str) -> Predicate:
    """Parse weekdays such as ``Monday through Friday and the last Sunday of the month``."""
    weekly: set[int] = set()
    monthly: set[tuple[int, int]] = set()
    for item in split(text):
        if matched := re.fullmatch(r"the (\w+) (\w+) of the month", item):
            monthly.add((-1 if matched[1] == "last" else number(matched[1]), DAYS.index(matched[2])))
        else:
            weekly |= spans(item, DAYS.index)

    def matches(day: date) -> bool:
        last = (day + timedelta(days=7)).month != day.month
        which = {(day.day + 6) // 7, -1} if last else {(day.day + 6) // 7}
        return day.weekday() in weekly or any((each, day.weekday()) in monthly for each in which)

    return matches


def read_dates(text: str) -> Predicate:
    """Parse the dates in the second part of a description."""
    if not text.startswith("on "):
        names = text.removeprefix("every day").strip().removeprefix("in ")
        months = spans(names, MONTHS.index) if names else set(range(12))
        return lambda day: day.month - 1 in months
    text = text.removeprefix("on ")
    if both := re.fullmatch(r"(.+?) of the month (if it is|or on) (.+?)(?:, in (.+))?", text):
        of_month, of_week = read_days(both[1]), read_weekdays(both[3])
        months = spans(both[4], MONTHS.index) if both[4] else set(range(12))
        combine = all if both[2] == "if it is" else any
        return lambda day: day.month - 1 in months and combine([of_month(day), of_week(day)])
    if matched := re.fullmatch(r"(.+) of (every month|(?!the month).+)", text):
        of_month = read_days(matched[1])
        months = set(range(12)) if matched[2] == "every month" else spans(matched[2], MONTHS.index)
        return lambda day: day.month - 1 in months and of_month(day)
    text, _, names = text.partition(" in ")
    of_week, months = read_weekdays(text), spans(names, MONTHS.index) if names else set(range(12))
    return lambda day: day.month - 1 in months and of_week(day)


def read(words: str) -> tuple[set[tuple[int, int]], Predicate]:
    text = words[0].lower() + words[1:]
    matched = re.fullmatch(r"(.+?)(?: ((?:every day|on |in ).*))?", text)
    assert matched
    return read_times(matched[1]), read_dates(matched[2] or "")


def runs(pattern: CronSchedule, start: datetime, end: datetime) -> Iterator[datetime]:
    while (start := pattern.next_after(start)) < end:
        yield start


def check_says_what_it_does(expression: str, match: Literal["any", "all"]) -> None:
    pattern = CronSchedule(expression, match=match)
    words = pattern.describe()
    times, matches = read(words)
    minute, hour, *dates = expression.split()
    on_each_day = CronSchedule(f"{minute} {hour} * * *")
    day = datetime.combine(YEARS[0], time(), UTC)
    of_day = runs(on_each_day, day - timedelta(seconds=1), day + timedelta(days=1))
    assert times == {(each.hour, each.minute) for each in of_day}, words
    once_a_day = CronSchedule(f"0 0 {' '.join(dates)}", match=match)
    end = datetime.combine(YEARS[-1], time(1), UTC)
    assert {day for day in YEARS if matches(day)} == {
        each.date() for each in runs(once_a_day, day - timedelta(seconds=1), end)
    }, words


def fields(low: int, high: int, *others: str) -> st.SearchStrategy[str]:
    values = st.integers(low, high).map(str)
    ranges = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda both: "{}-{}".format(*sorted(both)))
    stepped = st.builds("{}/{}".format, st.just("*") | ranges, st.integers(1, high))
    items = st.one_of(values, ranges, stepped, *([st.sampled_from(others)] if others else []))
    return st.just("*") | items | st.lists(items, min_size=2, max_size=4).map(",".join)


expressions = st.builds(
    "{} {} {} {} {}".format,
    fields(0, 59),
    fields(0, 23),
    fields(1, 31, "L", "LW"),
    fields(1, 12, "jan", "may-aug"),
    fields(0, 7, "sun", "mon-fri", "5L", "tue#2", "0#5", "7L"),
)


@settings(deadline=None, max_examples=400)
@given(expressions, st.sampled_from(["any", "all"]))
@example("0 0 1-31 * 1", "any")
@example("0 0 1 * 0-6", "any")
@example("0 0 */2 * 1", "any")
@example("0 0 * * 0,7", "any")
@example("0 0 2-31/2 * *", "any")
@example("0 0 13 1 fri", "all")
@example("*/7 8-10 * * *", "any")
def test_a_description_means_what_the_expression_does(expression: str, match: Literal["any", "all"]) -> None:
    try:
        CronSchedule(expression, match=match)
    except ConfigurationError:  # the expression never matches
        return
    check_says_what_it_does(expression, match)


@pytest.mark.parametrize("field", range(5))
def test_a_field_that_allows_every_value_is_described_like_a_star(field: int) -> None:
    every_value = ["0-59", "0-11,12-23", "1-31", "1-6,7-12", "1-7"][field]
    for others in (["5", "4", "13", "6", "5"], ["*"] * 5, ["0", "0", "*", "*", "*"]):
        star, full = list(others), list(others)
        star[field], full[field] = "*", every_value
        if field in {2, 4} and others[6 - field] != "*":
            expected = CronSchedule(" ".join([*star[:2], "*", star[3], "*"])).describe()  # one matching day is enough
        else:
            expected = CronSchedule(" ".join(star)).describe()
        assert CronSchedule(" ".join(full)).describe() == expected
