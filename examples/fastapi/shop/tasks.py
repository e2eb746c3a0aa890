"""The horsies app and its tasks. Workers import this module, and never the web service."""

from datetime import date
from decimal import Decimal

from horsies import AppConfig, Horsies, RetryPolicy, TaskError, TaskResult

queue = Horsies(AppConfig())  # the database is that of HORSIES_DATABASE_URL or DATABASE_URL
queue.discover_tasks(["shop.tasks"])


@queue.task("write_invoice", retry_policy=RetryPolicy.fixed([5, 60], auto_retry_for=["WORKER_CRASHED"]))
def write_invoice(order_id: int, total: Decimal, ordered_on: date) -> TaskResult[str, TaskError]:
    """Write the text of an invoice."""
    if total <= 0:
        return TaskResult(err=TaskError(error_code="NOTHING_TO_PAY", message=f"order {order_id} costs {total}"))
    return TaskResult(ok=f"Invoice {order_id} of {ordered_on}: {total} EUR")


@queue.task("shipping_cost", timeout_ms=5_000)
async def shipping_cost(country: str, weight_kg: Decimal) -> TaskResult[Decimal, TaskError]:
    """Compute the price of a parcel."""
    base = Decimal(5) if country == "DE" else Decimal(12)
    return TaskResult(ok=base + weight_kg * 2)
