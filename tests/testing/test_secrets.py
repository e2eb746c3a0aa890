"""Secrets are stored in columns of their own, in every way to send and run tasks, and everything else hides them."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from horsies import TaskHandle
from horsies.db.queries.declarations import register_tasks
from horsies.tasks.declarations import declarations_of
from horsies.testing import TestQueue
from tests.support.leaks import leaks, secrets_in
from tests.support.sessions import Session, call, open_session
from tests.testing.secrets_app import (
    MARK,
    Card,
    Wallet,
    app,
    declines,
    mistypes,
    pay,
    pay_async,
    pay_by_path,
    pay_in_transaction,
    pay_once,
    raises,
)

ORDER = {"card": {"number": f"by path {MARK}", "holder": "Ada"}}
WALLET = Wallet([Card(number=f"listed {MARK}", pin=None)], {"shop": f"token {MARK}"})


@pytest.fixture
def queue(database_url: str) -> Iterator[TestQueue]:
    with TestQueue(app, database_url=database_url) as running:
        yield running


@pytest.fixture
def session(queue: TestQueue) -> Iterator[Session]:
    with open_session(queue.database_url) as opened:
        call(opened, register_tasks(None, declarations_of(app.config, app.registry)))
        yield opened


@contextmanager
def heard(url: str) -> Iterator[list[str]]:
    """Collect the notifications that horsies sends within the block."""
    payloads: list[str] = []
    with psycopg.connect(url, autocommit=True) as listener:
        channels = ["done", "wake", "cancel"]
        for name in channels:
            listener.execute(f'listen "horsies.{name}"'.encode())
        yield payloads
        payloads += [each.payload for each in listener.notifies(timeout=0.5)]


def send_from_sql(session: Session, task: str, args: dict[str, Any], **options: Any) -> None:
    named = "".join(f", {name} => %s" for name in options)
    session.execute(f"select horsies.send(%s, %s::json{named})", (task, json.dumps(args), *options.values()))  # type: ignore[arg-type]


def result_of(handle: TaskHandle[Any, Any]) -> Any:
    return handle.get(timeout_ms=0).unwrap()


def test_every_way_to_send_and_run_tasks(queue: TestQueue, session: Session) -> None:
    with heard(queue.database_url) as notices:
        sent = pay.send(f"sent {MARK}", cents=3).unwrap()
        nested = pay_async.send(WALLET).unwrap()
        by_path = pay_by_path.send(ORDER).unwrap()
        delayed = pay.schedule(60, f"delayed {MARK}").unwrap()
        many = pay.send_many([(f"many {MARK}",), {"card": f"named {MARK}"}]).unwrap()
        keyed = pay.with_options(idempotency_key="order-1").send(f"keyed {MARK}").unwrap()
        together = app.send_many([pay.args(f"together {MARK}"), pay_once.args(f"once {MARK}")]).unwrap()
        replaced = pay_once.with_options(delay=30).send(f"once {MARK}").unwrap()
        own = pay_in_transaction.send(f"own {MARK}").unwrap()
        with psycopg.connect(queue.database_url) as connection:
            inside = pay.with_options(connection=connection).send(f"inside {MARK}").unwrap()
            pay.with_options(connection=connection).send_many([(f"inside many {MARK}",)]).unwrap()
        send_from_sql(session, "pay", {"card": f"from SQL {MARK}"})
        send_from_sql(session, "pay", {"card": f"from SQL {MARK}", "cents": 2}, idempotency_key="order-2")
        send_from_sql(session, "pay_once", {"card": f"from SQL once {MARK}"})
        send_from_sql(session, "pay_by_path", {"order": ORDER})
        queue.tick_schedules()
        asyncio.run(app.get_broker().run_schedule("nightly")).unwrap()
        failing = [task.send(f"failing {MARK}").unwrap() for task in (raises, declines, mistypes)]
        assert leaks(session, MARK) == []
        assert secrets_in(session, "tasks", "secret_args", MARK) == 20
        queue.drain()
        queue.advance("2 minutes")
        queue.drain()
        again = app.rerun(sent.task_id).unwrap()
        queue.drain()

    assert result_of(sent) == result_of(again) == f"sent {MARK} 3"
    assert result_of(nested) == WALLET
    assert result_of(by_path) == f"charged by path {MARK}"
    assert [result_of(each) for each in many] == [f"many {MARK} 1", f"named {MARK} 1"]
    assert result_of(keyed) == f"keyed {MARK} 1"
    assert result_of(together[0]) == f"together {MARK} 1"
    assert replaced.task_id == together[1].task_id
    assert (result_of(delayed), result_of(own), result_of(inside)) == (
        f"delayed {MARK} 1",
        f"own {MARK}",
        f"inside {MARK} 1",
    )
    for handle in failing:
        assert MARK not in str(handle.get(timeout_ms=0).err_value.message)
    assert leaks(session, MARK) == []
    assert secrets_in(session, "history", "secret_args", MARK) == 21
    assert secrets_in(session, "history", "secret_result", MARK) >= 15
    assert notices
    assert MARK not in "".join(notices)
    assert all(each.status == "COMPLETED" for each in queue.outcomes() if each.task_name.startswith("pay"))


def test_an_argument_of_the_wrong_type_is_not_shown_however_short_it_is(queue: TestQueue, session: Session) -> None:
    send_from_sql(session, "pay", {"card": 987})
    queue.drain()
    [stored] = session.execute(b"select result::text from horsies.history").fetchall()
    assert "WORKER_SERIALIZATION_ERROR" in stored[0]
    assert "its value is secret" in stored[0]
    assert "987" not in stored[0]
