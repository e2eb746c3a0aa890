"""Tasks of the app, and tasks of Django."""

import psycopg
from django.db import connection as django_connection
from django.db import transaction
from django.tasks import task

from config.queue import queue
from horsies import RetryPolicy, TaskError, TaskResult
from orders.models import Customer, Order

_AGAIN = RetryPolicy.fixed([60], auto_retry_for=["WORKER_CRASHED", "NOT_PLACED"], jitter=False)


@queue.task("confirm")
def confirm(order_id: int) -> TaskResult[str, TaskError]:
    order = Order.objects.get(pk=order_id)
    with transaction.atomic():
        order.status = "confirmed"
        order.save()
    notify.send(order.number).unwrap()
    return TaskResult(ok=order.customer.name if order.customer else "")


@queue.task("confirm_async")
async def confirm_async(order_id: int) -> TaskResult[str, TaskError]:
    order = await Order.objects.select_related("customer").aget(pk=order_id)
    order.status = "confirmed"
    await order.asave()
    (await notify.send_async(order.number)).unwrap()
    return TaskResult(ok=order.customer.name)


@queue.task("notify", retry_policy=_AGAIN)
def notify(number: int) -> TaskResult[int, TaskError]:
    if not Order.objects.filter(number=number).exists():
        return TaskResult(err=TaskError(error_code="NOT_PLACED", message=f"there is no order {number}"))
    return TaskResult(ok=number)


@queue.task("double")
def double(before: TaskResult[int, TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=2 * before.unwrap())


@queue.task("break_transaction")
def break_transaction() -> TaskResult[None, TaskError]:
    with django_connection.cursor() as cursor:
        cursor.execute("select 1 / 0")
    return TaskResult(ok=None)


_INSERT = "insert into orders_customer (name) values (%s)"


@queue.task("register", transactional=True, retry_policy=_AGAIN)
def register(connection: psycopg.Connection, name: str) -> TaskResult[str, TaskError]:
    with connection.transaction():
        connection.execute(_INSERT, (name,))
    if name == "nobody":
        return TaskResult(err=TaskError(error_code="NO_NAME", message="a customer needs a name"))
    if name == "rolled back":
        connection.rollback()
    return TaskResult(ok=name)


@queue.task("register_async", transactional=True)
async def register_async(connection: psycopg.AsyncConnection, name: str) -> TaskResult[str, TaskError]:
    await connection.execute(_INSERT, (name,))
    return TaskResult(ok=name)


@task
def greet(customer_id: int) -> str:
    return f"Hello {Customer.objects.get(pk=customer_id).name}"


@task
async def greet_async(customer_id: int) -> str:
    return f"Hello {(await Customer.objects.aget(pk=customer_id)).name}"
