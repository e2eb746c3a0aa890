"""The geometry of charts. Templates draw them as SVG, with attributes and classes only."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log10

from horsies.monitoring.samples import CurrentSample, Sample, Throughput

OUTCOMES = ("completed", "retried", "failed", "expired", "cancelled")
"""What a stacked chart shows, from the bottom to the top. Retried attempts are no ends of tasks, but work was done."""

LEAST_SHARE = 1.5
"""The least width of a part of a bar in percent, so that one failed node of thousands is seen."""
_SEEN_BY_WORKERS = ("completed", "retried", "failed")
"""The outcomes that are known for a minute that is not closed, in the order of `OUTCOMES`."""

_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a stacked column.

    Attributes:
        kind: The counted outcome, which templates use as a class.
        y: Its upper edge, in percent of the height of the chart.
        height: Its height, in percent.
    """

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """A stacked column: the ended tasks of one period.

    Attributes:
        x: Its left edge, in percent of the width.
        width: Its width, in percent.
        started_at: The begin of the period.
        bars: Its parts, the lowest first.
        counts: The numbers, by the outcome that they count. Outcomes whose number is unknown are missing.
        is_current: Whether the period is not closed: its numbers still grow.
    """

    x: float
    width: float
    started_at: datetime
    bars: tuple[Bar, ...]
    counts: dict[str, int]
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class StackedChart:
    """A chart of stacked columns.

    Attributes:
        columns: The columns, the earliest first.
        top: The number at the upper edge.
        lines: Numbers at which a line crosses the chart, with their distance from the upper edge in percent.
    """

    columns: tuple[Column, ...]
    top: int
    lines: tuple[tuple[int, float], ...]


def stacked(samples: Throughput, first: datetime, periods: int, period: timedelta) -> StackedChart:
    """Lay out the numbers of ended tasks, one column a period. Periods that are not closed are marked."""
    counts: list[dict[str, int]] = [dict[str, int].fromkeys(OUTCOMES, 0) for _ in range(periods)]
    _add(counts, samples.samples, first, period)
    closed = 0 if samples.known_until is None else max((samples.known_until - first) // period, 0)
    counts[closed:] = [dict[str, int].fromkeys(_SEEN_BY_WORKERS, 0) for _ in counts[closed:]]
    _add(counts, samples.current, first, period)
    chart = stacked_counts(counts, first, period)
    columns = (replace(each, is_current=index >= closed) for index, each in enumerate(chart.columns))
    return replace(chart, columns=tuple(columns))


def _add(
    counts: Sequence[dict[str, int]], samples: Iterable[Sample | CurrentSample], first: datetime, period: timedelta
) -> None:
    for each in samples:
        index = (each.started_at - first) // period
        if 0 <= index < len(counts):
            for kind in counts[index]:
                counts[index][kind] += getattr(each, kind)


def stacked_counts(counts: Sequence[dict[str, int]], first: datetime, period: timedelta) -> StackedChart:
    """Lay out numbers by what they count, the lowest first, one column a period."""
    top = round_top(max((sum(each.values()) for each in counts), default=0))
    width = 100 / max(len(counts), 1)
    columns = tuple(
        Column(round(index * width, 3), round(width * 0.8, 3), first + index * period, _bars(each, top), each)
        for index, each in enumerate(counts)
    )
    return StackedChart(
        columns, top, tuple((value, round(100 - 100 * value / top, 2)) for value in (top, top // 2) if value)
    )


def _bars(counts: dict[str, int], top: int) -> tuple[Bar, ...]:
    bars: list[Bar] = []
    y = 100.0
    for kind, number in counts.items():
        height = 100 * number / top
        if height:
            y -= height
            bars.append(Bar(kind, round(y, 3), round(height, 3)))
    return tuple(bars)


def round_top(highest: int) -> int:
    """Return the number at the upper edge of a chart: 1, 2 or 5 times a power of ten, at least ``highest``."""
    if highest <= 1:
        return max(highest, 1)
    power = 10 ** int(log10(highest))
    return next(step * power for step in _STEPS if step * power >= highest)


def sparkline(values: Sequence[float], width: int = 120, height: int = 24) -> str:
    """Return the points of a small line for the attribute ``points`` of an SVG ``polyline``."""
    if len(values) <= 1:
        return ""
    top = max(values) or 1
    step = width / (len(values) - 1)
    inner = height - 2
    return " ".join(f"{index * step:.1f},{1 + inner - inner * value / top:.1f}" for index, value in enumerate(values))


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that is marked in a chart.

    Attributes:
        x: Its place, in percent of the width.
        at: The moment.
        text: What happened then.
    """

    x: float
    at: datetime
    text: str


def marked(moments: Iterable[tuple[datetime, str]], first: datetime, whole: timedelta) -> tuple[Mark, ...]:
    """Place moments in a chart that begins at ``first``. Moments outside of it are left out."""
    return tuple(
        Mark(round(100 * ((at - first) / whole), 2), at, text) for at, text in moments if first <= at <= first + whole
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a horizontal bar, in percent of its width.

    Attributes:
        x: Its left edge.
        width: Its width.
        kind: The class that gives it a colour.
        title: What it stands for.
        target: The id of the task that it stands for; None: it stands for no task.
    """

    x: float
    width: float
    kind: str
    title: str
    target: str | None = None


def gauge(parts: Sequence[tuple[str, str, str | None]], places: int, most: int = 60) -> tuple[Segment, ...]:
    """Lay out the places of a cap or of a worker: one segment for each task that fills one, and the free ones.

    Args:
        parts: The kind, the title and the id of each task.
        places: How many tasks there may be.
        most: With more places than this, tasks share a segment of their kind.
    """
    whole = max(places, len(parts), 1)
    if whole > most:
        return _shares(parts, whole)
    width = 100 / whole
    filled = [*parts, *[("free", "a free place", None)] * (whole - len(parts))]
    gap = min(0.6, width * 0.15)
    return tuple(
        Segment(round(index * width, 3), round(width - gap, 3), kind, title, target)
        for index, (kind, title, target) in enumerate(filled)
    )


def _shares(parts: Sequence[tuple[str, str, str | None]], whole: int) -> tuple[Segment, ...]:
    numbers = Counter(kind for kind, _, _ in parts)
    titled = [(kind, f"{number} of {whole} places: {kind}", number) for kind, number in numbers.items()]
    free = whole - len(parts)
    return shares([*titled, ("free", f"{free} of {whole} places are free", free)])


def shares(parts: Sequence[tuple[str, str, int]]) -> tuple[Segment, ...]:
    """Lay out the parts of a whole by their numbers, without empty parts. Small parts are as wide as can be seen.

    Args:
        parts: The kind, the title and the number of each.
    """
    widths = visible_widths([number for _, _, number in parts])
    found: list[Segment] = []
    x = 0.0
    for (kind, title, _), width in zip(parts, widths, strict=True):
        if width:
            found.append(Segment(round(x, 3), round(width, 3), kind, title))
        x += width
    return tuple(found)


def visible_widths(numbers: Sequence[int]) -> list[float]:
    """Return widths in percent, in proportion to numbers, but at least 1.5 % for each number that is not 0.

    The wider parts become narrower by as much, in proportion to what they have above that.
    """
    whole = sum(numbers)
    if not whole:
        return [0.0] * len(numbers)
    widths = [max(100 * each / whole, LEAST_SHARE) if each else 0.0 for each in numbers]
    excess = sum(widths) - 100
    spare = sum(width - LEAST_SHARE for width in widths if width)
    return [width - excess * (width - LEAST_SHARE) / spare if width and spare else width for width in widths]
