"""Idempotency keys and unique tasks: what programs see of them, in both styles."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from horsies import Err, PostgresConfig, TaskSendError, TaskSendErrorCode, Unique
from horsies.producer import batches
from tests.producer import shop as shops
from tests.producer.conftest import NewShop
from tests.producer.shop import Do, Hand, Shop, task_id
from tests.support.proxy import Proxy
from tests.support.sessions import NOON, Session, column, freeze_clock, row, scalar
from tests.support.waiting import wait_until

BY_A = Unique(by=("a",))
REJECT = Unique(by=("a",), on_conflict="reject")
REPLACE = Unique(by=("a",), on_conflict="replace")
UNTIL_ENDED = Unique(until="ended", on_conflict="reject")
_WAITING = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def count(db: Session) -> int:
    return scalar(db, "select count(*) from horsies.tasks")


def failure(sent: Any) -> TaskSendError:
    assert isinstance(sent, Err)
    return sent.err_value


class TestKeys:
    """Sends with an idempotency key."""

    def test_a_second_send_returns_the_first_task(self, do: Do, shop: Shop, db: Session) -> None:
        keyed = shop.add.with_options(idempotency_key="order-1")
        first = task_id(do(keyed.send, 1, 2))
        assert task_id(do(keyed.send, 1, b=2)) == first
        assert task_id(do(keyed.schedule, 60, 1, 2)) == first
        assert task_id(do(shop.add.with_options(idempotency_key="order-1", priority=1).send, 1, 2)) == first
        assert count(db) == 1

    def test_other_arguments_are_a_mismatch(self, do: Do, shop: Shop, db: Session) -> None:
        keyed = shop.add.with_options(idempotency_key="order-1")
        first = task_id(do(keyed.send, 1))
        error = failure(do(keyed.send, 2))
        assert (error.code, error.task_id) == (TaskSendErrorCode.PAYLOAD_MISMATCH, str(first))
        assert not error.retryable
        assert "the idempotency key belongs to the task" in error.message
        assert count(db) == 1

    def test_each_task_has_its_own_keys(self, do: Do, shop: Shop) -> None:
        first = task_id(do(shop.add.with_options(idempotency_key="k").send, 1))
        assert task_id(do(shop.plain.with_options(idempotency_key="k").send, 1)) != first

    def test_the_result_of_an_ended_task_is_returned(self, do: Do, shop: Shop, hand: Hand) -> None:
        keyed = shop.plain.with_options(idempotency_key="k")
        hand.end(task_id(do(keyed.send, {"n": [1, 2.5, "é"]})))
        assert do(do(keyed.send, {"n": [1, 2.5, "é"]}).unwrap().get, 5_000).ok_value == 1

    @pytest.mark.parametrize("key", ["", "é" * 257, "a\0b", "\ud800", 5, b"k"])
    def test_an_invalid_key_is_refused(self, do: Do, shop: Shop, db: Session, key: Any) -> None:
        error = failure(do(shop.add.with_options(idempotency_key=key).send, 1))
        assert error.code is TaskSendErrorCode.VALIDATION_FAILED
        assert "idempotency_key must be a text of 1 to 512 bytes" in error.message
        assert count(db) == 0


class TestUnique:
    """Sends of unique tasks."""

    def test_keep_returns_the_live_task(self, do: Do, shop: Shop, db: Session) -> None:
        unique = shop.app.task("unique", unique=BY_A)(shops.add)
        first = task_id(do(unique.send, 1, 2))
        assert task_id(do(unique.send, 1, 3)) == first
        assert task_id(do(unique.send, 2, 3)) != first
        assert row(db, "tasks", first)["args"] == b'{"a":1,"b":2}'

    def test_reject_names_the_live_task(self, do: Do, shop: Shop, db: Session) -> None:
        unique = shop.app.task("unique", unique=REJECT)(shops.add)
        first = task_id(do(unique.send, 1))
        error = failure(do(unique.send, 1))
        assert (error.code, error.task_id, error.retryable) == (TaskSendErrorCode.DUPLICATE, str(first), False)
        assert error.message == f"the unique task unique waits already, as the task {first}"
        assert count(db) == 1

    def test_replace_changes_the_waiting_task(self, do: Do, shop: Shop, db: Session) -> None:
        freeze_clock(db)
        unique = shop.app.task("unique", unique=REPLACE)(shops.add)
        first = task_id(do(unique.schedule, 60, 1, 2))
        deadline = datetime(2040, 1, 1, tzinfo=UTC)
        assert task_id(do(unique.with_options(good_until=deadline, priority=5).schedule, 90, 1, 3)) == first
        found = row(db, "tasks", first)
        assert (found["args"], found["good_until"], found["priority"]) == (b'{"a":1,"b":3}', deadline, 5)
        assert found["run_at"] == NOON + timedelta(seconds=90)

    def test_until_ended_a_running_task_counts(self, do: Do, shop: Shop, hand: Hand) -> None:
        sender = shop.plain.with_options(unique=UNTIL_ENDED)
        first = task_id(do(sender.send, 1))
        hand.claim(first)
        error = failure(do(sender.send, 1))
        assert error.message == f"the unique task plain waits or runs already, as the task {first}"

    def test_nodes_of_workflows_and_reruns_are_exempt(self, do: Do, shop: Shop, db: Session) -> None:
        unique = shop.app.task("unique", unique=Unique(until="ended", on_conflict="reject"))(shops.add)
        first = task_id(do(unique.send, 1))
        nodes = [unique.node(node_id="left")(1), unique.node(node_id="right")(1)]
        assert shop.app.workflow("flow", nodes, definition_key="flow.v1").start().is_ok()
        assert count(db) == 3
        assert failure(do(unique.send, 1)).code is TaskSendErrorCode.DUPLICATE
        shop.app.handle(str(first)).cancel()
        assert do(unique.send, 1).is_ok()
        assert shop.app.rerun(str(first)).is_ok()
        assert count(db) == 4
        assert scalar(db, "select count(*) from horsies.tasks where holds_unique is not null") == 1

    def test_defaults_are_compared(self, do: Do, shop: Shop) -> None:
        sender = shop.add.with_options(unique=Unique())
        first = task_id(do(sender.send, 1))
        assert task_id(do(sender.send, 1, 2)) == first
        assert task_id(do(sender.send, 1, 3)) != first

    def test_the_option_of_a_send_replaces_that_of_the_task(self, do: Do, shop: Shop) -> None:
        unique = shop.app.task("unique", unique=BY_A)(shops.add)
        first = task_id(do(unique.send, 1))
        assert task_id(do(unique.with_options(unique=None).send, 1)) != first
        assert failure(do(unique.with_options(unique=REJECT).send, 1)).task_id == str(first)

    @pytest.mark.parametrize(
        ("unique", "problem"),
        [(Unique(by=("x",)), "'x', but the task has no such parameter"), ("a", "must be a Unique")],
    )
    def test_an_unsuitable_option_is_refused(self, do: Do, shop: Shop, unique: Any, problem: str) -> None:
        error = failure(do(shop.add.with_options(unique=unique).send, 1))
        assert error.code is TaskSendErrorCode.VALIDATION_FAILED
        assert problem in error.message

    @pytest.mark.parametrize("unique", [BY_A, REJECT, REPLACE, UNTIL_ENDED])
    def test_fifty_producers_at_once_make_one_task(self, shop: Shop, db: Session, unique: Unique) -> None:
        sender = shop.add.with_options(unique=unique)
        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(lambda _: sender.send(1), range(50)))
        (only,) = column(db, "select id from horsies.tasks")
        ids = {each.err_value.task_id if isinstance(each, Err) else each.value.task_id for each in answers}
        assert ids == {str(only)}

    def test_fifty_producers_with_one_key_get_one_handle(self, shop: Shop, db: Session) -> None:
        sender = shop.add.with_options(idempotency_key="k")
        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(lambda _: sender.send(1).unwrap().task_id, range(50)))
        assert set(answers) == {str(only) for only in column(db, "select id from horsies.tasks")}
        assert count(db) == 1


@pytest.fixture(params=[100, 2], ids=["one batch", "several batches"])
def _batch_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_TASKS", request.param)


def ids_of(sent: Any) -> list[UUID]:
    return [UUID(each.task_id) for each in sent.unwrap()]


@pytest.mark.usefixtures("_batch_size")
class TestBulk:
    """Keys and unique tasks in `send_many`."""

    def test_duplicates_act_in_the_order_of_the_items(self, do: Do, shop: Shop, db: Session) -> None:
        unique = shop.app.task("unique", unique=REPLACE)(shops.add)
        items = [
            shop.add.args(1),
            shop.add.args(1, 2).with_options(idempotency_key="k"),
            unique.args(1, 5),
            shop.add.args(1, b=2).with_options(idempotency_key="k", priority=1),
            unique.args(1, 6),
            unique.args(1, 7).with_options(unique=BY_A),
            unique.args(1, 8).with_options(unique=None),
        ]
        plain, keyed, first, again, replaced, kept, other = ids_of(do(shop.app.send_many, items))
        assert (again, replaced, kept) == (keyed, first, first)
        assert set(column(db, "select id from horsies.tasks")) == {plain, keyed, first, other}
        assert row(db, "tasks", first)["args"] == b'{"a":1,"b":6}'

    def test_they_agree_with_single_sends(self, do: Do, shop: Shop, db: Session) -> None:
        first = task_id(do(shop.add.with_options(idempotency_key="k").send, 1))
        second = task_id(do(shop.add.with_options(unique=BY_A).send, 3))
        items = [shop.add.args(2), shop.add.args(1).with_options(idempotency_key="k"), shop.add.args(3, 4)]
        handles = ids_of(do(shop.add.with_options(unique=BY_A).send_many, items))
        assert handles[1:] == [first, second]
        assert ids_of(do(shop.add.with_options(idempotency_key="k").send_many, [(1,), (1,)])) == [first, first]
        assert count(db) == 3

    def test_a_refusal_names_the_item_and_sends_nothing(self, do: Do, shop: Shop, db: Session) -> None:
        live = task_id(do(shop.add.with_options(unique=REJECT).send, 9))
        used = task_id(do(shop.add.with_options(idempotency_key="k").send, 8))
        items = [(1,), (2,), (3,), (9,), (4,)]
        error = failure(do(shop.add.with_options(unique=REJECT).send_many, items))
        assert (error.code, error.item_index, error.task_id) == (TaskSendErrorCode.DUPLICATE, 3, str(live))
        assert error.message == f"item 3: the unique task add waits already, as the task {live}"
        calls = [shop.add.args(1), shop.add.args(2), shop.add.args(7).with_options(idempotency_key="k")]
        error = failure(do(shop.app.send_many, calls))
        assert (error.code, error.item_index, error.task_id) == (TaskSendErrorCode.PAYLOAD_MISMATCH, 2, str(used))
        assert count(db) == 2

    @pytest.mark.parametrize("options", [{"idempotency_key": ""}, {"unique": Unique(by=("x",))}])
    def test_an_invalid_option_is_refused(self, do: Do, shop: Shop, db: Session, options: dict[str, Any]) -> None:
        error = failure(do(shop.app.send_many, [shop.add.args(1), shop.add.args(1).with_options(**options)]))
        assert (error.code, error.item_index) == (TaskSendErrorCode.VALIDATION_FAILED, 1)
        assert count(db) == 0

    def test_in_a_transaction_a_refusal_undoes_only_the_call(self, shop: Shop, db: Session, database_url: str) -> None:
        with psycopg.connect(database_url) as connection:
            sender = shop.add.with_options(connection=connection, unique=REJECT)
            kept = ids_of(sender.send_many([(1,), (2,), (3,)]))
            assert failure(sender.send_many([(4,), (5,), (6,), (3,)])).item_index == 3
            kept += ids_of(sender.send_many([(4,)]))
            assert count(db) == 0
        assert set(column(db, "select id from horsies.tasks")) == set(kept)


class TestInATransaction:
    """Sends over a connection of the caller."""

    @pytest.fixture
    def connection(self, database_url: str) -> Iterator[psycopg.Connection]:
        """Yield a connection of the caller."""
        with psycopg.connect(database_url) as connection:
            yield connection

    def test_they_are_part_of_the_transaction(self, shop: Shop, db: Session, connection: psycopg.Connection) -> None:
        sender = shop.add.with_options(connection=connection, idempotency_key="k", unique=REJECT)
        first = sender.send(1).unwrap().task_id
        assert sender.send(1).unwrap().task_id == first
        assert failure(shop.add.with_options(connection=connection, unique=REJECT).send(1)).task_id == first
        assert count(db) == 0
        connection.commit()
        assert count(db) == 1

    def test_another_isolation_level_is_refused_and_the_transaction_goes_on(
        self, shop: Shop, db: Session, connection: psycopg.Connection
    ) -> None:
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        error = failure(shop.add.with_options(connection=connection, idempotency_key="k").send(1))
        assert error.code is TaskSendErrorCode.VALIDATION_FAILED
        assert "READ COMMITTED" in error.message
        shop.add.with_options(connection=connection).send(1).unwrap()
        connection.commit()
        assert count(db) == 1


class TestWaits:
    """Sends that meet an open transaction."""

    def test_a_send_waits_for_the_transaction(self, do: Do, shop: Shop, db: Session, database_url: str) -> None:
        keyed = shop.add.with_options(idempotency_key="k")
        with psycopg.connect(database_url) as connection, ThreadPoolExecutor() as threads:
            first = shop.add.with_options(idempotency_key="k", connection=connection).send(1).unwrap()
            second = threads.submit(lambda: do(keyed.send, 1))
            wait_until(lambda: column(db, _WAITING))
            connection.commit()
        assert second.result().unwrap().task_id == first.task_id

    def test_a_wait_that_takes_too_long_is_retryable_and_names_the_process(
        self, do: Do, shop: Shop, db: Session, database_url: str
    ) -> None:
        db.execute("alter function horsies.enqueue_once set lock_timeout = '50ms'")
        keyed = shop.add.with_options(idempotency_key="k")
        with psycopg.connect(database_url) as connection:
            first = shop.add.with_options(idempotency_key="k", connection=connection).send(1).unwrap()
            error = failure(do(keyed.send, 1))
            assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
            assert f"process {connection.info.backend_pid} " in error.message
        assert do(shop.add.retry_send, error).unwrap().task_id == first.task_id


class TestReplays:
    """Repeated sends whose answer was lost."""

    @pytest.fixture
    def far_shop(self, new_shop: NewShop, proxy: Proxy, tcp_database_url: str) -> Iterator[Shop]:
        """Yield an app whose only connection leads through the proxy."""
        broker = PostgresConfig(
            database_url=proxy.url(tcp_database_url), pool_size=1, max_overflow=0, pool_timeout=0.3, pool_pre_ping=False
        )
        shop = new_shop(broker=broker)
        yield shop
        shop.app.close()

    def lose_answer(self, do: Do, shop: Shop, proxy: Proxy, sender: Any) -> TaskSendError:
        """Send a task, and lose the answer of the server."""
        handle = shop.add.handle("01a20a74-694d-77ef-bb11-70dc4b4506ab")
        wait_until(lambda: do(handle.info).is_ok())
        proxy.cut_after(0, "to client")
        return failure(do(sender.send, 1))

    @pytest.mark.parametrize("ends", [False, True])
    @pytest.mark.parametrize("options", [{"idempotency_key": "k"}, {"unique": REJECT}])
    def test_a_replay_returns_its_own_task(
        self, do: Do, far_shop: Shop, proxy: Proxy, hand: Hand, options: dict[str, Any], *, ends: bool
    ) -> None:
        error = self.lose_answer(do, far_shop, proxy, far_shop.add.with_options(**options))
        if ends:
            hand.end(UUID(error.task_id))
        assert do(far_shop.add.retry_send, error).unwrap().task_id == error.task_id

    def test_a_replay_of_a_replacement_returns_the_replaced_task(
        self, do: Do, far_shop: Shop, proxy: Proxy, hand: Hand, db: Session
    ) -> None:
        sender = far_shop.add.with_options(unique=REPLACE)
        first = task_id(do(sender.send, 1))
        error = self.lose_answer(do, far_shop, proxy, sender)
        hand.end(first)
        assert task_id(do(far_shop.add.retry_send, error)) == first
        assert count(db) == 0

    def test_a_bulk_send_is_replayed(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session) -> None:
        used = task_id(do(far_shop.add.with_options(idempotency_key="k").send, 1))
        proxy.cut_after(0, "to client")
        calls = [far_shop.add.args(1).with_options(idempotency_key=key) for key in ("k", "l", "l")]
        error = failure(do(far_shop.app.send_many, calls))
        first = ids_of(do(far_shop.app.retry_send_many, error))
        assert (first[0], first[1]) == (used, first[2])
        assert ids_of(do(far_shop.app.retry_send_many, error)) == first
        assert count(db) == 2
