"""Coroutines that send or fetch at the same time share transactions, and each of them gets its own answer."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

import pytest

from horsies import Ok, PostgresConfig, TaskHandle, TaskSendErrorCode, TaskSendResult
from horsies.producer import coalescing, pool
from tests.producer.conftest import NewShop, blocked, locked_out
from tests.producer.shop import Do, Hand, Shop, task_id
from tests.producer.test_frozen_server import frozen, idle
from tests.support.factories import done
from tests.support.pooler import counts_sessions
from tests.support.proxy import Proxy
from tests.support.sessions import Session, column, scalar
from tests.support.waiting import wait_until

TRANSACTIONS = "select count(distinct xmin::text) from horsies.tasks"
REFUSE = """
    create function pg_temp.refuse() returns trigger language plpgsql as $$
    begin
        raise exception 'seven is refused' using errcode = 'check_violation';
    end $$;
    create trigger refuse before insert on horsies.tasks for each row
    when (new.args ->> 'a' = '7') execute function pg_temp.refuse();
"""

type Sent = TaskSendResult[TaskHandle[int]]


@pytest.fixture
def do(db: Session) -> Generator[Do]:
    """Only coroutines share transactions."""
    assert db
    doing = Do("async")
    yield doing
    doing.close()


async def send_all(shop: Shop, count: int) -> list[Sent]:
    return await asyncio.gather(*(shop.add.send_async(n) for n in range(count)))


async def open_two(shop: Shop) -> None:
    """Send three tasks, so that the schema is checked and two connections are open."""
    await shop.add.send_async(0)
    await send_all(shop, 2)
    assert len(idle(shop, "async")) == 2


@contextmanager
def refusing_seven(db: Session) -> Generator[None]:
    """Make the database refuse the task with the argument 7."""
    db.execute(REFUSE.encode())
    try:
        yield
    finally:
        db.execute(b"drop trigger refuse on horsies.tasks")


def test_concurrent_sends_share_transactions(do: Do, shop: Shop, db: Session) -> None:
    do.run(open_two(shop))
    db.execute(b"truncate horsies.tasks")
    sent = do.run(send_all(shop, 100))
    stored = dict(
        zip(column(db, "select id from horsies.tasks"), column(db, "select args from horsies.tasks"), strict=True)
    )
    assert [stored[task_id(each)] for each in sent] == [b'{"a":%d}' % number for number in range(100)]
    assert scalar(db, TRANSACTIONS) == 2, "the first send, and all that came meanwhile"


def test_a_batch_has_a_largest_size(do: Do, shop: Shop, db: Session) -> None:
    do.run(send_all(shop, 2 * coalescing.MAX_BATCH + 1))
    assert scalar(db, "select max(count) from (select count(*) from horsies.tasks group by xmin::text) as counts") == (
        coalescing.MAX_BATCH
    )


def test_large_arguments_are_sent_alone(do: Do, shop: Shop, db: Session) -> None:
    async def send_large() -> None:
        sends = (shop.plain.send_async("x" * 20_000) for _ in range(5))
        assert all(each.is_ok() for each in await asyncio.gather(*sends))

    do.run(send_large())
    assert scalar(db, TRANSACTIONS) == 5


def test_a_failing_send_fails_alone(do: Do, shop: Shop, db: Session) -> None:
    with refusing_seven(db):
        sent = do.run(send_all(shop, 20))
    failed = sent.pop(7).unwrap_err()
    assert (failed.code, failed.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, False)
    assert "seven is refused" in failed.message
    assert set(column(db, "select id from horsies.tasks")) == {task_id(each) for each in sent}


def test_a_lost_connection_gives_every_send_an_error_to_replay(
    do: Do, new_shop: NewShop, proxy: Proxy, tcp_database_url: str, db: Session
) -> None:
    broker = PostgresConfig(database_url=proxy.url(tcp_database_url), pool_pre_ping=False)
    shop = new_shop(broker=broker)
    do.run(open_two(shop))

    async def lose_answers() -> list[Sent]:
        with locked_out(db):
            sends = asyncio.create_task(send_all(shop, 20))
            await asyncio.to_thread(wait_until, lambda: blocked(db) == 2)
            proxy.cut()
        return await sends

    errors = [each.unwrap_err() for each in do.run(lose_answers())]
    assert {(error.code, error.retryable) for error in errors} == {(TaskSendErrorCode.ENQUEUE_FAILED, True)}
    for error in errors:
        assert do(shop.add.retry_send, error).unwrap().task_id == error.task_id
    assert scalar(db, "select count(*) from horsies.tasks") == 23


def test_a_cancelled_sender_leaves_the_others_alone(do: Do, shop: Shop, db: Session) -> None:
    async def cancel_some() -> list[Sent | BaseException]:
        await open_two(shop)
        with locked_out(db):
            sends = [asyncio.create_task(shop.add.send_async(n)) for n in range(12)]
            await asyncio.sleep(0)
            sends[3].cancel()  # it waits in the queue
            await asyncio.to_thread(wait_until, lambda: blocked(db) == 2)
            sends[5].cancel()  # its batch has been sent
            await asyncio.wait([sends[5]])
        return await asyncio.gather(*sends, return_exceptions=True)

    sent = do.run(cancel_some())
    accepted = {task_id(each) for each in sent if isinstance(each, Ok)}
    assert [number for number, each in enumerate(sent) if isinstance(each, asyncio.CancelledError)] == [3, 5]
    assert len(accepted) == 10
    stored = column(db, "select id from horsies.tasks")
    assert accepted < set(stored)
    assert len(stored) == 3 + 11, "the send that was cancelled in the queue was not made"


@counts_sessions
def test_stuck_connections_hold_up_no_later_send(
    do: Do, shop: Shop, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_PING_AFTER_IDLE_S", 1_000.0)

    async def send_past_stuck_ones() -> None:
        await open_two(shop)
        stuck = [connection.info.backend_pid for connection in idle(shop, "async")]
        with frozen(stuck):
            held = asyncio.create_task(send_all(shop, 2))
            async with asyncio.timeout(10):
                while idle(shop, "async"):  # noqa: ASYNC110 - not until both are under way
                    await asyncio.sleep(0)
            assert (await shop.add.send_async(3)).is_ok()
            assert not held.done()
        assert all(each.is_ok() for each in await held)

    do.run(send_past_stuck_ones())


def test_an_event_loop_can_end_while_sends_wait(shop: Shop, db: Session) -> None:
    async def leave() -> None:
        await open_two(shop)
        with locked_out(db):
            await leave_waiting()

    async def leave_waiting() -> None:
        sends = [asyncio.create_task(shop.add.send_async(n)) for n in range(20)]
        await asyncio.to_thread(wait_until, lambda: blocked(db) == 2)
        assert not any(send.done() for send in sends)

    asyncio.run(leave())
    assert asyncio.run(shop.add.send_async(1)).is_ok()


def test_concurrent_fetches_get_their_own_outcomes(do: Do, shop: Shop, hand: Hand) -> None:
    sent = [each.unwrap() for each in do.run(send_all(shop, 30))]
    fences = hand.worker.claim(100)
    assert set(hand.worker.finish(*(done(fence) for fence in fences))) == {"accepted"}

    async def get_all() -> list[int]:
        unknown = shop.add.handle(str(UUID(int=1)))
        *outcomes, missing = await asyncio.gather(*(handle.get_async() for handle in [*sent, unknown]))
        assert missing.is_err()
        return [each.ok_value for each in outcomes]

    assert do.run(get_all()) == [1] * 30
