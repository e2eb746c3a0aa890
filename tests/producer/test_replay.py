"""A send whose answer was lost can be replayed: one task comes of it, whenever the connection broke."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from horsies import Err, Ok, PostgresConfig, TaskHandle, TaskSendError, TaskSendErrorCode, TaskSendResult
from tests.producer.conftest import NewShop
from tests.producer.shop import Do, Hand, Shop, task_id
from tests.support.factories import failed
from tests.support.proxy import Proxy
from tests.support.sessions import Session, row, scalar
from tests.support.waiting import wait_until

OFFSETS = {"sync": range(0, 10_000, 4), "async": range(1, 10_000, 4)}


def count(db: Session) -> int:
    """All tasks, live or ended."""
    return scalar(db, "select (select count(*) from horsies.tasks) + (select count(*) from horsies.history)")


@pytest.fixture
def far_shop(new_shop: NewShop, proxy: Proxy, tcp_database_url: str) -> Iterator[Shop]:
    """An app whose only connection leads through the proxy."""
    broker = PostgresConfig(
        database_url=proxy.url(tcp_database_url), pool_size=1, max_overflow=0, pool_timeout=0.3, pool_pre_ping=False
    )
    shop = new_shop(broker=broker)
    yield shop
    shop.app.close()


def connect(do: Do, shop: Shop) -> None:
    """Have an open connection in the pool."""
    handle = shop.add.handle("01a20a74-694d-77ef-bb11-70dc4b4506ab")
    wait_until(lambda: do(handle.info).is_ok())


def send_cut(do: Do, shop: Shop, proxy: Proxy, offset: int) -> TaskSendResult[TaskHandle[int]]:
    """Send, and lose the connection after ``offset`` bytes of the server's reply."""
    connect(do, shop)
    proxy.cut_after(offset, "to client")
    return do(shop.add.send, offset)


def lose_answer(do: Do, shop: Shop, proxy: Proxy) -> TaskSendError:
    """A send that the server accepted, and of which the client does not know that."""
    return send_cut(do, shop, proxy, 0).unwrap_err()


class TestLostAnswers:
    """The first send was committed."""

    def test_cut_off_anywhere(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session) -> None:
        for turn, offset in enumerate(OFFSETS[do.style], 1):
            sent = send_cut(do, far_shop, proxy, offset)
            if isinstance(sent, Ok):
                assert offset > 40, "the answer of the server is longer than that"
                assert count(db) == turn
                return
            error = sent.error
            assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True), offset
            assert do(far_shop.add.retry_send, error).unwrap().task_id == error.task_id
            assert scalar(db, "select count(*) from horsies.tasks where id = %s", error.task_id) == 1

    def test_of_a_schedule(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session) -> None:
        connect(do, far_shop)
        proxy.cut_after(0, "to client")
        error = do(far_shop.add.schedule, 60, 1).unwrap_err()
        run_at = row(db, "tasks", error.task_id)["run_at"]
        assert do(far_shop.add.retry_schedule, error).unwrap().task_id == error.task_id
        assert row(db, "tasks", error.task_id)["run_at"] == run_at
        assert count(db) == 1

    def test_of_a_task_that_has_ended(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session, hand: Hand) -> None:
        error = lose_answer(do, far_shop, proxy)
        assert error.payload is not None
        hand.end(error.payload.request.task_id, notice=False)
        for _ in range(2):
            handle = do(far_shop.add.retry_send, error).unwrap()
            assert handle.task_id == error.task_id
            assert do(handle.get, timeout_ms=0).ok_value == 1
        assert (count(db), scalar(db, "select count(*) from horsies.tasks")) == (1, 0)

    def test_of_a_task_that_runs_or_waits_for_its_retry(
        self, do: Do, far_shop: Shop, proxy: Proxy, db: Session, hand: Hand
    ) -> None:
        connect(do, far_shop)
        proxy.cut_after(0, "to client")
        error = do(far_shop.retried.send, 1).unwrap_err()
        assert error.payload is not None
        fence = hand.claim(error.payload.request.task_id)
        assert do(far_shop.retried.retry_send, error).unwrap().task_id == error.task_id
        assert row(db, "tasks", error.task_id)["status"] == "RUNNING"
        assert hand.worker.finish(failed(fence)) == ["accepted"]
        assert do(far_shop.retried.retry_send, error).unwrap().task_id == error.task_id
        assert row(db, "tasks", error.task_id)["attempt"] == 1
        assert count(db) == 1

    def test_replayed_by_many_at_once(self, far_shop: Shop, new_shop: NewShop, proxy: Proxy, db: Session) -> None:
        error = lose_answer(Do("sync"), far_shop, proxy)
        near = new_shop()
        with ThreadPoolExecutor(16) as threads:
            sent = list(threads.map(near.add.retry_send, [error] * 64))
        assert {str(task_id(each)) for each in sent} == {error.task_id}
        assert count(db) == 1

    def test_replayed_once_more_when_the_answer_of_the_replay_is_lost(
        self, do: Do, far_shop: Shop, proxy: Proxy, db: Session
    ) -> None:
        error = lose_answer(do, far_shop, proxy)
        connect(do, far_shop)
        proxy.cut_after(0, "to client")
        second = do(far_shop.add.retry_send, error).unwrap_err()
        assert (second.task_id, second.payload, second.retryable) == (error.task_id, error.payload, True)
        assert do(far_shop.add.retry_send, second).is_ok()
        assert count(db) == 1


