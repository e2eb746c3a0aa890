"""The present state of queues, workers, schedules and workflow runs, and why tasks are waiting, as typed answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from horsies.codes import WorkflowStatus
from horsies.db.operations import Operation
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries import status as status_queries
from horsies.db.queries.rows import ScheduleState, WorkerStats
from horsies.db.queries.status import QueueStatusRow, RunCountRow, WaitingReasonRow
from horsies.monitoring.asking import answered, refused
from horsies.monitoring.broker import Broker
from horsies.monitoring.counts import Count
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The state of one queue.

    Attributes:
        queue_name: The queue.
        waiting: The tasks that are due and not claimed.
        scheduled: The tasks that are not due yet, including those that wait for a retry.
        held: The number of tasks of paused workflow runs; 100,000 stands for at least as many.
        claimed: The number of tasks that workers have prefetched.
        running: The number of tasks that run now.
        oldest_due_at: The due time of the task that has waited longest since it is due; None: no task is due, or, with
            more than 5,000 combinations of queue, name and priority, unknown.
        paused: Whether the queue is paused, so that no task starts.
        held_until: The end of a hold of the whole queue, because a service has refused work; None: it is not held.
        max_concurrency: The cap in effect; None: there is none, or no worker has registered one.
        workers: The number of live workers that work on the queue.
        as_of: The time of the answer, by the clock of the database.
    """

    queue_name: str
    waiting: Count
    scheduled: Count
    held: int
    claimed: int
    running: int
    oldest_due_at: datetime | None
    paused: bool
    held_until: datetime | None
    max_concurrency: int | None
    workers: int
    as_of: datetime

    @property
    def oldest_due(self) -> timedelta | None:
        """For how long the task that has waited longest has been due; None if no task is due."""
        return None if self.oldest_due_at is None else self.as_of - self.oldest_due_at

    @property
    def in_flight(self) -> int:
        """The number of tasks that count against the cap: prefetched and running ones."""
        return self.claimed + self.running


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """How many tasks of a queue and a name wait for one reason.

    Attributes:
        queue_name: The queue.
        task_name: The name of the tasks.
        reason: The reason, one of those of `horsies why <cli.md#why>`: ``next`` (a worker takes them as soon as it has
            a free child), ``scheduled``, ``retry``, ``overdue``, ``held``, ``paused``, ``no_worker``, ``queue_full``,
            ``cluster_full``, ``held_back``, ``key_full`` or ``rate_limit``.
        tasks: The tasks.
    """

    queue_name: str
    task_name: str
    reason: str
    tasks: Count


class WorkerState(StrEnum):
    """Whether a worker is heard of.

    Attributes:
        LIVE: It sends heartbeats.
        SILENT: Its last heartbeat is older than its threshold; its tasks are about to be recovered.
    """

    LIVE = "live"
    SILENT = "silent"


def worker_state(worker: WorkerStats) -> WorkerState:
    """Return whether a worker is heard of."""
    return WorkerState.SILENT if worker.is_stale else WorkerState.LIVE


@dataclass(frozen=True, slots=True)
class RunCount:
    """How many workflow runs have a status, without child runs.

    Attributes:
        status: RUNNING or PAUSED; or COMPLETED, FAILED or CANCELLED, of runs that ended recently.
        runs: The number of runs.
        is_exact: Whether this is all of them. False: there are more.
    """

    status: WorkflowStatus
    runs: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """The state of one schedule.

    Attributes:
        name: The schedule.
        task_name: The task that it sends.
        queue_name: The queue of the task.
        next_run_at: The next due time; None: there is none.
        last_run_at: The latest due time for which a task was sent; None: there is none yet.
        paused: Whether the schedule is paused.
        as_of: The time of the answer, by the clock of the database.
        pattern: When the schedule runs, in words.
        timezone: The time zone of the pattern.
        last_task_id: The task that was sent last; None: there is none yet.
        run_count: How many tasks were sent.
        resumed_at: When the schedule was resumed last: earlier due times are skipped. None: it was never resumed.
    """

    name: str
    task_name: str
    queue_name: str
    next_run_at: datetime | None
    last_run_at: datetime | None
    paused: bool
    as_of: datetime
    pattern: str
    timezone: str
    last_task_id: str | None
    run_count: int
    resumed_at: datetime | None

    @property
    def late_by(self) -> timedelta:
        """For how long a due time has passed without its task being sent; zero if the schedule is in time or paused."""
        if self.paused or self.next_run_at is None:
            return timedelta(0)
        return max(self.as_of - self.next_run_at, timedelta(0))


def queue_status(broker: Broker, names: Sequence[str] = ()) -> BrokerResult[tuple[QueueStatus, ...]]:
    """Return the state of queues, in the order of their names.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        names: Queues to include even if the database knows nothing about them. It always includes the queues that live
            workers serve, those that have tasks, and those that were paused or limited at run time.

    Returns:
        The queues; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(read_queues(names))


async def queue_status_async(broker: Broker, names: Sequence[str] = ()) -> BrokerResult[tuple[QueueStatus, ...]]:
    """Like `queue_status`, for asyncio."""
    return await broker.runner.run_async(read_queues(names))


def waiting_reasons(broker: Broker) -> BrokerResult[tuple[WaitingReason, ...]]:
    """Return how many tasks wait by queue, name and reason.

    The cost is bounded: tasks of more than 1,000 keys that are full, held or out of tokens count as ``next``.

    Args:
        broker: The broker of the app: ``app.get_broker()``.

    Returns:
        The reasons that have tasks; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(read_waiting_reasons())


async def waiting_reasons_async(broker: Broker) -> BrokerResult[tuple[WaitingReason, ...]]:
    """Like `waiting_reasons`, for asyncio."""
    return await broker.runner.run_async(read_waiting_reasons())


