"""Tests of a Django project with the testing kit."""

import asyncio
import threading
from datetime import UTC, datetime

from django.db import IntegrityError, connection, connections, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from config.queue import queue as app
from horsies import TaskNode
from horsies.testing import QueueTestError, TestQueue
from orders.models import Customer, Order
from orders.tasks import (
    break_transaction,
    confirm,
    confirm_async,
    double,
    greet,
    greet_async,
    notify,
    register,
    register_async,
)

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
TABLES = ("tasks", "history", "clock")


def count_rows():
    schema = '"' + app.config.broker.schema_name.replace('"', '""') + '"'
    with connection.cursor() as cursor:
        cursor.execute("select " + " + ".join(f"(select count(*) from {schema}.{table})" for table in TABLES))
        return cursor.fetchone()[0]


class Uses:
    """What works in a transaction and without one."""

    def setUp(self):
        self.queue = self.enterContext(TestQueue(app, connection=connection))
        self.assertEqual(count_rows(), 0)
        self.customer = Customer.objects.create(name="Ann")
        self.order = Order.objects.create(customer=self.customer, number=7)

    def test_tasks_see_the_rows_of_the_test(self):
        self.assertEqual(self.queue.run(confirm, self.order.pk).unwrap(), "Ann")
        self.order.refresh_from_db()
        self.assertEqual(self.order.status, "confirmed")
        self.queue.assert_sent(notify, 7)
        self.assertEqual([each.task_name for each in self.queue.outcomes()], ["confirm", "notify"])

    def test_async_tasks_see_them(self):
        self.assertEqual(self.queue.run(confirm_async, self.order.pk).unwrap(), "Ann")
        self.order.refresh_from_db()
        self.assertEqual(self.order.status, "confirmed")

    def test_the_clock_moves(self):
        self.queue.freeze(NOON)
        notify.send(8).unwrap()
        self.assertEqual(len(self.queue.drain()), 1)
        Order.objects.create(customer=self.customer, number=8)
        notify.with_options(delay=30).send(7).unwrap()
        self.queue.advance("1 hour")
        self.assertEqual([each.at.strftime("%H:%M:%S") for each in self.queue.drain()], ["12:00:30", "12:01:00"])
        self.assertEqual(self.queue.now().hour, 13)

    def test_transactional_tasks(self):
        self.assertEqual(self.queue.run(register, "Bob").unwrap(), "Bob")
        self.assertEqual(self.queue.run(register, "nobody").unwrap_err().error_code, "NO_NAME")
        self.assertEqual(self.queue.run(register_async, "Cid").unwrap(), "Cid")
        self.queue.crash("ran", register)
        register.send("Dan").unwrap()
        self.queue.advance("1 hour")
        self.assertEqual([each.lost for each in self.queue.drain()], [True, False])
        names = [each.name for each in Customer.objects.order_by("pk")]
        self.assertEqual(names, ["Ann", "Bob", "Cid", "Dan"])

    def test_workflows_and_many_sends(self):
        first = TaskNode(fn=notify, kwargs={"number": 7}, node_id="first")
        second = TaskNode(fn=double, args_from={"before": first}, waits_for=[first], node_id="second")
        run = self.queue.start(app.workflow("both", [first, second], output=second, definition_key="both.v1"))
        self.assertEqual(run.result.unwrap(), 14)
        app.send_many([notify.args(7), notify.args(7)]).unwrap()
        self.assertEqual(len(self.queue.drain()), 2)

    def test_tasks_of_django(self):
        results = [greet.enqueue(self.customer.pk), greet_async.enqueue(self.customer.pk)]
        self.queue.drain()
        for result in results:
            result.refresh()
            self.assertEqual(result.return_value, "Hello Ann")

    def test_a_failed_task_leaves_the_transaction_usable(self):
        handle = break_transaction.send().unwrap()
        with transaction.atomic():
            self.assertEqual(len(self.queue.drain().failures), 1)
        self.assertEqual(handle.get(timeout_ms=0).unwrap_err().error_code, "UNHANDLED_EXCEPTION")
        self.assertEqual(Order.objects.count(), 1)

    def test_a_block_that_is_rolled_back(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Order.objects.create(customer=self.customer, number=9)
            greet.enqueue(self.customer.pk)
            self.assertEqual(len(self.queue.sent()), 1)
            Order.objects.create(customer=self.customer, number=9)
        self.assertEqual(self.queue.sent(), [])
        self.assertFalse(self.queue.drain())

    def test_waiting_for_a_task_that_nothing_runs(self):
        handle = notify.send(7).unwrap()
        self.assertEqual(handle.get(timeout_ms=1).unwrap_err().error_code, "WAIT_TIMEOUT")
        with self.assertRaisesRegex(QueueTestError, r"call queue\.drain\(\) first"):
            handle.get()

    async def test_in_a_coroutine(self):
        handle = (await confirm_async.send_async(self.order.pk)).unwrap()
        other = (await confirm.send_async(self.order.pk)).unwrap()
        result = await greet.aenqueue(self.customer.pk)
        await self.queue.drain_async()
        self.assertEqual((await handle.get_async()).unwrap(), "Ann")
        self.assertEqual((await other.get_async()).unwrap(), "Ann")
        await result.arefresh()
        self.assertEqual(result.return_value, "Hello Ann")

    def test_faults(self):
        self.queue.disconnect("before")
        error = notify.send(7).unwrap_err()
        self.queue.assert_not_sent(notify)
        notify.retry_send(error).unwrap()
        self.queue.crash("claimed")
        self.assertEqual([each.lost for each in self.queue.drain()], [True, False])


class InATransaction(Uses, TestCase):
    def test_on_commit(self):
        with self.captureOnCommitCallbacks(execute=True):
            transaction.on_commit(lambda: greet.enqueue(self.customer.pk))
            self.assertEqual(self.queue.sent(), [])
        self.assertEqual(len(self.queue.drain()), 1)

    def test_a_task_may_not_roll_the_test_back(self):
        self.assertIn("transaction of the test", str(self.queue.run(register, "rolled back").unwrap_err().message))
        self.assertEqual(Customer.objects.count(), 1)

    def test_constraints_stay_deferred(self):
        self.queue.run(register, "Bob").unwrap()
        order = Order.objects.create(customer_id=1_000_000, number=10)
        order.delete()

    def test_another_thread_uses_the_connection_of_the_test(self):
        thread = threading.Thread(target=lambda: notify.send(7).unwrap())
        thread.start()
        thread.join()
        self.queue.assert_sent(notify, 7)


class WithoutATransaction(Uses, TransactionTestCase):
    def test_on_commit(self):
        with transaction.atomic():
            transaction.on_commit(lambda: greet.enqueue(self.customer.pk))
            self.assertEqual(self.queue.sent(), [])
        self.assertEqual(len(self.queue.drain()), 1)

    def test_an_atomic_block_sees_its_own_rows(self):
        with transaction.atomic():
            order = Order.objects.create(customer=self.customer, number=8)
            self.assertEqual(self.queue.run(confirm, order.pk).unwrap(), "Ann")
            self.assertEqual(self.queue.run(register, "Bob").unwrap(), "Bob")

    def test_a_closed_connection_is_opened_again(self):
        notify.send(7).unwrap()
        connection.close()
        self.assertEqual(len(self.queue.drain()), 1)


class ForAClass(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.queue = cls.enterClassContext(TestQueue(connection=connection))
        cls.customer = Customer.objects.create(name="Ann")
        greet.enqueue(cls.customer.pk)

    def test_each_test_begins_with_the_rows_of_the_class(self):
        self.assertEqual(len(self.queue.drain()), 1)

    def test_another_one_too(self):
        self.assertEqual(len(self.queue.drain()), 1)


class Mistakes(TestCase):
    databases = {"default", "other"}

    def refused(self, pattern, **options):
        with self.assertRaisesRegex(QueueTestError, pattern), TestQueue(app, **options):
            self.fail("the queue was opened")

    def test_no_connection_of_django(self):
        self.refused("takes a connection of Django", connection="default")

    def test_another_database(self):
        self.refused("'other' of DATABASES, which is SQLite instead of PostgreSQL", connection=connections["other"])

    def test_no_test_database(self):
        name = connection.settings_dict["NAME"]
        connection.settings_dict["NAME"] = "orders"
        try:
            self.refused("'orders', which is no test database of Django", connection=connection)
        finally:
            connection.settings_dict["NAME"] = name

    def test_a_real_worker(self):
        queue = self.enterContext(TestQueue(app, connection=connection))
        with self.assertRaisesRegex(QueueTestError, r"queue\.worker\(\) needs a database of its own"), queue.worker():
            self.fail("the worker was started")

    def test_the_blocking_methods_in_a_loop(self):
        queue = self.enterContext(TestQueue(app, connection=connection))

        async def drain():
            queue.drain()

        with self.assertRaisesRegex(QueueTestError, r"await queue\.drain_async\(\)"):
            asyncio.run(drain())


class NoDatabase(SimpleTestCase):
    def test_django_forbids_queries(self):
        with self.assertRaisesRegex(Exception, "not allowed in SimpleTestCase"), TestQueue(app, connection=connection):
            self.fail("the queue was opened")
