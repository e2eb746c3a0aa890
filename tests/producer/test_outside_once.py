"""Idempotency keys and unique tasks in a transaction of the caller, with each supported library."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from horsies import Err, TaskSendError, TaskSendErrorCode, Unique
from horsies.producer import batches
from tests.producer.shop import Shop
from tests.support.callers import Caller, UndoneError
from tests.support.databases import new_database
from tests.support.server import Server
from tests.support.sessions import Session, column, find, row, scalar
from tests.support.waiting import wait_until

KEEP = Unique()
REJECT = Unique(on_conflict="reject")
REPLACE = Unique(by=("b",), on_conflict="replace")


@pytest.fixture(scope="module")
def database_url(server: Server, template: str) -> Iterator[str]:
    """Yield a database for all tests here. Each test uses its own keys and arguments."""
    with new_database(server, template) as url:
        yield url


@pytest.fixture
def name() -> str:
    """Return a text that no other test uses, for a key or an argument."""
    return uuid4().hex


def failure(sent: Any) -> TaskSendError:
    assert isinstance(sent, Err)
    return sent.err_value


def waiting(db: Session) -> list[int]:
    return column(
        db, "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )


class OtherSender:
    """A second producer, whose send has to wait for the transaction of the caller."""

    def __init__(self, db: Session, threads: ThreadPoolExecutor) -> None:
        self._db = db
        self._threads = threads

    def send(self, sender: Any, name: str) -> Future[Any]:
        """Begin a send, and return when it waits."""
        sent = self._threads.submit(sender.send, name)
        wait_until(lambda: sent.done() or waiting(self._db), describe="the other send to wait")
        assert not sent.done()
        return sent


@pytest.fixture
def other(db: Session) -> Iterator[OtherSender]:
    with ThreadPoolExecutor() as threads:
        yield OtherSender(db, threads)


def test_within_one_transaction(caller: Caller, shop: Shop, db: Session, name: str) -> None:
    """A second send finds the first one, a refused one changes nothing, and all of that is committed."""
    with caller.transaction() as connection:
        keyed = shop.plain.with_options(connection=connection, idempotency_key=name)
        first = caller.do(keyed.send, name).unwrap().task_id
        assert caller.do(keyed.send, name).unwrap().task_id == first
        error = failure(caller.do(keyed.send, "other"))
        assert (error.code, error.task_id, error.retryable) == (TaskSendErrorCode.PAYLOAD_MISMATCH, first, False)
        unique = caller.do(shop.add.with_options(connection=connection, unique=REPLACE).send, 1).unwrap().task_id
        assert (
            caller.do(shop.add.with_options(connection=connection, unique=REPLACE).send, 2).unwrap().task_id == unique
        )
        rejected = shop.plain.with_options(connection=connection, unique=REJECT)
        waits = caller.do(rejected.send, name).unwrap().task_id
        error = failure(caller.do(rejected.send, name))
        assert (error.code, error.task_id, error.payload) == (TaskSendErrorCode.DUPLICATE, waits, None)
        assert find(db, "tasks", first) is None
    assert [row(db, "tasks", each)["args"] for each in (first, unique, waits)] == [
        f'{{"value":"{name}"}}'.encode(),
        b'{"a":2}',
        f'{{"value":"{name}"}}'.encode(),
    ]
    assert shop.plain.with_options(idempotency_key=name).send(name).unwrap().task_id == first
    shop.app.handle(unique).cancel().unwrap()


def test_a_rollback_frees_the_key_and_the_unique_task(caller: Caller, shop: Shop, db: Session, name: str) -> None:
    with caller.transaction() as connection:
        options = {"connection": connection, "idempotency_key": name, "unique": REJECT}
        undone = caller.do(shop.plain.with_options(**options).send, name).unwrap().task_id
        raise UndoneError
    assert scalar(db, "select count(*) from horsies.idempotency_keys where key = %s", name) == 0
    again = shop.plain.with_options(idempotency_key=name, unique=REJECT).send(name).unwrap().task_id
    assert again != undone
    assert find(db, "tasks", undone) is None


@pytest.mark.parametrize("is_undone", [False, True], ids=["commit", "rollback"])
def test_a_second_sender_waits_for_the_end(
    caller: Caller, shop: Shop, other: OtherSender, name: str, *, is_undone: bool
) -> None:
    """After a commit it gets the task, or is refused because of it. After a rollback its own task is sent."""
    for options in ({"idempotency_key": name}, {"unique": KEEP}, {"unique": REJECT}):
        with caller.transaction() as connection:
            first = caller.do(shop.plain.with_options(connection=connection, **options).send, name).unwrap().task_id
            second = other.send(shop.plain.with_options(**options), name)
            if is_undone:
                raise UndoneError
        answer = second.result(timeout=10)
        task_id = answer.err_value.task_id if isinstance(answer, Err) else answer.value.task_id
        assert (task_id == first) is not is_undone
        assert isinstance(answer, Err) is (not is_undone and options.get("unique") is REJECT)
        shop.app.handle(str(task_id)).cancel().unwrap()


def test_a_wait_for_another_transaction_is_bounded(
    caller: Caller, shop: Shop, db: Session, database_url: str, name: str
) -> None:
    """The transaction of the caller has failed then. Repeated after the other one has ended, it finds its task."""
    db.execute("alter function horsies.enqueue_once set lock_timeout = '50ms'")
    try:
        with psycopg.connect(database_url) as theirs:
            first = shop.plain.with_options(connection=theirs, idempotency_key=name).send(name).unwrap().task_id
            with caller.transaction() as connection:
                sender = shop.plain.with_options(connection=connection, idempotency_key=name)
                error = failure(caller.do(sender.send, name))
                raise UndoneError
            assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
            assert (error.task_id, error.payload) == (None, None)
            assert f"process {theirs.info.backend_pid} " in error.message
            assert name not in error.message
    finally:
        db.execute("alter function horsies.enqueue_once set lock_timeout = '5s'")
    with caller.transaction() as connection:
        sender = shop.plain.with_options(connection=connection, idempotency_key=name)
        assert caller.do(sender.send, name).unwrap().task_id == first


def test_bulk_sends(caller: Caller, shop: Shop, db: Session, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused item of a later batch undoes the keys of the earlier ones, and leaves those of the transaction alone."""
    for most in (100, 2):
        monkeypatch.setattr(batches, "MOST_TASKS", most)
        names = [f"{name}-{most}-{letter}" for letter in "abcba"]
        calls = [shop.plain.args(each).with_options(idempotency_key=each) for each in names]
        wrong = shop.plain.args("other").with_options(idempotency_key=names[0])
        with caller.transaction() as connection:
            kept = shop.plain.with_options(connection=connection, idempotency_key=names[0])
            first = caller.do(kept.send, names[0]).unwrap().task_id
            error = failure(caller.do(shop.app.send_many, [*calls, wrong], connection=connection))
            assert (error.code, error.item_index) == (TaskSendErrorCode.PAYLOAD_MISMATCH, 5)
            sent = caller.do(shop.app.send_many, calls[1:], connection=connection).unwrap()
        ids = [each.task_id for each in sent]
        assert [ids[2], ids[3]] == [ids[0], first]
        found = "select task_id::text from horsies.idempotency_keys where key like %s order by key"
        assert column(db, found, f"{name}-{most}-%") == [first, ids[0], ids[1]]
        assert {each for each in ids if find(db, "tasks", each)} == set(ids)


def test_another_isolation_level_is_refused(caller: Caller, shop: Shop, db: Session, name: str) -> None:
    """The transaction is unchanged. Sends over a connection of the pool do not depend on the default level."""
    database = f'alter database "{db.info.dbname}"'
    db.execute(f"{database} set default_transaction_isolation = 'repeatable read'".encode())
    try:
        with caller.transaction() as connection:
            for options in ({"idempotency_key": name}, {"unique": KEEP}):
                error = failure(caller.do(shop.plain.with_options(connection=connection, **options).send, name))
                assert error.code is TaskSendErrorCode.VALIDATION_FAILED
                assert "READ COMMITTED" in error.message
            many = [shop.plain.args(name).with_options(idempotency_key=name)]
            assert failure(caller.do(shop.app.send_many, many, connection=connection)).item_index is None
            kept = caller.do(shop.plain.with_options(connection=connection).send, name).unwrap().task_id
        assert shop.plain.with_options(idempotency_key=name).send(name).is_ok()
    finally:
        db.execute(f"{database} reset default_transaction_isolation".encode())
    assert find(db, "tasks", kept)
