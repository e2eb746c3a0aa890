"""Figures that sum up the whole system: for the overview of the web interface, and for ``horsies top``."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from horsies.db.queries.rows import WorkerStats
from horsies.monitoring.counts import Accuracy, Count
from horsies.monitoring.histograms import Histogram
from horsies.monitoring.reasons import Reason, reason_of
from horsies.monitoring.samples import Sample, Throughput
from horsies.monitoring.status import QueueStatus, WaitingReason

MINUTE = timedelta(minutes=1)
CHART_MINUTES = 60
"""How many minutes the charts of the overview show."""

_PERCENTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Durations:
    """Percentiles of durations in seconds; None: there were none."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """The tasks that wait for one reason.

    Attributes:
        reason: The name of the reason.
        words: The reason in words.
        tasks: Their number.
        share: Their part of all waiting tasks, in percent.
    """

    reason: str
    words: Reason
    tasks: Count
    share: float


def sum_counts(counts: Sequence[Count], now: datetime) -> Count:
    """Add numbers of tasks. The sum is as accurate as the least accurate of them.

    Args:
        counts: The numbers.
        now: The time of the sum if there are none.
    """
    worst = [Accuracy.AT_LEAST, Accuracy.COUNTED, Accuracy.EXACT]
    accuracy = next((each for each in worst if any(count.accuracy is each for count in counts)), Accuracy.EXACT)
    counted_at = min((each.counted_at for each in counts), default=now)
    return Count(sum(each.number for each in counts), accuracy, counted_at)


def percentiles(histogram: Histogram | None) -> Durations:
    """Return the percentiles of durations; None: there is no histogram, because no task has ended."""
    return Durations(None, None, None) if histogram is None else Durations(*map(histogram.percentile, _PERCENTILES))


def by_reason(reasons: Sequence[WaitingReason], now: datetime) -> tuple[WaitingFor, ...]:
    """Return how many tasks wait for each reason, in all queues, the most frequent reason first."""
    groups: dict[str, list[Count]] = defaultdict(list)
    for each in reasons:
        groups[each.reason].append(each.tasks)
    sums = {reason: sum_counts(counts, now) for reason, counts in groups.items()}
    whole = sum(count.number for count in sums.values()) or 1
    found = [
        WaitingFor(reason, reason_of(reason), count, round(100 * count.number / whole, 2))
        for reason, count in sums.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.tasks.number))


def longest_due(queues: Iterable[QueueStatus]) -> QueueStatus | None:
    """Return the queue whose oldest task has been due for the longest time; None: no task is due."""
    due = [each for each in queues if each.oldest_due_at is not None]
    return max(due, key=lambda each: each.oldest_due or timedelta(0), default=None)


def busiest_first(queues: Iterable[QueueStatus]) -> list[QueueStatus]:
    """Return queues by the number of their waiting and running tasks, the largest first, then by name."""
    return sorted(queues, key=lambda each: (-(each.waiting.number + each.running), each.queue_name))


def live(workers: Iterable[WorkerStats]) -> list[WorkerStats]:
    """Return the workers that are heard of."""
    return [each for each in workers if not each.is_stale]


def slots(workers: Iterable[WorkerStats]) -> int:
    """Return how many tasks the live ones of these workers can run at the same time."""
    return sum(each.processes * each.concurrency for each in live(workers))


def ended(sample: Sample) -> int:
    """Return how many tasks have ended, with any status."""
    return sample.completed + sample.failed + sample.cancelled + sample.expired


def chart_begin(now: datetime) -> datetime:
    """Return the first minute of a chart that ends with the current minute."""
    return now.replace(second=0, microsecond=0) - (CHART_MINUTES - 1) * MINUTE


def ended_by_minute(samples: Throughput, begin: datetime) -> dict[str | None, list[int]]:
    """Return how many tasks of each queue ended in each minute of a chart. Minutes that are not counted are left out.

    Args:
        samples: The numbers of ended tasks by minute.
        begin: The first minute of the chart.

    Returns:
        The numbers by queue; a queue that is not a key had no ended tasks: its list is one of zeros.
    """
    known = 0 if samples.known_until is None else (samples.known_until - begin) // MINUTE
    numbers: dict[str | None, list[int]] = defaultdict(lambda: [0] * min(max(known, 0), CHART_MINUTES))
    for each in samples.samples:
        minute = (each.started_at - begin) // MINUTE
        if 0 <= minute < len(numbers[each.queue_name]):
            numbers[each.queue_name][minute] += ended(each)
    return numbers


def ended_so_far(samples: Throughput) -> tuple[datetime, int] | None:
    """Return how many tasks have completed or failed in the minutes that are not closed, and when these began.

    None: no such task is known.
    """
    if not samples.current:
        return None
    began = min(each.started_at for each in samples.current)
    return began, sum(each.completed + each.failed for each in samples.current)
