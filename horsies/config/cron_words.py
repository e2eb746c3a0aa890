"""Describes in English when a cron expression matches.

The description is built from the sets of values that the expression allows, not from its text. Two expressions with the
same meaning therefore have the same description: ``0,7`` and ``sun`` are the same day, and ``1-31`` restricts nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from cronsim import CronSim

_MINUTES = range(60)
_HOURS = range(24)
_DAYS = range(1, 32)
_MONTHS = range(1, 13)
_WEEKDAYS = range(1, 8)  # Monday is 1
_MOST_CLOCK_TIMES = 4
_SHORTEST_RUN = 3
_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH_NAMES = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_SMALL_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_TEENS = range(11, 14)
_SUFFIXES = {1: "st", 2: "nd", 3: "rd"}


def describe_cron(times: CronSim) -> str:
    """Describe when an expression matches: ``At 03:30 on Monday``.

    Args:
        times: The parsed expression, which allows a single second of the minute. Its ``day_and`` is True if both the
            day of the month and the day of the week must match, and False if one of them is enough.
    """
    time, has_clock_times = _describe_time(sorted(times.seconds), sorted(times.minutes), sorted(times.hours))
    dates = _describe_dates(times)
    if has_clock_times and not dates.startswith("on "):
        dates = f"every day {dates}".rstrip()
    words = f"{time} {dates}".rstrip()
    return words[0].upper() + words[1:]


def _describe_time(seconds: Sequence[int], minutes: Sequence[int], hours: Sequence[int]) -> tuple[str, bool]:
    """Describe the time of day; also return whether the description consists of clock times such as ``at 03:30``."""
    if len(hours) * len(minutes) <= _MOST_CLOCK_TIMES:
        shown = "" if seconds == [0] else f":{seconds[0]:02}"
        return f"at {_join(f'{h:02}:{m:02}{shown}' for h, m in product(hours, minutes))}", True
    within_minute = "" if seconds == [0] else f" second {seconds[0]}"
    if len(hours) == len(_HOURS):
        return f"{_describe_minutes(minutes, within_minute, is_whole_day=True)}", False
    words = _describe_minutes(minutes, within_minute, is_whole_day=False)
    if _is_run(hours) and words.startswith("every ") and " through " not in words:
        return f"{words} from {hours[0]:02}:00 through {hours[-1]:02}:59", False
    if step := _step(hours):
        return f"{words} past {_every(step, 'hour', hours, _HOURS, str)}", False
    return f"{words} past {_list('hour', hours)}", False


def _describe_minutes(minutes: Sequence[int], within_minute: str, *, is_whole_day: bool) -> str:
    of_every_hour = " of every hour" if is_whole_day else ""
    if within_minute:
        return f"at {_list('minute', minutes)},{within_minute}{of_every_hour}"
    if len(minutes) == len(_MINUTES):
        return "every minute"
    if list(minutes) == [0] and is_whole_day:
        return "at the start of every hour"
    if step := _step(minutes):
        return f"{_every(step, 'minute', minutes, _MINUTES, str)}{of_every_hour}"
    return f"at {_list('minute', minutes)}{of_every_hour}"


def _describe_dates(times: CronSim) -> str:
    """Describe the dates: ``on the 13th of every month``, ``in January``. Empty if every date matches."""
    months = sorted(times.months)
    names = "" if len(months) == len(_MONTHS) else _join(_runs(months, lambda month: _MONTH_NAMES[month - 1]))
    days, weekdays = _days_of_month(times), _days_of_week(times)
    if not times.day_and and not (days and weekdays):  # either is enough, and one of them allows every date
        days = weekdays = ""
    if days and weekdays:
        both = f"on {days} of the month {'if it is' if times.day_and else 'or on'} {weekdays}"
        return f"{both}, in {names}" if names else both
    if days:
        return f"on {days} of {names or 'every month'}"
    if weekdays:
        return f"on {weekdays} in {names}" if names else f"on {weekdays}"
    return f"in {names}" if names else ""


def _days_of_month(times: CronSim) -> str:
    """Describe the days of the month: ``the 1st and the 3rd through the 5th``. Empty if every day matches."""
    days = sorted(set(_DAYS) & times.days)
    if len(days) == len(_DAYS):
        return ""
    special = {CronSim.LAST: "the last day", CronSim.LAST_WEEKDAY: "the last weekday"}
    others = [words for value, words in special.items() if value in times.days]
    step = _step(days)
    if step and not others:
        return _every(step, "day", days, range(0), _the_ordinal)
    return _join([*_runs(days, _the_ordinal), *others])


def _days_of_week(times: CronSim) -> str:
    """Describe the weekdays: ``Monday through Friday and the last Sunday of the month``. Empty if every day matches."""
    items = {(item, 0) if isinstance(item, int) else item for item in times.weekdays}
    normal = {(day or len(_WEEKDAYS), which) for day, which in items}
    weekly = sorted(day for day, which in normal if not which)
    if len(weekly) == len(_WEEKDAYS):
        return ""
    monthly = sorted((which if which > 0 else len(_DAYS), day) for day, which in normal if which and day not in weekly)
    of_month = [
        f"the {'last' if which == len(_DAYS) else _SMALL_ORDINALS[which - 1]} {_DAY_NAMES[day - 1]} of the month"
        for which, day in monthly
    ]
    return _join([*_runs(weekly, lambda day: _DAY_NAMES[day - 1]), *of_month])


def _is_run(values: Sequence[int]) -> bool:
    return list(values) == list(range(values[0], values[-1] + 1))


def _step(values: Sequence[int]) -> int | None:
    """Return the step of an arithmetic progression of at least three non-consecutive values; None for other values."""
    if len(values) < _SHORTEST_RUN:
        return None
    step = values[1] - values[0]
    return step if step > 1 and list(values) == list(range(values[0], values[-1] + 1, step)) else None


def _every(step: int, noun: str, values: Sequence[int], whole: range, name: Callable[[int], str]) -> str:
    """Describe a progression: ``every fifth minute``. Name its ends unless it spans the whole range."""
    ordinal = _SMALL_ORDINALS[step - 1] if step <= len(_SMALL_ORDINALS) else _ordinal(step)
    words = f"every {ordinal} {noun}"
    if list(values) == list(whole[::step]):
        return words
    return f"{words} from {name(values[0])} through {name(values[-1])}"


def _list(noun: str, values: Sequence[int]) -> str:
    return f"{noun if len(values) == 1 else f'{noun}s'} {_join(_runs(values, str))}"


def _runs(values: Sequence[int], name: Callable[[int], str]) -> list[str]:
    """Return the names of ascending values; three or more consecutive values become ``a through b``."""
    found: list[list[int]] = []
    for value in values:
        if found and value == found[-1][-1] + 1:
            found[-1].append(value)
        else:
            found.append([value])
    words: list[str] = []
    for run in found:
        is_long = len(run) >= _SHORTEST_RUN
        words += [f"{name(run[0])} through {name(run[-1])}"] if is_long else map(name, run)
    return words


def _join(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _the_ordinal(number: int) -> str:
    return f"the {_ordinal(number)}"


def _ordinal(number: int) -> str:
    suffix = "th" if number in _TEENS else _SUFFIXES.get(number % 10, "th")
    return f"{number}{suffix}"
