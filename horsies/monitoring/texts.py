"""How people read values that monitoring returns: numbers, durations, times, and texts of unknown origin."""

from datetime import UTC, datetime, timedelta

from horsies.config.rates import RateLimit
from horsies.monitoring.counts import Accuracy, Count
from horsies.rendering import printable_line

_MAX_LINE = 300
_MINUTE = 60
_HOUR = 3600
_DAY = 86_400
_THOUSAND = 1000


def line(text: object, most: int = _MAX_LINE) -> str:
    """Return the beginning of a text, on one line."""
    whole = str(text)
    return printable_line(whole[:most]) + ("…" if len(whole) > most else "")


def number(value: Count | float | None) -> str:
    """Return a number with thousands separated; of a count, with a sign for numbers that are not exact."""
    if value is None:
        return "unknown"
    if isinstance(value, Count):
        sign = {Accuracy.EXACT: "", Accuracy.COUNTED: "≈ ", Accuracy.AT_LEAST: "> "}[value.accuracy]
        return f"{sign}{value.number:,}"
    return f"{value:,.0f}"


def counted(value: int, noun: str) -> str:
    """Return a number with its noun: ``1 task``, ``1,200 tasks``."""
    return f"{value:,} {noun}" + ("" if value == 1 else "s")


def duration(value: timedelta | float | None) -> str:
    """Return a duration with two figures or so: ``4 ms``, ``1.2 s``, ``3 min 20 s``, ``2 h``, ``5 d``."""
    if value is None:
        return "unknown"
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    sign = "-" if seconds < 0 else ""
    seconds = abs(seconds)
    if seconds < 1:
        milliseconds = seconds * _THOUSAND
        return f"{sign}{milliseconds:.0f} ms" if milliseconds >= 1 or not milliseconds else f"{sign}< 1 ms"
    if seconds < 10:  # noqa: PLR2004 - one decimal below ten
        return f"{sign}{seconds:.1f} s"
    whole = round(seconds)
    for length, unit, part, part_unit in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= length:
            rest = whole % length // part
            return f"{sign}{whole // length} {unit}" + (f" {rest} {part_unit}" if rest else "")
    return f"{sign}{whole} s"


def rate(value: RateLimit) -> str:
    """Return a rate: ``100 in 1 min``."""
    return f"{value.limit:,} in {duration(value.per_seconds)}"


def utc(time: datetime) -> str:
    """Return a time in UTC to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def iso(time: datetime) -> str:
    """Return a time in ISO 8601, as scripts read it."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def relative(time: datetime, now: datetime) -> str:
    """Return how long ago a time was, or in how much time it will be: ``3 min ago``, ``in 20 s``."""
    seconds = (now - time).total_seconds()
    return f"in {duration(-seconds)}" if seconds <= -1 else f"{duration(max(seconds, 0.0))} ago"


def ago(seconds: float) -> str:
    """Format a duration in the largest unit of which it has at least one: ``3 min``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