def worker_status(broker: Broker) -> BrokerResult[tuple[WorkerStats, ...]]:
    """Return the registered workers, the earliest started first; `worker_state` says whether one is silent.

    Args:
        broker: The broker of the app: ``app.get_broker()``.

    Returns:
        The workers; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(read_workers())


async def worker_status_async(broker: Broker) -> BrokerResult[tuple[WorkerStats, ...]]:
    """Like `worker_status`, for asyncio."""
    return await broker.runner.run_async(read_workers())


def run_counts(broker: Broker, *, ended_within_s: float = _HOUR_S) -> BrokerResult[tuple[RunCount, ...]]:
    """Return how many workflow runs are live by status, and how many ended recently. Child runs are left out.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        ended_within_s: Ended runs are counted if they ended within this number of seconds.

    Returns:
        One count for each status; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(read_run_counts(ended_within_s))


async def run_counts_async(broker: Broker, *, ended_within_s: float = _HOUR_S) -> BrokerResult[tuple[RunCount, ...]]:
    """Like `run_counts`, for asyncio."""
    return await broker.runner.run_async(read_run_counts(ended_within_s))


def schedule_status(broker: Broker) -> BrokerResult[tuple[ScheduleStatus, ...]]:
    """Return the state of all schedules, in the order of their names.

    Args:
        broker: The broker of the app: ``app.get_broker()``.

    Returns:
        The schedules; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(read_schedules())


async def schedule_status_async(broker: Broker) -> BrokerResult[tuple[ScheduleStatus, ...]]:
    """Like `schedule_status`, for asyncio."""
    return await broker.runner.run_async(read_schedules())


def backlog(broker: Broker, queue_name: str) -> BrokerResult[int]:
    """Return how many tasks of a queue occupy or need a place in a worker, for autoscaling.

    These are the tasks that are due and those that are claimed or running. Waiting tasks of a paused or held queue do
    not count, because more workers would not start them. SQL can call the function ``backlog`` of the schema.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        queue_name: The queue.

    Returns:
        The number, of which waiting tasks beyond 100,000 are as maintenance has last counted them; or an error with
        MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(answered(status_queries.backlog(queue_name)))


async def backlog_async(broker: Broker, queue_name: str) -> BrokerResult[int]:
    """Like `backlog`, for asyncio."""
    return await broker.runner.run_async(answered(status_queries.backlog(queue_name)))


def read_queues(names: Sequence[str] = ()) -> Operation[BrokerResult[tuple[QueueStatus, ...]]]:
    """The operation of `queue_status`."""

    def decoded(rows: list[QueueStatusRow]) -> tuple[QueueStatus, ...]:
        return tuple(_queue(row) for row in rows)

    return (yield from answered(status_queries.queue_status(names))).map(decoded)


def _queue(row: QueueStatusRow) -> QueueStatus:
    return QueueStatus(
        queue_name=row.name,
        waiting=Count.of(row.waiting, row.waiting_accuracy, row.counted_at, row.clock),
        scheduled=Count.of(row.scheduled, row.scheduled_accuracy, row.counted_at, row.clock),
        held=row.held,
        claimed=row.claimed,
        running=row.running,
        oldest_due_at=row.oldest_due_at,
        paused=row.paused,
        held_until=row.held_until,
        max_concurrency=row.max_concurrency,
        workers=row.workers,
        as_of=row.clock,
    )


def read_waiting_reasons() -> Operation[BrokerResult[tuple[WaitingReason, ...]]]:
    """The operation of `waiting_reasons`."""

    def decoded(rows: list[WaitingReasonRow]) -> tuple[WaitingReason, ...]:
        return tuple(
            WaitingReason(
                row.queue, row.task_name, row.reason, Count.of(row.tasks, row.accuracy, row.counted_at, row.clock)
            )
            for row in rows
        )

    return (yield from answered(status_queries.waiting_reasons())).map(decoded)


def read_workers() -> Operation[BrokerResult[tuple[WorkerStats, ...]]]:
    """The operation of `worker_status`."""
    found = yield from answered(monitoring_queries.worker_stats())
    return found.map(tuple[WorkerStats, ...])


def read_run_counts(ended_within_s: float = _HOUR_S) -> Operation[BrokerResult[tuple[RunCount, ...]]]:
    """The operation of `run_counts`."""
    if not 0 <= ended_within_s < float("inf"):
        return refused(f"ended_within_s must be a number of seconds, at least 0, got {short_repr(ended_within_s)}")

    def decoded(rows: list[RunCountRow]) -> tuple[RunCount, ...]:
        return tuple(RunCount(WorkflowStatus(row.status), row.runs, row.is_exact) for row in rows)

    return (yield from answered(status_queries.run_counts(ended_within_s))).map(decoded)


def read_schedules() -> Operation[BrokerResult[tuple[ScheduleStatus, ...]]]:
    """The operation of `schedule_status`."""

    def decoded(answer: tuple[datetime, dict[str, ScheduleState]]) -> tuple[ScheduleStatus, ...]:
        clock, states = answer
        return tuple(
            ScheduleStatus(
                name=each.name,
                task_name=each.task_name,
                queue_name=each.queue,
                next_run_at=each.next_run_at,
                last_run_at=each.last_run_at,
                paused=each.paused,
                as_of=clock,
                pattern=each.pattern,
                timezone=each.timezone,
                last_task_id=None if each.last_task_id is None else str(each.last_task_id),
                run_count=each.run_count,
                resumed_at=each.resumed_at,
            )
            for each in states.values()
        )

    return (yield from answered(schedule_queries.schedule_states())).map(decoded)
