"""When a task is retried, if its attempts keep failing."""

from horsies.db.operations import Operation
from horsies.db.queries import monitoring as monitoring_queries
from horsies.monitoring.asking import answered, refused
from horsies.monitoring.broker import Broker
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult, parse_id


def retry_forecast(broker: Broker, task_id: str) -> BrokerResult[tuple[float, ...]]:
    """Return the delays before the further retries of a task, if its attempts keep failing with retried codes.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        task_id: The id of the task.

    Returns:
        The delays in seconds, without jitter, in order; none for a task that has ended, is unknown, or is not retried.
        The delay before a retry that is planned already is left out: ``TaskInfo.next_retry_at`` has its time. Or an
        error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_read(task_id))


async def retry_forecast_async(broker: Broker, task_id: str) -> BrokerResult[tuple[float, ...]]:
    """Like `retry_forecast`, for asyncio."""
    return await broker.runner.run_async(_read(task_id))


def _read(task_id: str) -> Operation[BrokerResult[tuple[float, ...]]]:
    known_id = parse_id(task_id)
    if known_id is None:
        return refused(f"task_id must be the id of a task, got {short_repr(task_id)}")
    return (yield from answered(monitoring_queries.retry_forecast(known_id))).map(tuple[float, ...])
