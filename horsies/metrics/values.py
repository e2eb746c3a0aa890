"""Metrics and their values, as plain Python objects: counting needs no library, and takes less than a microsecond."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""The upper limits of the buckets of all histograms, in seconds."""

OTHER = "other"
"""The value of a label for everything that has no separate value, so that the number of series is bounded."""


class Type(Enum):
    """The type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """The name and the meaning of a metric.

    Attributes:
        name: as Prometheus stores it; that of a counter ends in ``_total``.
        type: its type.
        text: a description in one sentence.
        labels: the names of its labels.
    """

    name: str
    type: Type
    text: str
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series, as PromQL selects them."""
        if self.type is Type.HISTOGRAM:
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


class Histogram:
    """Durations, counted in `BUCKETS`.

    Attributes:
        counts: how many durations fell into each bucket, and at last, how many were longer than all limits.
        total: the sum of all durations, in seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration. A negative one, by a clock that was set back, counts as zero."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        if seconds > 0:
            self.total += seconds

    def copy(self) -> "Histogram":
        """Return a copy that does not change."""
        same = Histogram()
        same.counts = self.counts.copy()
        same.total = self.total
        return same


type Samples = Mapping[tuple[str, ...], float | Histogram]
"""The values of a metric by the values of its labels."""

type Reading = Sequence[tuple[Metric, Samples]]
"""What all metrics of a process were at one moment."""
