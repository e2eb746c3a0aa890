"""The questions that ``horsies top`` asks the database, all by `horsies.monitoring`."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import cast

from horsies.db.queries.rows import WorkerStats
from horsies.monitoring import (
    ErrorGroups,
    QueueStatus,
    Run,
    Throughput,
    WaitingReason,
    all_tasks_async,
    errors_async,
    queue_status_async,
    runs_async,
    throughput_async,
    waiting_reasons_async,
    worker_status_async,
)
from horsies.monitoring.answers import TaskPage
from horsies.monitoring.broker import Broker
from horsies.monitoring.filters import TaskQuery
from horsies.monitoring.summary import MINUTE, chart_begin
from horsies.monitoring.trends import Trends
from horsies.producer.handle import BrokerOperationError, BrokerResult
from horsies.result import Err, Ok

MOST_ROWS = 200
_COUNTED_BY_MINUTE_AGE_S = 10.0
"""Numbers that maintenance counts each minute are read again after this time."""


class Tab(StrEnum):
    """A tab of the live view."""

    OVERVIEW = "overview"
    QUEUES = "queues"
    TASKS = "tasks"
    ERRORS = "errors"
    RUNS = "runs"
    WORKERS = "workers"


@dataclass(frozen=True, slots=True)
class Overview:
    """The answers that the overview shows.

    Attributes:
        queues: All queues.
        workers: All registered workers.
        reasons: Why tasks wait.
        samples: The ended tasks of the last hour, by minute.
        errors: The most frequent errors of the last hour.
        as_of: When the first of these questions was asked, by the clock of this process.
    """

    queues: tuple[QueueStatus, ...]
    workers: tuple[WorkerStats, ...]
    reasons: tuple[WaitingReason, ...]
    samples: Throughput
    errors: ErrorGroups
    as_of: datetime

    @property
    def begin(self) -> datetime:
        """The first of the last 60 minutes."""
        return chart_begin(self.as_of)


class UnansweredError(Exception):
    """The database did not answer a question.

    Attributes:
        error: Why.
    """

    def __init__(self, error: BrokerOperationError) -> None:
        super().__init__(error.message)
        self.error = error


async def value_of[T](answer: Awaitable[BrokerResult[T]]) -> T:
    """Return the value of an answer.

    Raises:
        UnansweredError: The database did not answer.
    """
    found = await answer
    if isinstance(found, Err):
        raise UnansweredError(found.err_value)
    return found.ok_value


async def as_result[T](question: Awaitable[T]) -> BrokerResult[T]:
    """Return the value of questions, or the error of the first one that was not answered."""
    try:
        return Ok(await question)
    except UnansweredError as unanswered:
        return Err(unanswered.error)


class Reader:
    """Asks the questions, and remembers for some seconds what is counted only each minute.

    Args:
        broker: The broker of the app.

    Attributes:
        broker: The broker of the app.
        trends: The numbers of waiting tasks that were read.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.trends = Trends()
        self._kept: dict[str, tuple[float, object]] = {}

    async def overview(self) -> Overview:
        """Return what the overview shows.

        Raises:
            UnansweredError: The database did not answer.
        """
        now = datetime.now(UTC)
        return Overview(
            queues=await self.queues(),
            workers=await self.workers(),
            reasons=await value_of(waiting_reasons_async(self.broker)),
            samples=await self.last_hour(now),
            errors=await self._seldom("hour", lambda: self._errors(timedelta(hours=1), now, 6)),
            as_of=now,
        )

    async def queues(self) -> tuple[QueueStatus, ...]:
        """Return the state of all queues; raises UnansweredError."""
        found = await value_of(queue_status_async(self.broker))
        for each in found:
            self.trends.note(each.queue_name, each.waiting.number)
        return found

    async def workers(self) -> tuple[WorkerStats, ...]:
        """Return the registered workers; raises UnansweredError."""
        return await value_of(worker_status_async(self.broker))

    async def last_hour(self, now: datetime) -> Throughput:
        """Return the ended tasks of the last 60 minutes; raises UnansweredError."""
        return await self._seldom(
            "samples", lambda: value_of(throughput_async(self.broker, chart_begin(now), now + MINUTE))
        )

    async def tasks(self, query: TaskQuery, limit: int = MOST_ROWS) -> TaskPage:
        """Return the latest tasks that match a filter; raises UnansweredError."""
        return await value_of(all_tasks_async(self.broker, query, limit=limit))

    async def errors(self) -> ErrorGroups:
        """Return the most frequent errors of the last day; raises UnansweredError."""
        now = datetime.now(UTC)
        return await self._seldom("day", lambda: self._errors(timedelta(days=1), now, MOST_ROWS))

    async def runs(self) -> tuple[Run, ...]:
        """Return the latest workflow runs; raises UnansweredError."""
        return await value_of(runs_async(self.broker, limit=MOST_ROWS))

    async def _errors(self, period: timedelta, now: datetime, limit: int) -> ErrorGroups:
        return await value_of(errors_async(self.broker, now - period, now, limit=limit))

    async def _seldom[T](self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        at, kept = self._kept.get(name, (float("-inf"), None))
        if time.monotonic() - at < _COUNTED_BY_MINUTE_AGE_S:
            return cast("T", kept)
        asked_at = time.monotonic()
        found = await ask()
        self._kept[name] = (asked_at, found)
        return found
