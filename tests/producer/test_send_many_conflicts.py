"""`send_many` that meets other transactions, and inputs that end in unusual ways."""

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Barrier
from typing import Any

import psycopg
import pytest

from horsies import Err, PostgresConfig, TaskHandle, TaskSendError, TaskSendErrorCode, TaskSendResult
from horsies.producer import batches
from tests.producer.conftest import NewShop, connections
from tests.producer.shop import Do, Shop
from tests.support.pooler import counts_sessions
from tests.support.sessions import Session, column, scalar
from tests.support.waiting import wait_until

type Sent = TaskSendResult[list[TaskHandle[Any]]]

COUNT = "select count(*) from horsies.tasks"
FAIL_ONCE = """
    create sequence attempts;
    create function fail_once() returns trigger language plpgsql as $$
    begin
        if nextval('public.attempts') = 1 then
            raise exception 'could not serialize access' using errcode = '40001';
        end if;
        return null;
    end $$;
    create trigger fail_once after insert on horsies.tasks for each statement execute function fail_once();
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Limit batches to two tasks."""
    monkeypatch.setattr(batches, "MOST_TASKS", 2)
    return 2


@pytest.fixture(params=[100, 2], ids=["one batch", "several batches"])
def batch_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(batches, "MOST_TASKS", request.param)
    return request.param


def failure(sent: Sent) -> TaskSendError:
    assert isinstance(sent, Err)
    return sent.err_value


def ids(sent: Sent) -> list[str]:
    return [each.task_id for each in sent.unwrap()]


def keyed(shop: Shop, *keys: str) -> Iterator[Any]:
    """Yield one call for each key, with the key as its argument."""
    return (shop.plain.args(key).with_options(idempotency_key=key) for key in keys)


def waiting(db: Session) -> list[int]:
    """Return the backends of the database that wait for a lock."""
    asked = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return column(db, asked)


def find_deadlocks_within(db: Session, timeout: str) -> None:
    """Set how long later sessions of the database wait before they look for a deadlock."""
    db.execute(f"alter database \"{db.info.dbname}\" set deadlock_timeout = '{timeout}'".encode())


class TestDeadlocks:
    """A transaction that has the keys of later items waits for the keys of earlier items."""

    def conflict(self, do: Do, shop: Shop, db: Session, url: str, *, is_undone: bool) -> tuple[Sent, list[str]]:
        """Send the keys a, b, c and d while another transaction sends d, then a.

        Return what was sent, and the ids of the tasks of the other transaction.
        """
        find_deadlocks_within(db, "10ms")
        with ThreadPoolExecutor() as threads, psycopg.connect(url) as connection:
            connection.execute("set deadlock_timeout = '1h'")  # the bulk send is the one that fails

            def send_theirs(key: str) -> str:
                sender = shop.plain.with_options(connection=connection, idempotency_key=key)
                return sender.send(key).unwrap().task_id

            def send_a() -> str:
                task_id = send_theirs("a")
                (connection.rollback if is_undone else connection.commit)()
                return task_id

            def items() -> Iterator[Any]:
                calls = list(keyed(shop, "a", "b", "c", "d"))
                yield from calls[:3]
                futures.append(threads.submit(send_a))
                wait_until(lambda: waiting(db))
                yield calls[3]

            futures: list[Any] = []
            last = send_theirs("d")
            sent = do(shop.app.send_many, items())
            return sent, [futures[0].result(), last]

    @pytest.mark.usefixtures("small")
    @pytest.mark.parametrize("is_undone", [False, True])
    def test_all_batches_are_replayed(
        self, do: Do, shop: Shop, db: Session, database_url: str, *, is_undone: bool
    ) -> None:
        sent, theirs = self.conflict(do, shop, db, database_url, is_undone=is_undone)
        found = ids(sent)
        assert ([found[0], found[3]] == theirs) is not is_undone
        assert scalar(db, COUNT) == 4
        assert sorted(map(str, column(db, "select id from horsies.tasks"))) == sorted(found)
        assert column(db, "select task_id::text from horsies.idempotency_keys order by key") == found

    def test_two_sends_with_the_same_keys_in_opposite_order(
        self, new_shop: NewShop, do: Do, db: Session, batch_size: int
    ) -> None:
        """Of several batches, both senders have the keys of their first batch before either sends the second."""
        assert batch_size in {2, 100}
        find_deadlocks_within(db, "20ms")
        both = Barrier(2, timeout=10)

        def send(order: str) -> dict[str, str]:
            shop, own = new_shop(), Do(do.style)

            def items() -> Iterator[Any]:
                for place, call in enumerate(keyed(shop, *order)):
                    if place == 3:
                        both.wait()
                    yield call

            found = dict(zip(order, ids(own(shop.app.send_many, items())), strict=True))
            own(shop.app.close)
            own.close()
            return found

        with ThreadPoolExecutor() as threads:
            forwards, backwards = threads.map(send, ("abcdef", "fedcba"))
        assert forwards == backwards
        assert sorted(forwards.values()) == sorted(map(str, column(db, "select id from horsies.tasks")))


