"""Additional tasks of the demo: an error, an exception, a coroutine, a retry, and a workflow."""

import asyncio

from instance import app

from horsies import RetryPolicy, TaskError, TaskResult, WorkflowSpec, from_node


@app.task("divide")
def divide(dividend: int, divisor: int) -> TaskResult[float, TaskError]:
    """Raise ZeroDivisionError for a divisor of 0. The worker turns the exception into an error."""
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


@app.task("list_items")
def list_items(names: list[str]) -> TaskResult[list[str], TaskError]:
    """List the items of the order."""
    return TaskResult(ok=names)


@app.task("price")
def price(name: str, discount: int) -> TaskResult[int, TaskError]:
    """Return the price of one item. Printers are sold out."""
    if name == "printer":
        return TaskResult(err=TaskError(error_code="SOLD_OUT", message="no printers today"))
    return TaskResult(ok=100 * len(name) - discount)


@app.task("bill")
def bill(prices: TaskResult[list[TaskResult[int, TaskError]], TaskError]) -> TaskResult[str, TaskError]:
    """Add up the prices of the available items."""
    found = [each.unwrap() for each in prices.unwrap() if each.is_ok()]
    return TaskResult(ok=f"{len(found)} items for {sum(found)}")


@app.workflow_builder(cases=[{"names": ["paper"]}])
def order(names: list[str]) -> WorkflowSpec[str]:
    """List the items, find the price of each, and add up the prices."""
    items = list_items.node(node_id="items")(names)
    prices = price.map(over=from_node(items), node_id="prices")(discount=5)
    total = bill.node(node_id="total")(from_node(prices))
    return app.workflow("order", [items, prices, total], output=total, definition_key="demo.order.v1")


app.discover_tasks(["demo_tasks"])
