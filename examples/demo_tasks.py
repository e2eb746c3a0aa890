"""More tasks for the demo, beside those of the seed example: an error, an exception, a coroutine, a retry."""

import asyncio

from instance import app

from horsies import RetryPolicy, TaskError, TaskResult


@app.task("divide")
def divide(dividend: int, divisor: int) -> TaskResult[float, TaskError]:
    """Raise ZeroDivisionError for a divisor of 0: the worker makes an error of it."""
    return TaskResult(ok=dividend / divisor)


@app.task("fetch_greeting")
async def fetch_greeting(name: str) -> TaskResult[str, TaskError]:
    """Await something, as an HTTP client would."""
    await asyncio.sleep(0.05)
    return TaskResult(ok=f"Hello, {name}!")


@app.task(
    "ask_shop",
    retry_policy=RetryPolicy.fixed([1], auto_retry_for=["SHOP_BUSY"], jitter=False),
)
def ask_shop(item: str) -> TaskResult[str, TaskError]:
    """Fail with a code that the retry policy names."""
    return TaskResult(err=TaskError(error_code="SHOP_BUSY", message=f"the shop is busy, no {item} now"))


app.discover_tasks(["demo_tasks"])
