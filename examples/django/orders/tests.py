"""Tests of the project: python manage.py test."""

import subprocess
import sys

from django.tasks import TaskResultStatus
from django.test import TestCase, TransactionTestCase

from config.queue import queue
from orders.models import Order
from orders.tasks import send_confirmation, write_invoice

ORDER = {"email": "ada@example.org", "total": "49.00"}


class OrderTests(TestCase):
    """Each test is one transaction that is rolled back, so no worker sees its tasks."""

    def test_the_app_is_valid(self) -> None:
        assert queue.check() == []

    def test_an_order_is_accepted(self) -> None:
        answer = self.client.post("/orders/", ORDER)
        assert answer.status_code == 202
        assert self.client.post("/orders/", {"total": "much"}).status_code == 400

    def test_the_task_numbers_the_invoice(self) -> None:
        order = Order.objects.create(**ORDER)
        number = write_invoice(order.pk).unwrap()
        order.refresh_from_db()
        assert order.invoice_number == number

    def test_the_task_confirms_the_order(self) -> None:
        order = Order.objects.create(**ORDER)
        assert send_confirmation.call(order.pk) == "ada@example.org"


class WorkerTests(TransactionTestCase):
    """These tests commit, and start a worker on the test database."""

    def setUp(self) -> None:
        worker = subprocess.Popen([sys.executable, "manage.py", "horsies", "worker", "--processes=2"])
        self.addCleanup(worker.wait, timeout=30)
        self.addCleanup(worker.terminate)

    def test_a_worker_runs_both_tasks(self) -> None:
        self.client.post("/orders/", ORDER)
        order = Order.objects.get()
        invoice = write_invoice.handle(str(order.invoice_task_id)).get(timeout_ms=30_000)
        queue.get_result(str(order.email_task_id), timeout_ms=30_000)
        order.refresh_from_db()
        assert order.invoice_number == invoice.unwrap()
        confirmation = send_confirmation.get_result(str(order.email_task_id))
        assert confirmation.status == TaskResultStatus.SUCCESSFUL
