"""Questions that several pages ask."""

from datetime import UTC, datetime, timedelta

from horsies.db.queries.rows import WorkerStats
from horsies.monitoring import (
    ErrorGroups,
    NewVersion,
    Period,
    QueueStatus,
    ScheduleStatus,
    Throughput,
    WaitingReason,
    errors_async,
    new_versions_async,
    queue_status_async,
    schedule_status_async,
    throughput_async,
    waiting_reasons_async,
    worker_status_async,
)
from horsies.monitoring.summary import MINUTE, chart_begin
from horsies.web.visit import Visit

_SAMPLES_AGE_S = 5.0


async def queues(visit: Visit) -> tuple[QueueStatus, ...]:
    """Return the state of all queues."""
    return await visit.ask("queues", queue_status_async)


async def workers(visit: Visit) -> tuple[WorkerStats, ...]:
    """Return the registered workers."""
    return await visit.ask("workers", worker_status_async)


async def schedules(visit: Visit) -> tuple[ScheduleStatus, ...]:
    """Return the registered schedules."""
    return await visit.ask("schedules", schedule_status_async)


async def reasons(visit: Visit) -> tuple[WaitingReason, ...]:
    """Return for which reasons tasks wait."""
    return await visit.ask("reasons", waiting_reasons_async)


async def last_hour(visit: Visit) -> Throughput:
    """Return how many tasks ended in each of the last 60 minutes."""
    now = datetime.now(UTC)
    return await visit.ask(
        "last hour",
        lambda broker: throughput_async(broker, chart_begin(now), now + MINUTE),
        max_age_s=_SAMPLES_AGE_S,
    )


async def versions_of_hour(visit: Visit) -> tuple[NewVersion, ...]:
    """Return the versions of the app that appeared in the time of the charts, the latest first."""
    begin = chart_begin(datetime.now(UTC))
    return await visit.ask("new versions", lambda broker: new_versions_async(broker, begin), max_age_s=_SAMPLES_AGE_S)


async def past_day(visit: Visit, task_name: str) -> Throughput:
    """Return how many tasks of a name ended in the last day, and how long they ran."""
    now = datetime.now(UTC)
    return await visit.ask(
        "past day",
        lambda broker: throughput_async(
            broker, now - timedelta(days=1), now, period=Period.TEN_MINUTES, task_name=task_name
        ),
        task_name,
        max_age_s=60.0,
    )


async def recent_errors(visit: Visit) -> ErrorGroups:
    """Return the most frequent errors of the last hour."""
    now = datetime.now(UTC)
    return await visit.ask(
        "recent errors",
        lambda broker: errors_async(broker, now - timedelta(hours=1), now, limit=6),
        max_age_s=_SAMPLES_AGE_S,
    )
