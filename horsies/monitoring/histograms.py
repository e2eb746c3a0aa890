"""Histograms of durations, as in the table ``samples``: they can be added, and give percentiles within 10 %."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil

_SHORTEST_S = 0.00001
_RATIO = 1.2


@dataclass(frozen=True, slots=True)
class Histogram:
    """Numbers of durations by bucket; see the database function ``sample_bucket``.

    Attributes:
        counts: How many durations are in each bucket that has any.
    """

    counts: Mapping[int, int]

    @classmethod
    def of(cls, buckets: Iterable[int], counts: Iterable[int]) -> "Histogram":
        """Make a histogram from the two arrays of a row."""
        return cls(dict(zip(buckets, counts, strict=True)))

    @classmethod
    def merged(cls, parts: Iterable["Histogram"]) -> "Histogram":
        """Return the sum of histograms."""
        total: Counter[int] = Counter()
        for part in parts:
            total.update(part.counts)
        return cls(dict(total))

    @property
    def total(self) -> int:
        """The number of durations."""
        return sum(self.counts.values())

    def percentile(self, fraction: float) -> float | None:
        """Return the duration, in seconds, that this fraction of all durations does not exceed; None if there are none.

        Durations of less than 0.01 ms count as 0.01 ms. The result differs from the exact one by 10 % at most.

        Args:
            fraction: from 0 to 1, for example 0.95.
        """
        remaining = max(ceil(fraction * self.total), 1)
        for bucket in sorted(self.counts):
            remaining -= self.counts[bucket]
            if remaining <= 0:
                return _SHORTEST_S * _RATIO ** (bucket - 0.5 if bucket else 0)
        return None
