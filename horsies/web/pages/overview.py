"""The overview: whether all is well, and how much work waits, runs and ends."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from horsies.monitoring import Accuracy, ErrorGroups, QueueStatus, Sample, Throughput, WaitingReason, total
from horsies.monitoring.counts import Count
from horsies.web.charts import StackedChart, sparkline, stacked
from horsies.web.pages import common
from horsies.web.pages.verdict import Facts, Problem, find_problems
from horsies.web.reasons import Reason, reason_of
from horsies.web.visit import Visit

_PERCENTILES = (0.5, 0.95, 0.99)
_MOST_QUEUES = 12


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


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue with the tasks that ended in the last hour.

    Attributes:
        status: Its state.
        ended: How many of its tasks ended in the last hour; None: unknown.
        points: The numbers of each minute, as the points of a line.
    """

    status: QueueStatus
    ended: int | None
    points: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The data of the overview.

    Attributes:
        problems: The problems, the worst first; empty: there are none.
        waiting: How many tasks are due and not claimed.
        scheduled: How many are not due yet.
        running: How many run.
        oldest: The queue whose oldest task has been due for the longest time; None: no task is due.
        slots: How many tasks the live workers can run at the same time.
        live_workers: How many workers are alive.
        throughput: The numbers of ended tasks by minute.
        known_until: The end of the last minute that is counted; None: no minute is counted yet.
        hour: All tasks that ended in the last hour; None: there were none, or they are not counted.
        waits: How long they waited from their due time.
        runs: How long they ran.
        reasons: Why tasks wait.
        errors: The most frequent errors of the last hour.
        queues: The queues.
        more_queues: How many queues are not listed.
    """

    problems: tuple[Problem, ...]
    waiting: Count
    scheduled: Count
    running: int
    oldest: QueueStatus | None
    slots: int
    live_workers: int
    throughput: StackedChart
    known_until: datetime | None
    hour: Sample | None
    waits: Durations
    runs: Durations
    reasons: tuple[WaitingFor, ...]
    errors: ErrorGroups
    queues: tuple[QueueLine, ...]
    more_queues: int


async def load(visit: Visit) -> Overview:
    """Read the overview."""
    queues, workers = await common.queues(visit), await common.workers(visit)
    reasons, samples = await common.reasons(visit), await common.last_hour(visit)
    errors = await common.recent_errors(visit)
    now = datetime.now(UTC)
    begin = common.chart_begin(now)
    hour = total(samples.samples)
    due = [each for each in queues if each.oldest_due_at is not None]
    lines = _lines(queues, samples, begin)
    live = [each for each in workers if not each.is_stale]
    return Overview(
        problems=find_problems(Facts(queues, workers, reasons, samples)),
        waiting=_sum([each.waiting for each in queues], now),
        scheduled=_sum([each.scheduled for each in queues], now),
        running=sum(each.running for each in queues),
        oldest=max(due, key=lambda each: each.oldest_due or timedelta(0), default=None),
        slots=sum(each.processes * each.concurrency for each in live),
        live_workers=len(live),
        throughput=stacked(samples.samples, begin, common.CHART_MINUTES, common.MINUTE),
        known_until=samples.known_until,
        hour=hour,
        waits=_durations(hour, "waits"),
        runs=_durations(hour, "runs"),
        reasons=_by_reason(reasons, now),
        errors=errors,
        queues=lines[:_MOST_QUEUES],
        more_queues=max(len(lines) - _MOST_QUEUES, 0),
    )


def _sum(counts: Sequence[Count], now: datetime) -> Count:
    worst = [Accuracy.AT_LEAST, Accuracy.COUNTED, Accuracy.EXACT]
    accuracy = next((each for each in worst if any(count.accuracy is each for count in counts)), Accuracy.EXACT)
    counted_at = min((each.counted_at for each in counts), default=now)
    return Count(sum(each.number for each in counts), accuracy, counted_at)


def _durations(sample: Sample | None, name: str) -> Durations:
    if sample is None:
        return Durations(None, None, None)
    histogram = sample.waits if name == "waits" else sample.runs
    return Durations(*map(histogram.percentile, _PERCENTILES))


def _by_reason(reasons: Sequence[WaitingReason], now: datetime) -> tuple[WaitingFor, ...]:
    groups: dict[str, list[Count]] = defaultdict(list)
    for each in reasons:
        groups[each.reason].append(each.tasks)
    sums = {reason: _sum(counts, now) for reason, counts in groups.items()}
    whole = sum(count.number for count in sums.values()) or 1
    found = [
        WaitingFor(reason, reason_of(reason), count, round(100 * count.number / whole, 2))
        for reason, count in sums.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.tasks.number))


def _lines(queues: Sequence[QueueStatus], samples: Throughput, begin: datetime) -> tuple[QueueLine, ...]:
    ended: dict[str | None, list[int]] = defaultdict(lambda: [0] * common.CHART_MINUTES)
    for each in samples.samples:
        minute = (each.started_at - begin) // common.MINUTE
        if 0 <= minute < common.CHART_MINUTES:
            ended[each.queue_name][minute] += each.completed + each.failed + each.cancelled + each.expired
    is_known = samples.known_until is not None
    known = 0 if samples.known_until is None else (samples.known_until - begin) // common.MINUTE
    lines = [
        QueueLine(each, sum(ended[each.queue_name]) if is_known else None, sparkline(ended[each.queue_name][:known]))
        for each in queues
    ]
    return tuple(
        sorted(lines, key=lambda each: (-(each.status.waiting.number + each.status.running), each.status.queue_name))
    )
