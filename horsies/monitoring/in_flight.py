"""The tasks that workers hold at this moment."""

from dataclasses import dataclass
from datetime import datetime

from horsies.codes import TaskStatus
from horsies.db.operations import Operation
from horsies.db.queries import status as status_queries
from horsies.db.queries.status import InFlightRow
from horsies.monitoring.asking import answered, wrong_limit
from horsies.monitoring.broker import Broker
from horsies.producer.handle import BrokerResult

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class InFlightTask:
    """A task that a worker holds. Times are aware, in UTC, by the clock of the database.

    Attributes:
        task_id: The id of the task.
        queue_name: Its queue.
        task_name: Its name.
        status: CLAIMED: the worker has prefetched it; RUNNING: it runs.
        worker_id: The id of the worker.
        worker_process_name: ``hostname:pid`` of the worker; None: the worker was declared dead a moment ago.
        attempt: The number of the attempt, from 1.
        since: When it was started; of a prefetched task, when it was claimed.
        as_of: The time of the answer.
    """

    task_id: str
    queue_name: str
    task_name: str
    status: TaskStatus
    worker_id: str | None
    worker_process_name: str | None
    attempt: int
    since: datetime | None
    as_of: datetime


def in_flight_tasks(
    broker: Broker, *, queue_name: str | None = None, limit: int = 1000
) -> BrokerResult[tuple[InFlightTask, ...]]:
    """Return the tasks that workers hold, those that they have held for the longest time first.

    The cost does not grow with the number of waiting and ended tasks.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        queue_name: The queue of the tasks; None: any queue.
        limit: The largest number of tasks, 1 to 10,000.

    Returns:
        The tasks; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_in_flight(queue_name, limit))


async def in_flight_tasks_async(
    broker: Broker, *, queue_name: str | None = None, limit: int = 1000
) -> BrokerResult[tuple[InFlightTask, ...]]:
    """Like `in_flight_tasks`, for asyncio."""
    return await broker.runner.run_async(_in_flight(queue_name, limit))


def _in_flight(queue_name: str | None, limit: int) -> Operation[BrokerResult[tuple[InFlightTask, ...]]]:
    if (wrong := wrong_limit(limit, 1, _MOST)) is not None:
        return wrong

    def decoded(rows: list[InFlightRow]) -> tuple[InFlightTask, ...]:
        return tuple(_task(row) for row in rows)

    return (yield from answered(status_queries.in_flight_tasks(queue_name, limit))).map(decoded)


def _task(row: InFlightRow) -> InFlightTask:
    return InFlightTask(
        task_id=str(row.id),
        queue_name=row.queue,
        task_name=row.task_name,
        status=TaskStatus(row.status),
        worker_id=None if row.worker_id is None else str(row.worker_id),
        worker_process_name=row.process_name,
        attempt=row.attempt,
        since=row.started_at or row.claimed_at,
        as_of=row.clock,
    )
