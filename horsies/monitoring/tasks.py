"""Tasks that match a filter, as typed answers without arguments and results."""

from horsies.monitoring.answers import TaskPage
from horsies.monitoring.broker import Broker
from horsies.monitoring.filters import TaskQuery
from horsies.monitoring.task_lists import search, search_live
from horsies.producer.handle import BrokerResult


def live_tasks(
    broker: Broker, wanted: str | TaskQuery = "", *, before: str | None = None, limit: int = 100
) -> BrokerResult[TaskPage]:
    """Return a page of the tasks that have not ended and match a filter, the most recently sent first.

    One call searches the most recent 100,000 live tasks at most, and no ended ones; the next page continues the search.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        wanted: A filter such as ``queue:mail task:send_*``, or a parsed one; see `parse_filter`.
        before: The ``next_before`` of the page before; None: the first page.
        limit: The largest number of tasks to return.

    Returns:
        The page; or an error with MONITORING_QUERY_FAILED, whose message shows the place of a mistake in the filter.
    """
    return broker.runner.run(search_live(broker.args_for, wanted, before, limit))


async def live_tasks_async(
    broker: Broker, wanted: str | TaskQuery = "", *, before: str | None = None, limit: int = 100
) -> BrokerResult[TaskPage]:
    """Like `live_tasks`, for asyncio."""
    return await broker.runner.run_async(search_live(broker.args_for, wanted, before, limit))


def all_tasks(
    broker: Broker, wanted: str | TaskQuery = "", *, before: str | None = None, limit: int = 100
) -> BrokerResult[TaskPage]:
    """Return a page of the live and ended tasks that match a filter, the most recently sent first.

    One call searches the most recent 100,000 live tasks and the most recent 100,000 ended ones at most; the next page
    continues the search.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        wanted: A filter such as ``status:failed queue:mail since:2h``, or a parsed one; see `parse_filter`.
        before: The ``next_before`` of the page before; None: the first page.
        limit: The largest number of tasks to return.

    Returns:
        The page; or an error with MONITORING_QUERY_FAILED, whose message shows the place of a mistake in the filter.
    """
    return broker.runner.run(search(broker.args_for, wanted, before, limit, with_args=False))


async def all_tasks_async(
    broker: Broker, wanted: str | TaskQuery = "", *, before: str | None = None, limit: int = 100
) -> BrokerResult[TaskPage]:
    """Like `all_tasks`, for asyncio."""
    return await broker.runner.run_async(search(broker.args_for, wanted, before, limit, with_args=False))
