"""`send_once`: a send from SQL with an idempotency key, or of a unique task, and how it agrees with Python."""

from typing import Any
from uuid import UUID

import pytest
from psycopg import errors

from horsies.config.unique import OnConflict, Unique, UniqueUntil
from tests.support.declared import declaration, declare
from tests.support.factories import DrivenWorker, done, request, unique
from tests.support.factories import send_once as send_from_python
from tests.support.sessions import InBackground, NotificationListener, Session, column, row, scalar, wait_until_blocked

SEND = "select horsies.send('add', %s::text::json, idempotency_key => %s)"
UNKEYED = "select horsies.send('add', %s::text::json)"
ARGS = '{"a": 1, "b": 2}'
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
    with pytest.raises(errors.FeatureNotSupported, match="need a READ COMMITTED transaction") as refused:
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


def declare_unique(db: Session, on_conflict: OnConflict = "keep", until: UniqueUntil = "started") -> None:
    declare(db, declaration(unique=Unique(by=("a",), until=until, on_conflict=on_conflict)))


def by_a(on_conflict: str = "keep", until: str = "started") -> dict[str, object]:
    return {"name": "add", "args": b'{"a":1,"b":3}', "unique": unique(until, on_conflict, args=b'{"a":1}')}


def test_a_key_from_python_and_from_sql_is_one_task(db: Session) -> None:
    first = request(name="add", args=b'{"a":1,"b":2}', key="from Python")
    send_from_python(db, first)
    assert send(db, ARGS, "from Python") == first.task_id
    second: UUID = send(db, ARGS, "from SQL")
    assert send_from_python(db, request(name="add", args=b'{"a":1,"b":2}', key="from SQL")) == ("existing", second)


def test_a_task_that_is_not_registered_may_have_a_key(db: Session) -> None:
    sql = "select horsies.send('other', '{\"x\": 1}', queue => 'default', idempotency_key => 'k')"
    assert scalar(db, sql) == scalar(db, sql)


def test_a_unique_task_is_kept(db: Session) -> None:
    declare_unique(db)
    first: UUID = scalar(db, UNKEYED, ARGS)
    assert scalar(db, UNKEYED, '{"a": 1.0, "b": 5}') == first
    assert scalar(db, UNKEYED, '{"a": 2}') != first
    assert send_from_python(db, request(**by_a())) == ("existing", first)
    declare(db, declaration(queue="sums"))
    assert scalar(db, UNKEYED, ARGS) != first


def test_a_unique_task_from_python_counts(db: Session) -> None:
    declare_unique(db, "reject", "ended")
    first = request(**by_a(until="ended"))
    send_from_python(db, first)
    with pytest.raises(errors.UniqueViolation) as refused:
        scalar(db, UNKEYED, ARGS)
    message = f"the unique task 'add' waits or runs already, as the task {first.task_id}"
    assert refused.value.diag.message_primary == message
    assert refused.value.diag.message_hint == "Send the task when the existing one has ended."


def test_a_waiting_task_gets_the_arguments(db: Session) -> None:
    declare_unique(db, "replace")
    first: UUID = scalar(db, UNKEYED, ARGS)
    assert scalar(db, UNKEYED, '{"a": 1, "b": 9}') == first
    assert row(db, "tasks", first)["args"] == b'{"a": 1, "b": 9}'


def test_all_parameters_are_compared_with_their_defaults(db: Session) -> None:
    declare(db, declaration(unique=Unique()))
    first: UUID = scalar(db, UNKEYED, '{"a": 1}')
    assert scalar(db, UNKEYED, '{"b": 2, "a": 1}') == first
    assert scalar(db, UNKEYED, '{"a": 1, "b": 3}') != first


def test_workers_are_notified_of_new_tasks_only(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "wake")
    send(db, ARGS, "k")
    assert listener.heard() == [""]
    send(db, ARGS, "k")
    assert listener.heard() == []
