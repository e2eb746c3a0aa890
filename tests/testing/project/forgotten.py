"""Tests that send with and without a queue. test_guard.py says which of them pass."""

import asyncio
import contextlib
import threading

import pytest

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult
from horsies.testing import TestQueue
from shop import add, app

other = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nobody:secret@127.0.0.1:1/other")))


@other.task("forward")
def forward() -> TaskResult[None, TaskError]:
    add.send(1, 2).unwrap()
    return TaskResult(ok=None)


@pytest.fixture
def queue(horsies):
    return horsies(app)


@pytest.fixture
def order():
    return add.send(1, 2)


def test_right_with_a_fixture(queue):
    assert queue.run(add, 1, 2).unwrap() == 3


def test_right_with_an_app_that_has_the_url_of_the_test(horsies_database):
    own = Horsies(AppConfig(broker=PostgresConfig(database_url=horsies_database)))

    @own.task("own")
    def task() -> TaskResult[None, TaskError]:
        return TaskResult(ok=None)

    assert task.send().is_ok()
    assert asyncio.run(task.send_async()).is_ok()
    own.close()


def test_right_with_an_overriding_url(horsies_database, monkeypatch):
    monkeypatch.setenv("HORSIES_DEV_DATABASE_URL", f"{horsies_database}&connect_timeout=10")
    own = Horsies(AppConfig())
    assert own.get_broker().get_task_info("0197c3b0-0000-7000-8000-000000000000").unwrap() is None
    own.close()


def test_right_without_a_call_of_the_database():
    assert add.send("one", 2).is_err()


@pytest.mark.horsies_own_database
def test_right_with_a_mark():
    assert add.send(1, 2).is_err()


def test_wrong_send():
    add.send(1, 2)


def test_wrong_broker():
    app.get_broker().get_task_info("0197c3b0-0000-7000-8000-000000000000")


def test_wrong_engine():
    app.get_broker().database_url("psycopg")


def test_wrong_fixture(order):
    assert order


def test_wrong_before_the_queue(horsies):
    add.send(1, 2)
    horsies(app)


def test_wrong_after_the_queue(horsies):
    with TestQueue(app):
        add.send(1, 2).unwrap()
    add.send(1, 2)


def test_wrong_in_a_loop():
    async def sends():
        await asyncio.gather(add.send_async(1, 2))

    asyncio.run(sends())


def test_wrong_and_hidden():
    with contextlib.suppress(Exception):
        add.send(1, 2)


def test_wrong_and_mistaken_for_something_else():
    sent = []
    with contextlib.suppress(Exception):
        sent.append(add.send(1, 2))
    assert sent


def test_wrong_in_a_thread():
    def sends():
        with contextlib.suppress(Exception):
            add.send(1, 2)

    thread = threading.Thread(target=sends, name="mailer")
    thread.start()
    thread.join()


def test_wrong_app(horsies):
    horsies(other).run(forward)