class TestOtherFailures:
    """A wait that takes too long, and a serialization failure."""

    @pytest.mark.usefixtures("batch_size")
    @counts_sessions
    def test_a_wait_that_is_too_long_is_repeated_once(self, do: Do, shop: Shop, db: Session, database_url: str) -> None:
        db.execute("alter function horsies.enqueue_once set lock_timeout = '1s'")
        with psycopg.connect(database_url) as connection, ThreadPoolExecutor() as threads:
            theirs = shop.plain.with_options(connection=connection, idempotency_key="c").send("c").unwrap()
            sent = threads.submit(do, shop.app.send_many, keyed(shop, "a", "b", "c"))
            wait_until(lambda: waiting(db))
            first = set(connections(db))
            wait_until(lambda: not first & set(connections(db)) and waiting(db))
            connection.commit()
            assert ids(sent.result())[2] == theirs.task_id
        assert scalar(db, COUNT) == 3

    @pytest.mark.usefixtures("batch_size")
    def test_then_it_is_a_retryable_error(self, do: Do, shop: Shop, db: Session, database_url: str) -> None:
        db.execute("alter function horsies.enqueue_once set lock_timeout = '50ms'")
        with psycopg.connect(database_url) as connection:
            theirs = shop.plain.with_options(connection=connection, idempotency_key="c").send("c").unwrap()
            error = failure(do(shop.app.send_many, keyed(shop, "a", "b", "c", "d")))
            assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
            assert f"process {connection.info.backend_pid} " in error.message
            assert scalar(db, COUNT) == 0
        again = ids(do(shop.app.retry_send_many, error))
        assert again[2] == theirs.task_id
        assert column(db, "select task_id::text from horsies.idempotency_keys order by key") == again

    @pytest.mark.usefixtures("batch_size")
    def test_a_serialization_failure_is_replayed_where_configured(self, do: Do, new_shop: NewShop, db: Session) -> None:
        db.execute(FAIL_ONCE.encode())
        for resends, has_keys in product([True, False], [True, False]):
            db.execute("truncate horsies.tasks, horsies.idempotency_keys")
            db.execute("alter sequence attempts restart")
            shop = new_shop(resend_on_transient_err=resends)
            calls = list(keyed(shop, "a", "b", "c")) if has_keys else [shop.plain.args(each) for each in "abc"]
            sent = do(shop.app.send_many, calls)
            if not resends:
                error = failure(sent)
                assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
                assert scalar(db, COUNT) == 0
                sent = do(shop.app.retry_send_many, error)
            assert sorted(map(str, column(db, "select id from horsies.tasks"))) == sorted(ids(sent))
            do(shop.app.close)


def test_an_asynchronous_input_with_keys(shop: Shop, db: Session, batch_size: int) -> None:
    assert batch_size in {2, 100}
    aio = Do("async")

    async def items() -> AsyncIterator[Any]:
        for call in keyed(shop, "a", "b", "a", "c", "b"):
            yield call

    first = ids(aio.run(shop.app.send_many_async(items())))
    assert (first[0], first[1]) == (first[2], first[4])
    assert ids(aio.run(shop.app.send_many_async(items()))) == first
    assert scalar(db, COUNT) == 3
    aio.close()


class EndError(BaseException):
    """An exception that is not an `Exception`."""


class Interrupted:
    """An iterator that raises an exception after its items. A generator could not raise GeneratorExit."""

    def __init__(self, shop: Shop, exception: type[BaseException], *, has_keys: bool) -> None:
        self._left = keyed(shop, *"abcde") if has_keys else (shop.plain.args(each) for each in "abcde")
        self._exception = exception

    def __iter__(self) -> "Interrupted":
        return self

    def __next__(self) -> Any:
        for item in self._left:
            return item
        raise self._exception


class AsyncInterrupted:
    """The same as an asynchronous iterator."""

    def __init__(self, source: Interrupted) -> None:
        self._source = source

    def __aiter__(self) -> "AsyncInterrupted":
        return self

    async def __anext__(self) -> Any:
        return next(self._source)


@pytest.mark.usefixtures("batch_size")
class TestInterruptedInputs:
    """An exception of any kind that the input raises propagates. Nothing is sent, and the connection is reused."""

    EXCEPTIONS = (ValueError, GeneratorExit, KeyboardInterrupt, EndError)

    @pytest.fixture
    def shop(self, new_shop: NewShop, database_url: str) -> Shop:
        """Return an app with one connection."""
        return new_shop(broker=PostgresConfig(database_url=database_url, pool_size=1, max_overflow=0, pool_timeout=1))

    def check(self, shop: Shop, db: Session, send_many: Callable[[Interrupted], object], before: list[int]) -> None:
        for exception, has_keys in product(self.EXCEPTIONS, [True, False]):
            with pytest.raises(exception):
                send_many(Interrupted(shop, exception, has_keys=has_keys))
            assert scalar(db, COUNT) == 1
            assert scalar(db, "select count(*) from horsies.idempotency_keys") == 0
            assert connections(db) == before
            assert column(db, "select state from pg_stat_activity where pid = any(%s)", before) == ["idle"]

    def test_over_a_connection_of_the_pool(self, do: Do, shop: Shop, db: Session) -> None:
        do(shop.plain.send, "before").unwrap()
        self.check(shop, db, lambda items: do(shop.app.send_many, items), connections(db))

    def test_of_an_asynchronous_iterator(self, shop: Shop, db: Session) -> None:
        aio = Do("async")
        aio.run(shop.plain.send_async("before")).unwrap()
        send_many = shop.app.send_many_async
        self.check(shop, db, lambda items: aio.run(send_many(AsyncInterrupted(items))), connections(db))
        aio.close()

    def test_over_a_connection_of_the_caller(self, shop: Shop, db: Session, database_url: str) -> None:
        with psycopg.connect(database_url) as connection:
            kept = shop.plain.with_options(connection=connection).send("before").unwrap()
            for exception, has_keys in product(self.EXCEPTIONS, [True, False]):
                with pytest.raises(exception):
                    shop.app.send_many(Interrupted(shop, exception, has_keys=has_keys), connection=connection)
        assert column(db, "select id::text from horsies.tasks") == [kept.task_id]
        assert scalar(db, "select count(*) from horsies.idempotency_keys") == 0
