"""Tests of the project: python manage.py test."""

from django.core import mail
from django.db import connection
from django.test import TestCase

from config.queue import queue
from horsies.testing import TestQueue
from orders.models import Order
from orders.tasks import send_confirmation, write_invoice

ORDER = {"email": "ada@example.org", "total": "49.00"}


class OrderTests(TestCase):
    """Tests with the queue in Django's test database, in the transaction of the test."""

    def setUp(self) -> None:
        self.jobs = self.enterContext(TestQueue(queue, connection=connection))

    def test_the_app_is_valid(self) -> None:
        assert queue.check() == []

    def test_an_order_gets_its_invoice_and_its_email(self) -> None:
        answer = self.client.post("/orders/", ORDER)
        assert answer.status_code == 202
        order = Order.objects.get()
        self.jobs.assert_sent(write_invoice, order.pk)
        self.jobs.drain()
        assert self.client.get(answer.json()["url"]).json() == {
            "order": order.pk,
            "invoice": "COMPLETED",
            "invoice_number": f"2026-{order.pk:05}",
            "confirmation": "SUCCESSFUL",
        }
        assert mail.outbox[0].to == ["ada@example.org"]

    def test_nothing_is_sent_for_a_refused_order(self) -> None:
        assert self.client.post("/orders/", {"total": "much"}).status_code == 400
        assert self.jobs.sent() == []

    def test_a_free_order_gets_no_invoice(self) -> None:
        order = Order.objects.create(email="ada@example.org", total=0)
        assert self.jobs.run(write_invoice, order.pk).unwrap_err().error_code == "NOTHING_TO_PAY"

    def test_a_deleted_order_is_not_tried_again(self) -> None:
        order = Order.objects.create(**ORDER)
        write_invoice.send(order.pk).unwrap()
        order.delete()
        [attempt] = self.jobs.drain()
        assert (attempt.error_code, attempt.retry_at) == ("ORDER_DELETED", None)

    def test_the_task_confirms_the_order(self) -> None:
        order = Order.objects.create(**ORDER)
        assert send_confirmation.call(order.pk) == "ada@example.org"
