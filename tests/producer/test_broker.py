"""The broker object: information about tasks and workers, and the recovery of dead workers."""

import asyncio
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import pytest

from horsies import Broker, BrokerErrorCode, OutcomeCode, PostgresConfig, TaskStatus
from tests.producer.conftest import NewShop
from tests.producer.shop import Do, Hand, Shop
from tests.support.factories import HOSTNAME, PID, done, expire, prefetch
from tests.support.sessions import NOON, Session, freeze_clock, move_clock

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"
MINUTE = timedelta(minutes=1)


class Await(Protocol):
    """Runs a coroutine on the test's event loop."""

    def __call__[R](self, asked: Coroutine[Any, Any, R], /) -> R: ...


@pytest.fixture
def get(db: Session) -> Iterator[Await]:
    """Yield a function that awaits on one event loop."""
    assert db
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def broker(shop: Shop) -> Broker:
    return shop.app.get_broker()


def test_one_task(do: Do, shop: Shop, broker: Broker, hand: Hand) -> None:
    handle = do(shop.add.send, 1).unwrap()
    hand.end(UUID(handle.task_id))
    assert do(broker.get_result, handle.task_id).ok_value == 1
    asked = {"include_result": True, "include_failed_reason": True, "include_attempts": True}
    assert do(broker.get_task_info, handle.task_id) == do(handle.info)
    assert do(broker.get_task_info, handle.task_id, **asked) == do(handle.info, **asked)
    assert do(broker.get_task_info, NOBODY).unwrap() is None


def test_stale_tasks_fail_on_request(get: Await, shop: Shop, broker: Broker, db: Session, hand: Hand) -> None:
    freeze_clock(db)
    handle = shop.add.send(1).unwrap()
    fence = hand.claim(UUID(handle.task_id))
    hand.worker.heartbeat()
    move_clock(db, 119)
    assert get(broker.get_stale_tasks()).unwrap() == []
    move_clock(db, 2)
    [stale] = get(broker.get_stale_tasks()).unwrap()
    assert (stale.task_id, stale.status, stale.worker_hostname) == (handle.task_id, TaskStatus.RUNNING, HOSTNAME)
    assert get(broker.get_stale_tasks(stale_threshold_minutes=3)).unwrap() == []
    assert get(broker.mark_stale_tasks_as_failed()).unwrap() == 0
    assert get(broker.mark_stale_tasks_as_failed(stale_threshold_ms=120_000)).unwrap() == 1
    assert handle.get().err_value.error_code == "WORKER_CRASHED"
    assert hand.worker.finish(done(fence)) == ["stale"]


def test_claims_of_silent_workers_return_to_the_queue(
    get: Await, shop: Shop, broker: Broker, db: Session, hand: Hand
) -> None:
    freeze_clock(db)
    handle = shop.add.send(1).unwrap()
    prefetch(db, hand.claim(UUID(handle.task_id)))
    hand.worker.heartbeat()
    move_clock(db, 60)
    assert get(broker.requeue_stale_claimed()).unwrap() == 0
    assert get(broker.requeue_stale_claimed(stale_threshold_ms=59_000)).unwrap() == 1
    info = handle.info().unwrap()
    assert info is not None
    assert info.status is TaskStatus.PENDING


def test_expired_tasks(get: Await, shop: Shop, broker: Broker, db: Session) -> None:
    freeze_clock(db)
    handles = [shop.add.with_options(good_until=NOON + minutes * MINUTE).send(1).unwrap() for minutes in (1, 2)]
    assert get(broker.get_expired_tasks()).unwrap() == []
    move_clock(db, 60)
    expire(db)
    move_clock(db, 60)
    late, ended = get(broker.get_expired_tasks()).unwrap()
    assert [ended.task_id, late.task_id] == [handle.task_id for handle in handles]
    assert (ended.status, ended.error_code) == (TaskStatus.EXPIRED, OutcomeCode.TASK_EXPIRED)
    assert (late.status, late.good_until) == (TaskStatus.PENDING, NOON + 2 * MINUTE)


def test_workers(get: Await, shop: Shop, broker: Broker, hand: Hand) -> None:
    handle = shop.add.send(1).unwrap()
    hand.claim(UUID(handle.task_id))
    hand.worker.heartbeat(-0.12345)
    [worker] = get(broker.get_worker_stats()).unwrap()
    assert (worker.worker_id, worker.clock_skew_s) == (str(hand.worker.id), -0.123)
    assert (worker.hostname, worker.pid, worker.running, worker.claimed) == (HOSTNAME, PID, 1, 0)
    assert worker.queues == ("default",)
    assert (worker.is_stale, worker.started_at.utcoffset()) == (False, timedelta(0))


def test_ping(get: Await, broker: Broker) -> None:
    assert get(broker.ping()).unwrap() > 0


def test_a_ping_that_no_worker_answers(get: Await, broker: Broker, hand: Hand) -> None:
    hand.worker.heartbeat(0)
    assert broker.ping_workers(timeout_ms=0).unwrap() == []
    assert get(broker.ping_workers_async(2, timeout_ms=150)).unwrap() == []


@pytest.mark.parametrize(
    ("options", "named"), [({"min_responses": 0}, "min_responses"), ({"timeout_ms": 0.5}, "timeout_ms")]
)
def test_a_ping_with_wrong_arguments(get: Await, broker: Broker, options: dict[str, Any], named: str) -> None:
    for answer in (broker.ping_workers(**options), get(broker.ping_workers_async(**options))):
        assert answer.err_value.message.startswith(f"{named} must be a whole number of at least ")


def test_an_unreachable_database(get: Await, new_shop: NewShop) -> None:
    broker = new_shop(broker=PostgresConfig(database_url="postgresql://me@127.0.0.1:1/jobs")).app.get_broker()
    watching = (broker.get_stale_tasks, broker.get_expired_tasks, broker.get_worker_stats, broker.ping)
    cleaning = (broker.mark_stale_tasks_as_failed, broker.requeue_stale_claimed)
    for code, methods in (
        (BrokerErrorCode.MONITORING_QUERY_FAILED, watching),
        (BrokerErrorCode.CLEANUP_FAILED, cleaning),
    ):
        for method in methods:
            error = get(method()).unwrap_err()
            assert (error.code, error.retryable) == (code, True)
            assert "refused" in error.message
