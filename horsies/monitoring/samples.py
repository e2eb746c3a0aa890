"""How many tasks ended, and how long they waited and ran, by period, queue and task."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from horsies.db.operations import Operation
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.rows import CurrentSampleRow, SampleRow
from horsies.monitoring.asking import answered, refused
from horsies.monitoring.broker import Broker
from horsies.monitoring.histograms import Histogram
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult
from horsies.result import Err

_MOST = 100_000


class Period(IntEnum):
    """The length of the periods of samples, in seconds.

    Attributes:
        MINUTE: Kept for a day.
        TEN_MINUTES: Kept for a week.
        HOUR: Kept as long as the records of ended tasks.
    """

    MINUTE = 60
    TEN_MINUTES = 600
    HOUR = 3600


@dataclass(frozen=True, slots=True)
class Sample:
    """The numbers of one queue and task in one period, or a sum of several samples.

    Attributes:
        started_at: The begin of the period; of a sum, that of the first period.
        queue_name: The queue; None: a sum of several queues.
        task_name: The name of the task; None: a sum of several tasks.
        completed: How many tasks ended as COMPLETED.
        failed: How many tasks ended as FAILED.
        cancelled: How many tasks ended as CANCELLED.
        expired: How many tasks ended as EXPIRED.
        retried: How many attempts failed and were retried.
        crashed: How many attempts ended because a process of the worker died; ``failed`` or
            ``retried`` count them as well.
        waits: The times from being due to the start, of the last attempt of each task.
        runs: The times from the start to the end, of attempts that completed or failed and did not crash.
    """

    started_at: datetime
    queue_name: str | None
    task_name: str | None
    completed: int
    failed: int
    cancelled: int
    expired: int
    retried: int
    crashed: int
    waits: Histogram
    runs: Histogram


@dataclass(frozen=True, slots=True)
class CurrentSample:
    """The numbers of one queue and task in a minute that has not ended, or whose samples are not computed yet.

    Workers count their own attempts, and each heartbeat reports them. So the numbers still grow, lag behind by a
    heartbeat at most, and lack what workers do not see: cancelled and expired tasks, and how long tasks waited and ran.

    Attributes:
        started_at: The begin of the minute.
        queue_name: The queue.
        task_name: The name of the task.
        completed: How many tasks ended as COMPLETED so far.
        failed: How many tasks ended as FAILED so far.
        retried: How many attempts failed and were retried so far.
    """

    started_at: datetime
    queue_name: str
    task_name: str
    completed: int
    failed: int
    retried: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """The samples of a time. A period that ``samples`` does not mention had no ended tasks, if it is known.

    Attributes:
        samples: The samples, in the order of their time, queue and task.
        known_since: There are samples from this time on; None: there are none yet. What ended before is unknown.
        known_until: The end of the last minute that is counted; None: there are no samples yet.
        as_of: The time of the database; None: there are no samples yet.
        is_complete: Whether ``samples`` has all samples of the time. False: there are more than 100,000.
        current: The minutes of the time from ``known_until`` on, whatever the period: they are not closed, and their
            numbers still grow. `total` and the other fields leave them out.
    """

    samples: tuple[Sample, ...]
    known_since: datetime | None
    known_until: datetime | None
    as_of: datetime | None
    is_complete: bool
    current: tuple[CurrentSample, ...] = ()

    @property
    def age(self) -> timedelta | None:
        """How long ago the last counted minute ended; more than a few minutes if no worker runs maintenance."""
        return None if self.as_of is None or self.known_until is None else self.as_of - self.known_until


def total(samples: Iterable[Sample]) -> Sample | None:
    """Add samples, also of different periods, queues and tasks; None if there are none."""
    given = list(samples)
    if not given:
        return None
    queues, names = {each.queue_name for each in given}, {each.task_name for each in given}
    return Sample(
        started_at=min(each.started_at for each in given),
        queue_name=queues.pop() if len(queues) == 1 else None,
        task_name=names.pop() if len(names) == 1 else None,
        completed=sum(each.completed for each in given),
        failed=sum(each.failed for each in given),
        cancelled=sum(each.cancelled for each in given),
        expired=sum(each.expired for each in given),
        retried=sum(each.retried for each in given),
        crashed=sum(each.crashed for each in given),
        waits=Histogram.merged(each.waits for each in given),
        runs=Histogram.merged(each.runs for each in given),
    )


def throughput(  # noqa: PLR0913 - one keyword a condition
    broker: Broker,
    since: datetime,
    until: datetime,
    *,
    period: Period = Period.MINUTE,
    queue_name: str | None = None,
    task_name: str | None = None,
) -> BrokerResult[Throughput]:
    """Return how many tasks ended by period, queue and task, and how long they waited and ran.

    Maintenance counts a minute when it has ended. Minutes that are not counted yet, such as the current one, are in
    ``current``, as the workers have counted them so far.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        since: An aware datetime; periods that begin then or later.
        until: An aware datetime; periods that begin before it.
        period: The length of the periods.
        queue_name: The queue of the tasks; None: any queue.
        task_name: The name of the tasks; None: any name.

    Returns:
        The samples, and the current minutes; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_read(since, until, period, queue_name, task_name))


async def throughput_async(  # noqa: PLR0913 - one keyword a condition
    broker: Broker,
    since: datetime,
    until: datetime,
    *,
    period: Period = Period.MINUTE,
    queue_name: str | None = None,
    task_name: str | None = None,
) -> BrokerResult[Throughput]:
    """Like `throughput`, for asyncio."""
    return await broker.runner.run_async(_read(since, until, period, queue_name, task_name))


def _read(
    since: datetime, until: datetime, period: Period, queue_name: str | None, task_name: str | None
) -> Operation[BrokerResult[Throughput]]:
    known = [int(each) for each in Period]
    if period not in known:
        return refused(f"period must be one of {', '.join(map(str, known))} seconds, got {short_repr(period)}")
    # The current minutes are read first, so that a minute that is sampled meanwhile is in both answers, not in neither.
    current = yield from answered(monitoring_queries.current_throughput(since, until, queue_name, task_name, _MOST))
    if isinstance(current, Err):
        return current
    call = monitoring_queries.throughput(period, since, until, queue_name, task_name, _MOST + 1)
    return (yield from answered(call)).map(lambda rows: _throughput(rows, current.ok_value))


def _throughput(rows: list[SampleRow], current: list[CurrentSampleRow]) -> Throughput:
    samples = tuple(_sample(row) for row in rows[:_MOST] if row.queue is not None)
    state = rows[0] if rows else None
    until = None if state is None else state.sampled_until
    return Throughput(
        samples=samples,
        known_since=None if state is None else state.first_minute,
        known_until=until,
        as_of=None if state is None else state.clock,
        is_complete=len(rows) <= _MOST,
        current=tuple(CurrentSample(*row) for row in current if until is None or row.started_at >= until),
    )


def _sample(row: SampleRow) -> Sample:
    return Sample(
        started_at=row.started_at,
        queue_name=row.queue,
        task_name=row.task_name,
        completed=row.completed,
        failed=row.failed,
        cancelled=row.cancelled,
        expired=row.expired,
        retried=row.retried,
        crashed=row.crashed,
        waits=Histogram.of(row.wait_buckets, row.wait_counts),
        runs=Histogram.of(row.run_buckets, row.run_counts),
    )
