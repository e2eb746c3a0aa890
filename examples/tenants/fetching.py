"""The horsies app and its task: fetch an order from the shop of a tenant, through an API that limits its callers."""

import os
import urllib.error
import urllib.request

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    QueueMode,
    RateLimited,
    TaskError,
    TaskResult,
)

API = os.environ.get("SHOP_API", "http://127.0.0.1:8000")
TOO_MANY_REQUESTS = 429

queue = Horsies(  # the database is that of HORSIES_DATABASE_URL or DATABASE_URL
    AppConfig(
        queue_mode=QueueMode.CUSTOM,
        # The API accepts two calls of a tenant at the same time.
        custom_queues=[CustomQueueConfig(name="shops", max_concurrency=None, max_concurrency_per_key=2)],
    )
)


@queue.task("fetch_order", queue_name="shops", key_by="tenant")
def fetch_order(tenant: str, number: int) -> TaskResult[str, TaskError]:
    """Fetch one order. If the API refuses the call, nothing of this tenant starts for the time that it names."""
    try:
        with urllib.request.urlopen(f"{API}/{tenant}/orders/{number}", timeout=10) as answer:  # noqa: S310 - the address is ours
            return TaskResult(ok=answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code != TOO_MANY_REQUESTS:
            raise
        return TaskResult(err=RateLimited(retry_after=seconds_of(error.headers.get("Retry-After"))))


def seconds_of(header: str | None) -> float:
    """Return the seconds of the header ``Retry-After``, or 30 if it is missing or a date."""
    return float(header) if header is not None and header.isdecimal() else 30
