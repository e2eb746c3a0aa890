"""`send_many`: many tasks in one transaction, all of them or none."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text

from horsies import PostgresConfig, TaskSendErrorCode
from horsies.producer import batches
from horsies.producer.suppression import sends_suppressed
from tests.producer.conftest import NewShop, blocked, connections
from tests.producer.shop import Do, Hand, Shop
from tests.support.sessions import NOON, NotificationListener, Session, column, freeze_clock, row, scalar
from tests.support.waiting import wait_until

ROWS = "select count(*) from horsies.tasks"
COUNT_STATEMENTS = """
    create table statements (transaction bigint);
    create function count_statement() returns trigger language plpgsql as $$
    begin
        insert into public.statements values (txid_current());
        return null;
    end $$;
    create trigger count_statement after insert on horsies.tasks for each statement execute function count_statement();
"""
ARGS = "select args::text from horsies.tasks order by id"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Limit batches to three tasks."""
    monkeypatch.setattr(batches, "MOST_TASKS", 3)
    return 3


class BrokenInputError(Exception):
    """Raised by an input."""


def broken_after(count: int) -> Iterator[tuple[int]]:
    for number in range(count):
        yield (number,)
    raise BrokenInputError


async def numbers(count: int) -> AsyncIterator[tuple[int]]:
    for number in range(count):
        yield (number,)


class InBothWays:
    """An iterable that is also an asynchronous one, as a query set of Django is."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[tuple[int]]:
        return ((number,) for number in range(self._count))

    async def __aiter__(self) -> AsyncIterator[tuple[int]]:
        for number in range(self._count):
            yield (100 + number,)


class _Next:
    """An iterator of either kind, which is not iterable itself."""

    def __init__(self, count: int) -> None:
        self._left = iter(range(count))

    def __next__(self) -> tuple[int]:
        return (next(self._left),)

    async def __anext__(self) -> tuple[int]:
        for number in self._left:
            return (number,)
        raise StopAsyncIteration


class Bare:
    """Iterates with an iterator that is not iterable."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Any:
        return _Next(self._count)


