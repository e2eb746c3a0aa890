"""The tasks of a shop: they take their time, fail now and then, and share limited services."""

import asyncio
import os
import random
import time

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Horsies,
    PostgresConfig,
    QueueMode,
    RateLimit,
    RetryPolicy,
    TaskError,
    TaskResult,
    current_task,
)

app = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url=os.environ.get("HORSIES_DATABASE_URL")),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[
            CustomQueueConfig(name="emails", priority=1, max_concurrency=None),
            CustomQueueConfig(name="images", priority=20, max_concurrency=4),
            CustomQueueConfig(name="invoices", priority=10, max_concurrency=2),
            CustomQueueConfig(
                name="shops",
                priority=30,
                max_concurrency=None,
                max_concurrency_per_key=1,
                rate_limit=RateLimit(limit=120, per_seconds=60),
            ),
        ],
        app_version="2026.11",
    )
)


@app.task("send_email", queue_name="emails", retry_policy=RetryPolicy.fixed([2, 5], auto_retry_for=["SMTP_BUSY"]))
async def send_email(address: str) -> TaskResult[str, TaskError]:
    """Send an email. The server is busy now and then."""
    await asyncio.sleep(random.expovariate(8))
    if random.random() < 0.06:
        return TaskResult(err=TaskError(error_code="SMTP_BUSY", message=f"the server refused {address} for now"))
    return TaskResult(ok=address)


@app.task("resize_image", queue_name="images")
def resize_image(number: int, steps: int) -> TaskResult[int, TaskError]:
    """Resize an image in steps, and report the progress."""
    task = current_task()
    for step in range(steps):
        if task is not None:
            task.progress(step, steps, f"image {number}")
        time.sleep(0.4)
    return TaskResult(ok=number)


@app.task("write_invoice", queue_name="invoices")
def write_invoice(number: int, amount: float) -> TaskResult[int, TaskError]:
    """Write an invoice. Some have an amount that nothing can be divided by."""
    time.sleep(random.uniform(0.2, 1.2))
    if number % 9 == 0:
        return TaskResult(err=TaskError(error_code="NO_SUCH_CUSTOMER", message=f"order {number} has no customer"))
    return TaskResult(ok=round(1000 / (amount if number % 13 else 0)))


@app.task("fetch_orders", queue_name="shops", key_by="tenant")
def fetch_orders(tenant: str, page: int) -> TaskResult[int, TaskError]:
    """Fetch a page of orders of a tenant."""
    time.sleep(random.uniform(0.3, 1.5))
    return TaskResult(ok=page)
