"""The tasks of a shop: they take their time, fail now and then, and share limited services."""

import asyncio
import os
import random
import time
from datetime import time as clock_time

from horsies import (
    AppConfig,
    CronSchedule,
    CustomQueueConfig,
    DailySchedule,
    Horsies,
    IntervalSchedule,
    PostgresConfig,
    QueueMode,
    RateLimit,
    RetryPolicy,
    ScheduleConfig,
    SubWorkflowNode,
    TaskError,
    TaskResult,
    TaskSchedule,
    Weekday,
    WeeklySchedule,
    WorkflowDefinition,
    WorkflowSpec,
    current_task,
    from_node,
)

VERSION = os.environ.get("SHOP_VERSION", "2026.11")
BERLIN = "Europe/Berlin"

SCHEDULES = (
    TaskSchedule(name="check-stock", task_name="check_stock", pattern=IntervalSchedule(seconds=20), args=["north"]),
    TaskSchedule(name="hourly-prices", task_name="update_prices", pattern=CronSchedule("5 * * * *")),
    TaskSchedule(
        name="daily-report", task_name="update_prices", pattern=DailySchedule(time=clock_time(2, 30)), timezone=BERLIN
    ),
    TaskSchedule(
        name="weekly-newsletter",
        task_name="update_prices",
        pattern=WeeklySchedule(days=[Weekday.MONDAY, Weekday.THURSDAY], time=clock_time(9)),
        timezone=BERLIN,
    ),
    TaskSchedule(name="refresh-offers", task_name="update_prices", pattern=CronSchedule("*/2 * * * *")),
    TaskSchedule(name="summer-sale", task_name="update_prices", pattern=CronSchedule("0 */3 * * *")),
)

