"""`send_once`: a send from SQL with an idempotency key."""

from typing import Any
from uuid import UUID

import pytest
from psycopg import errors

from tests.support.declared import declaration, declare
from tests.support.factories import DrivenWorker, done
from tests.support.sessions import InBackground, Session, column, row, scalar, wait_until_blocked

SEND = "select horsies.send('add', %s::text::json, idempotency_key => %s)"
IDS = "select id from horsies.tasks"


@pytest.fixture(autouse=True)
def _declared(db: Session) -> None:
    declare(db, declaration(queue="sums", priority=7, timeout_ms=900))


def send(db: Session, args: str = '{"a": 1}', key: str = "order-7") -> UUID:
    return scalar(db, SEND, args, key)


def test_the_second_send_with_a_key_returns_the_first_task(db: Session) -> None:
    first = send(db)
    task: dict[str, Any] = row(db, "tasks", first)
    assert (task["queue"], task["priority"], task["timeout_ms"]) == ("sums", 7, 900)
    assert (task["args"], task["idempotency_key"]) == (b'{"a": 1}', "order-7")
    assert send(db, '{ "a" : 1.0 }') == first
    assert send(db, key="order-8") != first
    assert len(column(db, IDS)) == 2


def test_a_task_that_has_ended_still_stands_for_its_key(db: Session) -> None:
    first = send(db)
    worker = DrivenWorker(db, queues=["sums"])
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    assert send(db) == first
    assert column(db, IDS) == []


def test_a_key_with_other_arguments_is_refused(db: Session) -> None:
    first = send(db)
    with pytest.raises(errors.UniqueViolation) as refused:
        send(db, '{"a": 2}')
    message = f"the idempotency key 'order-7' belongs to the task {first}, which has other arguments"
    assert refused.value.diag.message_primary == message
    assert "Use another key" in (refused.value.diag.message_hint or "")
    assert column(db, IDS) == [first]


def test_a_rollback_frees_the_key(db: Session) -> None:
    with db.transaction(force_rollback=True):
        lost = send(db)
    assert send(db) != lost
    assert len(column(db, IDS)) == 1


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_another_isolation_level_is_refused(db: Session, isolation: str) -> None:
    db.execute(f"set default_transaction_isolation = '{isolation}'".encode())
    with pytest.raises(errors.FeatureNotSupported, match="needs a READ COMMITTED transaction") as refused:
        send(db)
    assert isolation.upper() in (refused.value.diag.message_primary or "")


def test_a_concurrent_send_waits_and_returns_the_same_task(
    db: Session, other: Session, in_background: InBackground
) -> None:
    with db.transaction():
        first = send(db)
        second = in_background(lambda: send(other))
        wait_until_blocked(db, other)
    assert second.result(10) == first
    assert column(db, IDS) == [first]
