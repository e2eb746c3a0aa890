"""Sends that are accepted, and those that are refused before they leave the process."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from horsies import (
    AppConfig,
    CustomQueueConfig,
    Err,
    Horsies,
    Ok,
    PostgresConfig,
    QueueMode,
    TaskSendErrorCode,
    TaskSendOptions,
)
from horsies.producer.suppression import sends_suppressed
from tests.producer import shop as shops
from tests.producer.shop import Do, Shop, task_id
from tests.support.sessions import NOON, NotificationListener, Session, freeze_clock, row, scalar

if TYPE_CHECKING:
    from collections.abc import Callable


def count(db: Session) -> int:
    return scalar(db, "select count(*) from horsies.tasks")


class TestAccepted:
    """What stands in the row of an accepted task."""

    def test_the_row(self, do: Do, shop: Shop, db: Session) -> None:
        freeze_clock(db)
        sent = do(shop.add.send, 5, b=3)
        assert isinstance(sent, Ok)
        found = row(db, "tasks", sent.value.task_id)
        expected = {
            "task_name": "add",
            "queue": "default",
            "priority": 100,
            "args": b'{"a":5,"b":3}',
            "status": "PENDING",
            "run_at": NOON,
            "sent_at": NOON,
            "good_until": None,
            "attempt": 0,
            "retry_policy": None,
            "timeout_ms": None,
            "worker_id": None,
            "idempotency_key": None,
        }
        assert {name: found[name] for name in expected} == expected
        assert UUID(sent.value.task_id).version == 7

    def test_only_what_is_passed_is_stored(self, do: Do, shop: Shop, db: Session) -> None:
        assert row(db, "tasks", task_id(do(shop.add.send, 5)))["args"] == b'{"a":5}'

    def test_an_async_task_is_sent_like_any_other(self, do: Do, shop: Shop, db: Session) -> None:
        assert row(db, "tasks", task_id(do(shop.greet.send, "Zoë")))["args"] == '{"name":"Zoë"}'.encode()

    def test_policy_and_timeout_go_with_the_task(self, do: Do, shop: Shop, db: Session) -> None:
        assert row(db, "tasks", task_id(do(shop.order.send, "paper")))["timeout_ms"] == 5_000
        policy = shop.retried.definition.retry_policy
        assert policy is not None
        assert row(db, "tasks", task_id(do(shop.retried.send, 1)))["retry_policy"] == policy.to_json()

    def test_schedule(self, do: Do, shop: Shop, db: Session) -> None:
        freeze_clock(db)
        for delay in (0, 90, 0.25):
            found = row(db, "tasks", task_id(do(shop.add.schedule, delay, 1, 2)))
            assert (found["sent_at"], found["run_at"]) == (NOON, NOON + timedelta(seconds=delay))

    def test_options(self, do: Do, shop: Shop, db: Session) -> None:
        freeze_clock(db)
        deadline = datetime(2031, 5, 7, tzinfo=UTC)
        sender = shop.add.with_options(good_until=deadline, delay=60, priority=3)
        found = row(db, "tasks", task_id(do(sender.send, 1)))
        assert (found["good_until"], found["run_at"], found["priority"]) == (deadline, NOON + timedelta(minutes=1), 3)
        scheduled = row(db, "tasks", task_id(do(sender.schedule, 5, 1)))
        assert (scheduled["run_at"], scheduled["priority"]) == (NOON + timedelta(seconds=5), 3)

    def test_options_belong_to_their_sender(self, do: Do, shop: Shop, db: Session) -> None:
        shop.add.with_options(priority=3)
        assert row(db, "tasks", task_id(do(shop.add.send, 1)))["priority"] == 100

    def test_the_queue_and_its_priority(self, do: Do, database_url: str, db: Session) -> None:
        config = AppConfig(
            broker=PostgresConfig(database_url=database_url),
            queue_mode=QueueMode.CUSTOM,
            custom_queues=[CustomQueueConfig(name="mail", priority=7, max_concurrency=None)],
        )
        app = Horsies(config)
        found = row(db, "tasks", task_id(do(app.task("add", queue_name="mail")(shops.add).send, 1)))
        assert (found["queue"], found["priority"]) == ("mail", 7)
        do(app.close)

    def test_workers_are_notified(self, do: Do, shop: Shop, db: Session) -> None:
        listener = NotificationListener(db, "wake")
        do(shop.add.send, 1).unwrap()
        assert listener.heard() == [""]

    def test_every_send_is_another_task_in_the_order_sent(self, do: Do, shop: Shop, db: Session) -> None:
        ids = [task_id(do(shop.add.send, 1)) for _ in range(20)]
        assert ids == sorted(set(ids))
        assert count(db) == 20

    def test_another_schema(self, do: Do, database_url: str, db: Session) -> None:
        app = Horsies(AppConfig(broker=PostgresConfig(database_url=database_url, schema='Jobs "2"')))
        sent = do(app.task("add")(shops.add).send, 1)
        stored = scalar(db, 'select count(*) from "Jobs ""2""".tasks where id = %s', task_id(sent))
        assert (stored, count(db)) == (1, 0)
        do(app.close)