def test_a_send_that_never_arrived(do: Do, far_shop: Shop, proxy: Proxy, db: Session) -> None:
    connect(do, far_shop)
    proxy.refuse()
    proxy.cut()
    error = do(far_shop.add.send, 1).unwrap_err()
    assert error.retryable
    assert isinstance(do(far_shop.add.retry_send, error), Err)
    assert count(db) == 0
    proxy.accept()
    wait_until(lambda: do(far_shop.add.retry_send, error).is_ok())
    assert row(db, "tasks", error.task_id)["args"] == b'{"a":1}'
    assert count(db) == 1


def test_resending_by_itself(do: Do, new_shop: NewShop, proxy: Proxy, tcp_database_url: str, db: Session) -> None:
    url = proxy.url(tcp_database_url)
    broker = PostgresConfig(database_url=url, pool_size=1, max_overflow=0, pool_timeout=0.1, pool_pre_ping=False)
    shop = new_shop(broker=broker, resend_on_transient_err=True)
    connect(do, shop)
    proxy.refuse()
    proxy.cut()
    assert do(shop.add.send, 1).unwrap_err().retryable
    proxy.accept()
    wait_until(lambda: do(shop.add.send, 2).is_ok())
    before = count(db)
    proxy.cut_after(0, "to client")
    assert do(shop.add.send, 3).is_ok()
    assert count(db) == before + 1


class TestRefusals:
    """What cannot be replayed, and why."""

    @pytest.fixture
    def error(self, do: Do, far_shop: Shop, proxy: Proxy) -> TaskSendError:
        return lose_answer(do, far_shop, proxy)

    def test_other_codes(self, do: Do, shop: Shop, error: TaskSendError) -> None:
        for code in set(TaskSendErrorCode) - {TaskSendErrorCode.ENQUEUE_FAILED}:
            refused = do(shop.add.retry_send, replace(error, code=code)).unwrap_err()
            assert refused.code is TaskSendErrorCode.VALIDATION_FAILED
            assert code in refused.message
        refused = do(shop.add.retry_send, replace(error, payload=None)).unwrap_err()
        assert refused.code is TaskSendErrorCode.VALIDATION_FAILED

    def test_the_other_kind(self, do: Do, shop: Shop, error: TaskSendError) -> None:
        refused = do(shop.add.retry_schedule, error).unwrap_err()
        assert (refused.code, refused.retryable) == (TaskSendErrorCode.VALIDATION_FAILED, False)
        assert "use retry_send" in refused.message
        assert error.payload is not None
        scheduled = replace(error, payload=replace(error.payload, kind="schedule"))
        assert "use retry_schedule" in do(shop.add.retry_send, scheduled).unwrap_err().message

    def test_another_task(self, do: Do, shop: Shop, error: TaskSendError) -> None:
        refused = do(shop.greet.retry_send, error).unwrap_err()
        assert refused.code is TaskSendErrorCode.VALIDATION_FAILED
        assert ("add" in refused.message, "greet" in refused.message) == (True, True)

    def test_another_payload(self, do: Do, shop: Shop, error: TaskSendError, db: Session) -> None:
        assert error.payload is not None
        for change in ({"args": b'{"a":9}'}, {"priority": 1}, {"delay": 1.0}, {"timeout_ms": 100}):
            request = replace(error.payload.request, **change)
            refused = do(shop.add.retry_send, replace(error, payload=replace(error.payload, request=request)))
            assert refused.unwrap_err().code is TaskSendErrorCode.PAYLOAD_MISMATCH, change
            assert refused.unwrap_err().task_id == error.task_id
        assert count(db) == 1

    def test_an_id_that_belongs_to_another_request(
        self, do: Do, shop: Shop, error: TaskSendError, db: Session, hand: Hand
    ) -> None:
        assert error.payload is not None
        db.execute("update horsies.tasks set fingerprint = 'x'")
        for _ in ("live", "ended"):
            refused = do(shop.add.retry_send, error).unwrap_err()
            assert (refused.code, refused.retryable) == (TaskSendErrorCode.PAYLOAD_MISMATCH, False)
            assert count(db) == 1
            if scalar(db, "select count(*) from horsies.tasks"):
                hand.end(error.payload.request.task_id, notice=False)