class AsyncBare:
    """Iterates asynchronously with an iterator that is not iterable."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __aiter__(self) -> Any:
        return _Next(self._count)


class TestAccepted:
    """The tasks of an accepted input."""

    def test_items_of_every_form_in_their_order(self, do: Do, shop: Shop, db: Session) -> None:
        items = [(1,), {"a": 2, "b": 3}, shop.add.args(4, b=5), (6, 7)]
        handles = do(shop.add.send_many, items).unwrap()
        assert column(db, ARGS) == ['{"a":1}', '{"a":2,"b":3}', '{"a":4,"b":5}', '{"a":6,"b":7}']
        assert column(db, "select id::text from horsies.tasks order by id") == [each.task_id for each in handles]

    def test_the_rows_are_those_of_single_sends(self, do: Do, shop: Shop, db: Session) -> None:
        freeze_clock(db)
        deadline = datetime(2031, 5, 7, tzinfo=UTC)
        sender = shop.retried.with_options(good_until=deadline, delay=60, priority=3)
        [many] = do(sender.send_many, [(1, 2)]).unwrap()
        one = do(sender.send, 1, 2).unwrap()
        found, expected = row(db, "tasks", many.task_id), row(db, "tasks", one.task_id)
        assert {**found, "id": None} == {**expected, "id": None}

    def test_handles_have_the_type_of_the_task(self, do: Do, shop: Shop, hand: Hand) -> None:
        [handle] = do(shop.add.send_many, [(1, 2)]).unwrap()
        assert handle._id is not None
        hand.end(handle._id)
        assert do(handle.get, timeout_ms=0).ok_value == 1

    def test_options_of_items_take_precedence(self, do: Do, shop: Shop, db: Session) -> None:
        freeze_clock(db)
        items = [
            (1,),
            shop.add.args(2).with_options(delay=5),
            shop.add.args(3).with_options(priority=None, good_until=NOON),
            shop.add.with_options(delay=7).args(4),
            shop.add.args(5).with_options(delay=5).with_options(priority=1),
        ]
        do(shop.add.with_options(priority=9, delay=1).send_many, items).unwrap()
        due = column(db, "select run_at from horsies.tasks order by id")
        assert due == [NOON + timedelta(seconds=seconds) for seconds in (1, 5, 1, 7, 5)]
        assert column(db, "select priority from horsies.tasks order by id") == [9, 9, 100, 9, 1]
        assert column(db, "select good_until from horsies.tasks order by id") == [None, None, NOON, None, None]

    def test_calls_of_different_tasks(self, do: Do, shop: Shop, db: Session) -> None:
        calls = [shop.add.args(1), shop.order.args("pen", count=2), shop.greet.args("Ada"), shop.add.args(2)]
        do(shop.app.send_many, calls).unwrap()
        names = column(db, "select task_name from horsies.tasks order by id")
        assert names == ["add", "order", "greet", "add"]
        assert column(db, "select timeout_ms from horsies.tasks order by id") == [None, 5_000, None, None]

    def test_several_batches(self, do: Do, shop: Shop, db: Session, small: int) -> None:
        listener = NotificationListener(db, "wake")
        for count in (small - 1, small, small + 1, 3 * small, 10):
            db.execute("delete from horsies.tasks")
            handles = do(shop.add.send_many, ((number,) for number in range(count))).unwrap()
            assert column(db, ARGS) == [f'{{"a":{number}}}' for number in range(count)]
            assert column(db, "select id::text from horsies.tasks order by id") == [each.task_id for each in handles]
            assert scalar(db, "select count(distinct xmin::text) from horsies.tasks") == 1
            assert listener.heard() == [""]

    def test_batches_are_limited_by_size(
        self, do: Do, shop: Shop, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "MOST_BYTES", 100)
        texts = ["x" * length for length in (10, 300, 50, 20, 80, 1, 1)]
        do(shop.plain.send_many, [(text,) for text in texts]).unwrap()
        assert column(db, ARGS) == [f'{{"value":"{text}"}}' for text in texts]

    def test_the_real_limit(self, do: Do, shop: Shop, db: Session) -> None:
        handles = do(shop.add.send_many, ((number,) for number in range(10_001))).unwrap()
        assert (scalar(db, ROWS), len({each.task_id for each in handles})) == (10_001, 10_001)

    def test_an_empty_input_does_not_touch_the_database(self, do: Do) -> None:
        away = Shop(PostgresConfig(database_url="postgresql://nowhere.invalid/jobs"))
        nothing: list[Any] = []
        assert do(away.add.send_many, nothing).unwrap() == []
        assert do(away.app.send_many, iter(nothing)).unwrap() == []

    def test_no_transaction_is_open_before_the_first_batch_is_full(self, do: Do, shop: Shop, db: Session) -> None:
        do(shop.add.send, 1).unwrap()
        states: list[str] = []

        def watched() -> Iterator[tuple[int]]:
            for number in range(3):
                yield (number,)
                states.extend(column(db, "select state from pg_stat_activity where pid = any(%s)", connections(db)))

        do(shop.add.send_many, watched()).unwrap()
        assert set(states) == {"idle"}

    def test_an_input_may_send(self, do: Do, shop: Shop, db: Session, small: int) -> None:
        def sending() -> Iterator[tuple[int]]:
            for number in range(small + 2):
                shop.plain.send(number).unwrap()
                yield (number,)

        do(shop.add.send_many, sending()).unwrap()
        assert scalar(db, ROWS) == 2 * (small + 2)

    def test_the_input_is_read_while_the_server_inserts(
        self, do: Do, shop: Shop, db: Session, small: int, database_url: str
    ) -> None:
        """The first batch waits for a lock that is released when a later item is read."""
        with psycopg.connect(database_url) as other:
            other.execute("lock table horsies.tasks in share mode")

            def items() -> Iterator[tuple[int]]:
                for number in range(3 * small):
                    if number == small + 1:
                        wait_until(lambda: blocked(db), describe="the first batch to wait")
                        other.rollback()
                    yield (number,)

            handles = do(shop.add.send_many, items()).unwrap()
        assert column(db, "select id::text from horsies.tasks order by id") == [each.task_id for each in handles]

    def test_long_lists_are_sent_in_small_batches(self, do: Do, shop: Shop, db: Session) -> None:
        """Calls with keys are all in one batch, in which keys are sorted."""
        db.execute(COUNT_STATEMENTS.encode())
        plain = [(number,) for number in range(2_500)]
        assert len(do(shop.add.send_many, plain).unwrap()) == 2_500
        assert scalar(db, "select count(*) from statements") == 3
        keyed = [shop.add.args(number).with_options(idempotency_key=f"k{number}") for number in range(1_500)]
        assert len(do(shop.app.send_many, keyed).unwrap()) == 1_500
        assert scalar(db, "select count(distinct transaction) from statements") == 2
        assert scalar(db, ROWS) == 4_000

    def test_an_asynchronous_input(self, shop: Shop, db: Session, small: int) -> None:
        aio = Do("async")
        aio.run(shop.add.send_many_async(numbers(2 * small + 1))).unwrap()
        aio.run(shop.app.send_many_async(shop.add.args(*item) async for item in numbers(1))).unwrap()
        aio.close()
        assert scalar(db, ROWS) == 2 * small + 2

    def test_an_input_that_can_be_iterated_in_both_ways(self, do: Do, shop: Shop, db: Session, small: int) -> None:
        do(shop.add.send_many, InBothWays(2 * small)).unwrap()
        first = {"sync": 0, "async": 100}[do.style]
        assert column(db, ARGS) == [f'{{"a":{first + number}}}' for number in range(2 * small)]

    def test_iterators_that_are_not_iterable(self, shop: Shop, db: Session, small: int) -> None:
        shop.add.send_many(Bare(2 * small)).unwrap()
        aio = Do("async")
        aio.run(shop.add.send_many_async(Bare(1))).unwrap()
        aio.run(shop.add.send_many_async(AsyncBare(2 * small))).unwrap()
        aio.close()
        assert scalar(db, ROWS) == 4 * small + 1

    def test_rows_of_sqlalchemy(self, do: Do, shop: Shop, db: Session, database_url: str) -> None:
        """They behave like tuples, but are none."""
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database_url))
        with engine.connect() as connection:
            query = text("select n as a, n * 2 as b from generate_series(1, 2) as n")
            rows: Any = connection.execute(query)
            do(shop.add.send_many, rows).unwrap()
            do(shop.add.send_many, connection.execute(query).mappings().all()).unwrap()
        engine.dispose()
        assert column(db, ARGS) == ['{"a":1,"b":2}', '{"a":2,"b":4}'] * 2


class TestRefused:
    """An item that cannot be sent, after which nothing is sent."""

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            (("5",), "item 5: a: expected int"),
            ((), "item 5: add() is missing the argument 'a'"),
            ((1, 2, 3), "item 5: add() takes 2 positional arguments, got 3"),
            ({"c": 1}, "item 5: add() got an unexpected argument 'c'"),
            ({1: 2}, "item 5: add() got an unexpected argument 1"),
            (5, "item 5: expected a tuple of positional arguments, a dict of keyword arguments or add.args(…)"),
            ([1], "item 5: expected a tuple"),
            (None, "item 5: expected a tuple"),
        ],
    )
    @pytest.mark.usefixtures("small")
    def test_it_is_named(self, do: Do, shop: Shop, db: Session, item: Any, said: str) -> None:
        items = [*((number,) for number in range(5)), item]
        error = do(shop.add.send_many, items).unwrap_err()
        assert (error.code, error.item_index) == (TaskSendErrorCode.VALIDATION_FAILED, 5)
        assert said in error.message
        assert (error.retryable, error.task_id, error.payload) == (False, None, None)
        assert scalar(db, ROWS) == 0
        assert do(shop.add.send, 1).is_ok()

    def test_calls_that_do_not_belong(self, do: Do, shop: Shop, new_shop: NewShop, db: Session) -> None:
        foreign: Any = [shop.greet.args("Ada")]
        assert "app.send_many" in do(shop.add.send_many, foreign).unwrap_err().message
        theirs = [shop.add.args(1), new_shop().add.args(1)]
        error = do(shop.app.send_many, theirs).unwrap_err()
        assert (error.item_index, "belongs to another app" in error.message) == (1, True)
        plain: Any = [(1,)]
        assert "task.args(…)" in do(shop.app.send_many, plain).unwrap_err().message
        own = [shop.add.with_options(connection=object()).args(1)]
        assert "connection=" in do(shop.add.send_many, own).unwrap_err().message
        assert scalar(db, ROWS) == 0

    def test_options(self, do: Do, shop: Shop, db: Session) -> None:
        error = do(shop.add.send_many, [(1,), shop.add.args(1).with_options(priority=101)]).unwrap_err()
        assert (error.item_index, "priority" in error.message) == (1, True)
        error = do(shop.add.with_options(delay=-1).send_many, [(1,)]).unwrap_err()
        assert (error.item_index, "delay" in error.message) == (None, True)
        assert scalar(db, ROWS) == 0

    def test_the_log_does_not_show_the_items(self, do: Do, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        wrong: Any = ["4111 1111"]
        for send_many in (shop.add.send_many, shop.app.send_many):
            assert "4111 1111" in do(send_many, wrong).unwrap_err().message
        many: Any = 41111111
        assert "41111111" in do(shop.add.send_many, many).unwrap_err().message
        assert caplog.text.count("task.send_failed") == 3
        assert "4111" not in caplog.text

    @pytest.mark.parametrize("items", [None, 5, object()])
    def test_an_input_that_is_not_iterable(self, do: Do, shop: Shop, items: Any) -> None:
        error = do(shop.add.send_many, items).unwrap_err()
        assert error.code is TaskSendErrorCode.VALIDATION_FAILED
        assert "iterable" in error.message

    def test_an_asynchronous_input_needs_the_asynchronous_method(self, shop: Shop) -> None:
        items: Any = numbers(1)
        assert "send_many_async" in shop.add.send_many(items).unwrap_err().message

    def test_a_send_while_task_modules_are_imported(self, do: Do, shop: Shop, db: Session) -> None:
        read: list[int] = []
        with sends_suppressed():
            error = do(shop.add.send_many, ((read.append(1) or 1,) for _ in range(1))).unwrap_err()
            several = do(shop.app.send_many, [shop.add.args(1)]).unwrap_err()
        assert {error.code, several.code} == {TaskSendErrorCode.SEND_SUPPRESSED}
        assert (read, scalar(db, ROWS)) == ([], 0)


class TestBrokenInputs:
    """An exception of the input propagates, and nothing is sent."""

    @pytest.mark.parametrize("count", [0, 2, 3, 4, 7])
    def test_everything_is_rolled_back(self, do: Do, shop: Shop, db: Session, small: int, count: int) -> None:
        assert small == 3
        with pytest.raises(BrokenInputError):
            do(shop.add.send_many, broken_after(count))
        states = column(db, "select state from pg_stat_activity where pid = any(%s)", connections(db))
        assert set(states) <= {"idle"}
        assert scalar(db, ROWS) == 0
        assert do(shop.add.send, 1).is_ok()

    def test_of_an_asynchronous_input(self, shop: Shop, db: Session, small: int) -> None:
        async def broken() -> AsyncIterator[tuple[int]]:
            for item in broken_after(small + 1):
                yield item

        aio = Do("async")
        with pytest.raises(BrokenInputError):
            aio.run(shop.add.send_many_async(broken()))
        aio.close()
        assert scalar(db, ROWS) == 0

    def test_a_transaction_that_is_lost_between_batches(self, do: Do, shop: Shop, db: Session, small: int) -> None:
        mine = "datname = current_database() and state = 'idle in transaction' and pid <> pg_backend_pid()"
        terminated = f"select pg_terminate_backend(pid) from pg_stat_activity where {mine}"

        def interrupted() -> Iterator[tuple[int]]:
            for number in range(2 * small):
                yield (number,)
                if number == small:
                    wait_until(lambda: column(db, terminated), describe="the first batch to be inserted")

        error = do(shop.add.send_many, interrupted()).unwrap_err()
        assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
        assert scalar(db, ROWS) == 0
        assert len(do(shop.add.retry_send_many, error).unwrap()) == 2 * small
        assert column(db, ARGS) == [f'{{"a":{number}}}' for number in range(2 * small)]
