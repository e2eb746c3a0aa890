"""The tasks: one of horsies, with retries and a typed result, and one of Django."""

from django.core.mail import send_mail
from django.db import OperationalError
from django.tasks import task

from config.queue import queue
from horsies import RetryPolicy, TaskError, TaskResult
from orders.models import Order


@queue.task(
    "write_invoice",
    exception_mapper={Order.DoesNotExist: "ORDER_DELETED", OperationalError: "DATABASE_DOWN"},
    retry_policy=RetryPolicy.fixed([10, 60, 600], auto_retry_for=["DATABASE_DOWN"]),
)
def write_invoice(order_id: int) -> TaskResult[str, TaskError]:
    """Number the invoice of an order. Running it twice changes nothing."""
    order = Order.objects.get(pk=order_id)
    if order.total <= 0:
        return TaskResult(err=TaskError(error_code="NOTHING_TO_PAY", message=f"order {order_id} costs {order.total}"))
    order.invoice_number = f"2026-{order.pk:05}"
    order.save(update_fields=["invoice_number"])
    return TaskResult(ok=order.invoice_number)


@task(priority=10)
def send_confirmation(order_id: int) -> str:
    """Confirm an order by email."""
    order = Order.objects.get(pk=order_id)
    send_mail("Your order", f"We have received your order {order.pk}.", None, [order.email])
    return order.email
