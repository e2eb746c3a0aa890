"""The overview: whether all is well, and how much work waits, runs and ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from horsies.monitoring import ErrorGroups, QueueStatus, Sample, Throughput, total
from horsies.monitoring.counts import Count
from horsies.monitoring.problems import Facts, Problem, find_problems
from horsies.monitoring.summary import (
    CHART_MINUTES,
    MINUTE,
    Durations,
    WaitingFor,
    busiest_first,
    by_reason,
    chart_begin,
    ended_by_minute,
    live,
    longest_due,
    percentiles,
    slots,
    sum_counts,
)
from horsies.web.charts import Mark, StackedChart, marked, sparkline, stacked
from horsies.web.pages import common
from horsies.web.visit import Visit

_MOST_QUEUES = 12


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
        versions: When a new version of the app appeared.
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
    versions: tuple[Mark, ...]
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
    errors, versions = await common.recent_errors(visit), await common.versions_of_hour(visit)
    now = datetime.now(UTC)
    begin = chart_begin(now)
    hour = total(samples.samples)
    lines = _lines(queues, samples, begin)
    return Overview(
        problems=find_problems(Facts(queues, workers, reasons, samples)),
        waiting=sum_counts([each.waiting for each in queues], now),
        scheduled=sum_counts([each.scheduled for each in queues], now),
        running=sum(each.running for each in queues),
        oldest=longest_due(queues),
        slots=slots(workers),
        live_workers=len(live(workers)),
        versions=marked([(each.appeared_at, each.app_version) for each in versions], begin, CHART_MINUTES * MINUTE),
        throughput=stacked(samples, begin, CHART_MINUTES, MINUTE),
        known_until=samples.known_until,
        hour=hour,
        waits=percentiles(None if hour is None else hour.waits),
        runs=percentiles(None if hour is None else hour.runs),
        reasons=by_reason(reasons, now),
        errors=errors,
        queues=lines[:_MOST_QUEUES],
        more_queues=max(len(lines) - _MOST_QUEUES, 0),
    )


def _lines(queues: Sequence[QueueStatus], samples: Throughput, begin: datetime) -> tuple[QueueLine, ...]:
    numbers = ended_by_minute(samples, begin)
    is_known = samples.known_until is not None
    return tuple(
        QueueLine(each, sum(numbers[each.queue_name]) if is_known else None, sparkline(numbers[each.queue_name]))
        for each in busiest_first(queues)
    )