app = Horsies(
    AppConfig(
        broker=PostgresConfig(database_url=os.environ.get("HORSIES_DATABASE_URL")),
        queue_mode=QueueMode.CUSTOM,
        custom_queues=[
            CustomQueueConfig(name="emails", priority=1, max_concurrency=None),
            CustomQueueConfig(name="images", priority=20, max_concurrency=4),
            CustomQueueConfig(name="invoices", priority=10, max_concurrency=2),
            CustomQueueConfig(name="warehouse", priority=40, max_concurrency=3),
            CustomQueueConfig(
                name="shops",
                priority=30,
                max_concurrency=None,
                max_concurrency_per_key=1,
                rate_limit=RateLimit(limit=120, per_seconds=60),
            ),
        ],
        app_version=VERSION,
        schedule=ScheduleConfig(schedules=SCHEDULES),
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
    if VERSION == "2026.11" and number % 7 == 0:
        return TaskResult(err=TaskError(error_code="NO_TAX_RULE", message=f"no tax rule for order {number}"))
    if number % 9 == 0:
        return TaskResult(err=TaskError(error_code="NO_SUCH_CUSTOMER", message=f"order {number} has no customer"))
    return TaskResult(ok=round(1000 / (amount if number % 13 else 0)))


@app.task("fetch_orders", queue_name="shops", key_by="tenant")
def fetch_orders(tenant: str, page: int) -> TaskResult[int, TaskError]:
    """Fetch a page of orders of a tenant."""
    time.sleep(random.uniform(0.3, 1.5))
    return TaskResult(ok=page)


@app.task("charge_card", queue_name="invoices")
def charge_card(order: int, cents: int) -> TaskResult[str, TaskError]:
    """Charge a card. Large amounts are declined."""
    time.sleep(random.uniform(0.2, 0.8))
    if cents > 90_000:
        return TaskResult(err=TaskError(error_code="CARD_DECLINED", message=f"order {order}: over the limit"))
    return TaskResult(ok=f"payment-{order}")


@app.task("reserve_stock", queue_name="shops")
def reserve_stock(order: int) -> TaskResult[str, TaskError]:
    """Reserve the goods of an order in a warehouse."""
    time.sleep(random.uniform(0.3, 2.0))
    return TaskResult(ok=random.choice(["Berlin", "Lyon", "Turin"]))


@app.task("ship", queue_name="shops")
def ship(
    order: int, payment: TaskResult[str, TaskError], warehouse: TaskResult[str, TaskError]
) -> TaskResult[str, TaskError]:
    """Ship an order."""
    time.sleep(random.uniform(0.3, 1.0))
    return TaskResult(ok=f"order {order} from {warehouse.unwrap()}, {payment.unwrap()}")


@app.task("list_pictures", queue_name="images")
def list_pictures(folder: str, number: int) -> TaskResult[list[int], TaskError]:
    """List the pictures of a folder."""
    return TaskResult(ok=list(range(number)))


@app.task("make_thumbnail", queue_name="images")
def make_thumbnail(picture: int) -> TaskResult[int, TaskError]:
    """Make a thumbnail. Now and then a picture is broken."""
    time.sleep(random.uniform(0.1, 0.5))
    if random.random() < 0.03:
        return TaskResult(err=TaskError(error_code="BROKEN_PICTURE", message=f"picture {picture} cannot be read"))
    return TaskResult(ok=picture)


@app.task("publish", queue_name="emails")
def publish(thumbnails: TaskResult[list[TaskResult[int, TaskError]], TaskError]) -> TaskResult[int, TaskError]:
    """Publish the thumbnails that could be made."""
    return TaskResult(ok=sum(each.is_ok() for each in thumbnails.unwrap()))


class Album(WorkflowDefinition[int]):
    """Makes thumbnails of all pictures of a folder, and publishes them."""

    name = "album"
    definition_key = "shop.album.v1"
    pictures = list_pictures.node()("holiday", 24)
    thumbnails = make_thumbnail.map(over=from_node(pictures), max_parallel=3)()
    published = publish.node()(from_node(thumbnails))

    class Meta:
        output = "published"


class Launch(WorkflowDefinition[str]):
    """Prepares the launch of a product: texts, an album, and emails to the press."""

    name = "launch"
    definition_key = "shop.launch.v1"
    draft = send_email.node()("copywriter@example.com")
    review = send_email.node(waits_for=[draft])("editor@example.com")
    album = SubWorkflowNode(Album)
    prices = charge_card.node()(1, 100)
    catalog = reserve_stock.node(waits_for=[prices, album])(7)
    press = send_email.node(waits_for=[review, album])("press@example.com")
    announcement = send_email.node(waits_for=[press, catalog, draft])("everybody@example.com")

    class Meta:
        output = "announcement"


@app.workflow_builder(cases=[{"order": 1, "cents": 100}])
def checkout(order: int, cents: int) -> WorkflowSpec[str]:
    """Build the workflow of an order. A declined card pauses it."""
    payment = charge_card.node(node_id="payment")(order, cents)
    warehouse = reserve_stock.node(node_id="warehouse")(order)
    shipment = ship.node(node_id="shipment")(order, from_node(payment), from_node(warehouse))
    receipt = send_email.node(node_id="receipt", waits_for=[payment])(f"customer-{order}@example.com")
    nodes = [payment, warehouse, shipment, receipt]
    return app.workflow(
        "checkout",
        nodes,
        output=shipment,
        on_error="pause" if order % 2 else "fail",
        definition_key="shop.checkout.v1",
    )


@app.workflow_builder(cases=[{"customers": 2}])
def newsletter(customers: int) -> WorkflowSpec:
    """Build a large workflow: an email to each customer, in groups, after a test group."""
    test_group = [send_email.node(node_id=f"test-{each}")(f"test-{each}@example.com") for each in range(5)]
    approval = charge_card.node(node_id="approval", waits_for=test_group)(0, 10)
    emails = [
        send_email.node(node_id=f"email-{each}", waits_for=[approval])(f"customer-{each}@example.com")
        for each in range(customers)
    ]
    report = reserve_stock.node(node_id="report", waits_for=emails, allow_failed_deps=True)(0)
    nodes = [*test_group, approval, *emails, report]
    return app.workflow("newsletter", nodes, definition_key="shop.newsletter.v1")


@app.task("check_stock", queue_name="warehouse")
def check_stock(warehouse: str) -> TaskResult[str, TaskError]:
    """Count what is in a warehouse. This takes longer than the time between two runs."""
    time.sleep(random.uniform(15, 30))
    return TaskResult(ok=warehouse)


@app.task("update_prices", queue_name="warehouse")
def update_prices() -> TaskResult[int, TaskError]:
    """Update prices."""
    time.sleep(random.uniform(0.5, 3))
    return TaskResult(ok=random.randint(1, 100))


class WarehouseDownError(Exception):
    """The warehouse does not answer."""


def ask_warehouse(item: int) -> int:
    """Ask for the stock of an item."""
    if random.random() < 0.85:
        message = f"warehouse 7 did not answer within {random.randint(1000, 1300)} ms"
        raise WarehouseDownError(message)
    return item


@app.task(
    "sync_stock",
    queue_name="emails",
    retry_policy=RetryPolicy.fixed([3] * 6, auto_retry_for=["WAREHOUSE_DOWN"]),
    exception_mapper={WarehouseDownError: "WAREHOUSE_DOWN"},
)
def sync_stock(item: int) -> TaskResult[int, TaskError]:
    """Copy the stock of an item. The warehouse is down, so most attempts are retried."""
    return TaskResult(ok=ask_warehouse(item))
