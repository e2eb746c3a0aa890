"""A `send_many` whose answer was lost can be replayed: each task exists once, whenever the connection broke."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from horsies import BulkSendPayload, Ok, PostgresConfig, TaskHandle, TaskSendError, TaskSendErrorCode, TaskSendResult
from horsies.producer import batches, bulk
from horsies.producer.bulk import ids_of
from tests.producer.conftest import NewShop, connections
from tests.producer.shop import Do, Hand, Shop
from tests.support.proxy import Proxy
from tests.support.sessions import Session
from tests.support.waiting import wait_until

COUNT = 5
SEEN = """
    select count(*)::int, count(distinct id)::int from
    (select id from horsies.tasks union all select id from horsies.history) as every
"""


def count(db: Session) -> int:
    """All tasks, live or ended, of which none may be there twice."""
    rows, ids = db.execute(SEEN.encode()).fetchone() or (0, 0)
    assert rows == ids
    return rows


def far_broker(proxy: Proxy, url: str) -> PostgresConfig:
    return PostgresConfig(
        database_url=proxy.url(url), pool_size=1, max_overflow=0, pool_timeout=0.3, pool_pre_ping=False
    )


@pytest.fixture
def far_shop(new_shop: NewShop, proxy: Proxy, tcp_database_url: str) -> Iterator[Shop]:
    """An app whose only connection leads through the proxy."""
    shop = new_shop(broker=far_broker(proxy, tcp_database_url))
    yield shop
    shop.app.close()


@pytest.fixture(params=[100, 2], ids=["one batch", "several batches"])
def batch_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(batches, "MOST_TASKS", request.param)
    return request.param


def connect(do: Do, shop: Shop) -> None:
    """Have an open connection in the pool."""
    handle = shop.add.handle("01a20a74-694d-77ef-bb11-70dc4b4506ab")
    wait_until(lambda: do(handle.info).is_ok())


def items(proxy: Proxy | None = None, offset: int = 0) -> Iterator[tuple[int]]:
    """Yield arguments. After the last of them, arrange the loss of what the server sends from an offset on."""
    for number in range(COUNT):
        yield (number,)
    if proxy is not None:
        proxy.cut_after(offset, "to client")


def send_cut(do: Do, shop: Shop, proxy: Proxy, offset: int) -> TaskSendResult[list[TaskHandle[int]]]:
    """Send, and lose the connection after ``offset`` bytes of the server's reply to the last batch."""
    connect(do, shop)
    return do(shop.add.send_many, items(proxy, offset))


def lose_answer(do: Do, shop: Shop, proxy: Proxy, db: Session) -> TaskSendError:
    """Send, and lose the answer to the commit. The answer to the batch before may be sent after the last item is read."""
    for offset in range(0, 1_000, 6):
        error = send_cut(do, shop, proxy, offset).unwrap_err()
        wait_until(lambda: not connections(db), describe="the end of the session")
        if count(db):
            return error
    pytest.fail("nothing was committed")


def payload_of(error: TaskSendError) -> BulkSendPayload:
    assert isinstance(error.payload, BulkSendPayload)
    return error.payload


@pytest.mark.usefixtures("batch_size")
class TestLostAnswers:
    """The connection is lost around the commit."""

    def test_cut_off_anywhere(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session) -> None:
        for turn, offset in enumerate(range(0 if do.style == "sync" else 3, 10_000, 6), 1):
            sent = send_cut(do, far_shop, proxy, offset)
            if isinstance(sent, Ok):
                assert offset > 40, "the answer of the server is longer than that"
                assert count(db) == turn * COUNT
                return
            error = sent.error
            assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True), offset
            ids = [str(each) for batch in payload_of(error).batches for each in ids_of(batch)]
            assert [each.task_id for each in do(far_shop.add.retry_send_many, error).unwrap()] == ids
            assert count(db) == turn * COUNT

    def test_of_tasks_that_have_ended(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session, hand: Hand) -> None:
        error = lose_answer(do, far_shop, proxy, db)
        for batch in payload_of(error).batches:
            hand.end(ids_of(batch)[-1], notice=False)
        for _ in range(2):
            handles = do(far_shop.add.retry_send_many, error).unwrap()
            assert do(handles[-1].get, timeout_ms=0).ok_value == 1
            assert count(db) == COUNT

    def test_replayed_by_many_at_once(
        self, do: Do, far_shop: Shop, new_shop: NewShop, proxy: Proxy, db: Session
    ) -> None:
        error = send_cut(do, far_shop, proxy, 0).unwrap_err()
        near = new_shop()
        with ThreadPoolExecutor(8) as threads:
            sent = list(threads.map(near.add.retry_send_many, [error] * 16))
        assert all(each.is_ok() for each in sent)
        assert count(db) == COUNT

    def test_a_send_that_never_arrived(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session) -> None:
        connect(do, far_shop)
        proxy.refuse()
        proxy.cut()
        error = do(far_shop.add.send_many, items()).unwrap_err()
        assert do(far_shop.add.retry_send_many, error).unwrap_err().payload == error.payload
        assert count(db) == 0
        proxy.accept()
        wait_until(lambda: do(far_shop.add.retry_send_many, error).is_ok())
        assert count(db) == COUNT

    def test_resending_by_itself(
        self, do: Do, new_shop: NewShop, proxy: Proxy, tcp_database_url: str, db: Session
    ) -> None:
        shop = new_shop(broker=far_broker(proxy, tcp_database_url), resend_on_transient_err=True)
        assert len(send_cut(do, shop, proxy, 0).unwrap()) == COUNT
        assert count(db) == COUNT
        connect(do, shop)
        proxy.cut()
        assert len(do(shop.add.send_many, items()).unwrap()) == COUNT
        assert count(db) == 2 * COUNT

    def test_calls_of_different_tasks(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session, hand: Hand) -> None:
        connect(do, far_shop)
        calls = [far_shop.add.args(1), far_shop.greet.args("Ada"), far_shop.add.args(2), far_shop.greet.args("Bob")]
        proxy.cut_after(0, "to client")
        error = do(far_shop.app.send_many, calls).unwrap_err()
        assert "add, greet" in do(far_shop.order.retry_send_many, error).unwrap_err().message
        handles = wait_until(lambda: do(far_shop.app.retry_send_many, error).ok_value)
        hand.end(ids_of(payload_of(error).batches[0])[0])
        assert do(handles[0].get, timeout_ms=0).ok_value == 1
        assert count(db) == len(calls)