class TestRefused:
    """What never reaches the database."""

    def test_what_does_not_fit_is_named(self, do: Do, shop: Shop, db: Session) -> None:
        add, greet, plain = shop.add, shop.greet, shop.plain
        refused: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
            ("a", add.send, ()),
            ("a", add.send, ("5",)),
            ("a", add.send, (5.0,)),
            ("a", add.send, (True,)),
            ("b", add.send, (1, None)),
            ("takes 2", add.send, (1, 2, 3)),
            ("name", greet.send, (b"bytes",)),
            ("name", greet.send, ("\ud800",)),
            ("value", plain.send, (float("nan"),)),
            ("value[1]", plain.send, ([1, float("inf")],)),
            ("value", plain.send, ({"when": object()},)),
            ("value", plain.send, ((1, 2),)),
            ("delay", add.schedule, (-1, 1)),
            ("delay", add.schedule, ("60", 1)),
            ("delay", add.schedule, (float("nan"), 1)),
            ("delay", add.schedule, (float("inf"), 1)),
            ("delay", add.schedule, (True, 1)),
            ("delay", add.with_options(delay=1e300).send, (1,)),
            ("good_until", add.with_options(good_until=NOON.replace(tzinfo=None)).send, (1,)),
            ("good_until", add.with_options(good_until=cast("Any", 60)).send, (1,)),
            ("priority", add.with_options(priority=0).send, (1,)),
            ("priority", add.with_options(priority=101).send, (1,)),
            ("priority", add.with_options(priority=True).send, (1,)),
        ]
        for named, method, args in refused:
            error = do(method, *args).unwrap_err()
            assert error.code is TaskSendErrorCode.VALIDATION_FAILED, args
            assert named in error.message, args
            assert (error.retryable, error.task_id, error.payload) == (False, None, None)
        assert count(db) == 0

    def test_unknown_and_doubled_arguments(self, do: Do, shop: Shop) -> None:
        send: Any = shop.add.send
        for kwargs in ({"a": 1, "c": 2}, {"b": 1}):
            error = do(send, **kwargs).unwrap_err()
            assert error.code is TaskSendErrorCode.VALIDATION_FAILED
            assert "'c'" in error.message or "'a'" in error.message
        assert "'a'" in do(send, 1, a=1).unwrap_err().message

    def test_a_send_while_task_modules_are_imported(self, do: Do, shop: Shop, db: Session) -> None:
        with sends_suppressed():
            error = do(shop.add.send, 1).unwrap_err()
            scheduled = do(shop.add.schedule, 1, 1)
        assert error.code is TaskSendErrorCode.SEND_SUPPRESSED
        assert "add" in error.message
        assert (error.retryable, error.task_id, error.payload) == (False, None, None)
        assert isinstance(scheduled, Err)
        assert count(db) == 0
        assert do(shop.add.send, 1).is_ok()

    def test_a_program_without_a_database_can_check_arguments(self, do: Do) -> None:
        away = Shop(PostgresConfig(database_url="postgresql://nowhere.invalid/jobs"))
        assert do(away.greet.send, "\ud800").unwrap_err().code is TaskSendErrorCode.VALIDATION_FAILED


def test_options_are_data() -> None:
    assert TaskSendOptions() == TaskSendOptions(good_until=None, delay=0.0, priority=None)
