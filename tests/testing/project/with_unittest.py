"""Tests for unittest, without pytest."""

import sys
import unittest

from horsies.testing import TestQueue
from shop import add, add_async, app


class ShopTest(unittest.TestCase):
    def setUp(self):
        self.queue = self.enterContext(TestQueue(app))

    def test_add(self):
        self.assertEqual(self.queue.run(add, 1, 2).unwrap(), 3)

    def test_add_async(self):
        self.assertEqual(self.queue.run(add_async, 1, 2).unwrap(), 3)
        self.assertEqual([each.task_name for each in self.queue.sent()], ["add_async"])

    def test_pytest_is_not_imported(self):
        self.assertNotIn("pytest", sys.modules)


class AsyncShopTest(unittest.IsolatedAsyncioTestCase):
    async def test_add(self):
        with TestQueue(app) as queue:
            handle = (await add_async.send_async(1, 2)).unwrap()
            await queue.drain_async()
            self.assertEqual((await handle.get_async()).unwrap(), 3)