class TestRefusals:
    """What cannot be replayed, and why."""

    @pytest.fixture
    def error(self, do: Do, far_shop: Shop, proxy: Proxy) -> TaskSendError:
        return send_cut(do, far_shop, proxy, 0).unwrap_err()

    def test_other_codes_and_kinds(self, do: Do, shop: Shop, error: TaskSendError) -> None:
        for code in set(TaskSendErrorCode) - {TaskSendErrorCode.ENQUEUE_FAILED}:
            refused = do(shop.add.retry_send_many, replace(error, code=code)).unwrap_err()
            assert refused.code is TaskSendErrorCode.VALIDATION_FAILED
            assert code in refused.message
        assert "has none" in do(shop.add.retry_send_many, replace(error, payload=None)).unwrap_err().message
        assert "use retry_send_many" in do(shop.add.retry_send, error).unwrap_err().message
        assert "not from greet" in do(shop.greet.retry_send_many, error).unwrap_err().message

    def test_an_error_of_a_single_send(self, do: Do, far_shop: Shop, proxy: Proxy) -> None:
        connect(do, far_shop)
        proxy.cut_after(0, "to client")
        error = do(far_shop.add.send, 1).unwrap_err()
        assert "use retry_send" in do(far_shop.add.retry_send_many, error).unwrap_err().message

    def test_another_payload(self, do: Do, shop: Shop, error: TaskSendError, db: Session) -> None:
        payload = payload_of(error)
        [batch] = payload.batches
        changed = [replace(batch, args=batch.args.replace(b"1", b"9")), replace(batch, fingerprints=bytes(32 * COUNT))]
        for each in (changed[:1], changed[1:], [batch, batch]):
            refused = do(shop.add.retry_send_many, replace(error, payload=replace(payload, batches=tuple(each))))
            assert refused.unwrap_err().code is TaskSendErrorCode.PAYLOAD_MISMATCH
        assert count(db) == COUNT

    def test_an_id_that_belongs_to_another_request(self, do: Do, shop: Shop, error: TaskSendError, db: Session) -> None:
        taken = ids_of(payload_of(error).batches[0])[3]
        db.execute("delete from horsies.tasks where id < %s", (taken,))
        db.execute("update horsies.tasks set fingerprint = 'x' where id = %s", (taken,))
        refused = do(shop.add.retry_send_many, error).unwrap_err()
        assert (refused.code, refused.retryable) == (TaskSendErrorCode.PAYLOAD_MISMATCH, False)
        assert (refused.item_index, refused.task_id) == (3, str(taken))
        assert count(db) == 2, "the replay is rolled back"


@pytest.mark.usefixtures("batch_size")
class TestLargeSends:
    """Sends that are too large to be kept."""

    @pytest.fixture(autouse=True)
    def small_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk, "MOST_BYTES_KEPT", 300)

    def test_they_cannot_be_replayed(self, do: Do, far_shop: Shop, proxy: Proxy, db: Session) -> None:
        error = lose_answer(do, far_shop, proxy, db)
        assert (error.code, error.retryable, error.payload) == (TaskSendErrorCode.ENQUEUE_FAILED, False, None)
        assert "it is unknown whether they were sent" in error.message
        assert count(db) == COUNT

    def test_what_has_not_arrived_may_be_sent_again(self, do: Do, far_shop: Shop, db: Session) -> None:
        connect(do, far_shop)
        db.execute("alter table horsies.tasks add constraint nothing_plain check (task_name <> 'plain')")
        many = [("x" * 100,)] * COUNT
        error = do(far_shop.plain.send_many, many).unwrap_err()
        assert (error.payload, "none of them was sent" in error.message) == (None, True)
        assert count(db) == 0


def test_the_real_limit_is_16_megabytes(do: Do, far_shop: Shop, proxy: Proxy) -> None:
    connect(do, far_shop)
    for size, is_kept in ((15, True), (17, False)):
        proxy.refuse()
        proxy.cut()
        error = do(far_shop.plain.send_many, (("x" * 1_000_000,) for _ in range(size))).unwrap_err()
        assert (error.payload is not None) is is_kept
        assert ("16 MB" in error.message) is not is_kept
