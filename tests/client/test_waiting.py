"""Waiting: by notices over one connection, and whatever becomes of that connection."""

import asyncio
import os
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from horsies import PostgresConfig, RetrievalCode, TaskError, TaskHandle, TaskResult
from horsies.client import waiting
from horsies.client.waiting import Waiters
from horsies.config import WorkerResilienceConfig
from horsies.db import calls_worker
from tests.client.conftest import NewShop, connections
from tests.client.shop import Do, Hand, Shop
from tests.support.factories import done, numbered_id, send_many
from tests.support.proxy import Proxy
from tests.support.sessions import Session, call, column
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

RARELY = WorkerResilienceConfig(notify_poll_interval_ms=300_000)
OFTEN = WorkerResilienceConfig(notify_poll_interval_ms=1_000)
ASYNC_WAITERS = 2_000
THREADS = 40


def listeners(db: Session) -> list[int]:
    """The backends that serve a listening thread which has polled at least once."""
    polling = "select pid from pg_stat_activity where query like '%%ended_among%%' and pid <> pg_backend_pid()"
    return column(db, f"{polling} and datname = current_database() and state = 'idle'")


def waiters_of(shop: Shop) -> Waiters:
    return shop.app._drivers._waiters


@pytest.fixture
def threads() -> Any:
    with ThreadPoolExecutor() as pool:
        yield pool


class Wait:
    """A `get` that has begun to wait, in a thread of its own."""

    def __init__(self, do: Do, shop: Shop, db: Session, threads: ThreadPoolExecutor) -> None:
        self.handle: TaskHandle[int] = do(shop.add.send, 1).unwrap()
        self.task_id = UUID(self.handle.task_id)
        self.result: Future[TaskResult[int, TaskError]] = threads.submit(do, self.handle.get)
        wait_until(lambda: waiters_of(shop).awaited() and listeners(db), describe="a listener")

    def check(self) -> None:
        assert self.result.result(timeout=10).ok_value == 1


def test_a_notice_ends_it(do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor) -> None:
    shop = new_shop(resilience=RARELY)
    for _ in range(3):
        wait = Wait(do, shop, db, threads)
        hand.end(wait.task_id)
        wait.check()
    assert waiters_of(shop).awaited() == []


def test_a_lost_notice_is_made_up_for(
    do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor
) -> None:
    wait = Wait(do, new_shop(resilience=OFTEN), db, threads)
    hand.end(wait.task_id, notice=False)
    wait.check()


def test_a_notice_of_others_does_not(
    do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor
) -> None:
    shop = new_shop(resilience=RARELY)
    wait = Wait(do, shop, db, threads)
    other = UUID(shop.add.send(2).unwrap().task_id)
    hand.end(other)
    call(db, calls_worker.notify_done([wait.task_id]))  # a hint that is wrong
    assert waiters_of(shop).awaited() == [wait.task_id]
    hand.end(wait.task_id)
    wait.check()


class TestWhatAWaitSurvives:
    """Whatever happens to the connection, the end is seen."""

    def test_a_cut_connection(
        self, do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor, proxy: Proxy,
        tcp_database_url: str,
    ) -> None:  # fmt: skip
        wait = Wait(do, new_shop(proxy.url(tcp_database_url), resilience=RARELY), db, threads)
        proxy.refuse()
        proxy.cut()
        hand.end(wait.task_id)  # nobody hears the notice
        proxy.accept()
        wait.check()

    def test_a_connection_that_stalls(
        self, do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor, proxy: Proxy,
        tcp_database_url: str,
    ) -> None:  # fmt: skip
        wait = Wait(do, new_shop(proxy.url(tcp_database_url), resilience=RARELY), db, threads)
        proxy.stall()
        hand.end(wait.task_id)
        proxy.resume()
        wait.check()

    def test_ended_backends(
        self, do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor
    ) -> None:
        wait = Wait(do, new_shop(resilience=RARELY), db, threads)
        for _ in range(2):
            ended = connections(db)
            column(db, "select pg_terminate_backend(pid) from unnest(%s) as pid", ended)
            wait_until(lambda ended=ended: set(listeners(db)) - set(ended), describe="a new listener")
        hand.end(wait.task_id)
        wait.check()

    def test_a_closed_app(
        self, do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor
    ) -> None:
        shop = new_shop(resilience=RARELY)
        wait = Wait(do, shop, db, threads)
        first = listeners(db)
        shop.app.close()
        wait_until(lambda: listeners(db) != first)
        hand.end(wait.task_id)
        wait.check()


def test_an_app_can_be_used_after_it_was_closed(
    do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor
) -> None:
    shop = new_shop(resilience=RARELY)
    for _ in range(2):
        wait = Wait(do, shop, db, threads)
        hand.end(wait.task_id)
        wait.check()
        do(shop.app.close)
        wait_until(lambda: not connections(db))


def test_the_thread_leaves_when_nobody_waits(
    do: Do, new_shop: NewShop, db: Session, hand: Hand, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_LINGER_S", 0.01)
    shop = new_shop(resilience=OFTEN)
    for _ in range(2):
        wait = Wait(do, shop, db, threads)
        hand.end(wait.task_id)
        wait.check()
        wait_until(lambda: not listeners(db), describe="the end of the listener")
    assert not [thread for thread in threading.enumerate() if thread.name == "horsies-listener"]


def test_many_wait_over_one_connection(new_shop: NewShop, db: Session, hand: Hand) -> None:
    broker = PostgresConfig(database_url=db_url(db), pool_size=5, max_overflow=0)
    shop = new_shop(broker=broker, resilience=RARELY)
    send_many(db, ASYNC_WAITERS + THREADS)
    handles = [shop.add.handle(str(numbered_id(n))) for n in range(ASYNC_WAITERS + THREADS)]

    async def wait_for_all() -> list[int]:
        waits = [asyncio.create_task(handle.get_async()) for handle in handles[THREADS:]]
        ending = asyncio.create_task(asyncio.to_thread(end_all))
        results = [await wait for wait in waits]
        await ending
        return [result.ok_value for result in results]

    def end_all() -> None:
        wait_until(lambda: len(waiters_of(shop).awaited()) == len(handles) and listeners(db), 20)
        assert len(listeners(db)) == 1
        assert len(connections(db)) <= 1 + 5 + 5  # and a pool for each style
        ids = [UUID(handle.task_id) for handle in handles]
        fences = hand.worker.claim(len(ids))
        assert set(hand.worker.finish(*map(done, fences))) == {"accepted"}
        call(db, calls_worker.notify_done(ids))

    with ThreadPoolExecutor(THREADS) as threads:
        blocked = [threads.submit(handle.get) for handle in handles[:THREADS]]
        assert asyncio.run(wait_for_all()) == [1] * ASYNC_WAITERS
        assert [each.result(timeout=10).ok_value for each in blocked] == [1] * THREADS
    assert waiters_of(shop).awaited() == []


def db_url(db: Session) -> str:
    info = db.info
    return f"postgresql://{info.user}@/{info.dbname}?host={info.host}&port={info.port}"


def test_a_cancelled_wait_leaves_the_list(shop: Shop, db: Session) -> None:
    handle = shop.add.send(1).unwrap()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await handle.get_async()
        assert waiters_of(shop).awaited() == []
        assert (await handle.get_async(timeout_ms=0)).err_value.error_code is RetrievalCode.WAIT_TIMEOUT

    asyncio.run(give_up())
    assert db


def test_an_interrupted_wait_leaves_the_list(shop: Shop, db: Session, threads: ThreadPoolExecutor) -> None:
    handle = shop.add.send(1).unwrap()
    interrupt: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    threads.submit(lambda: (wait_until(lambda: listeners(db)), interrupt()))
    with pytest.raises(KeyboardInterrupt):
        handle.get()
    assert waiters_of(shop).awaited() == []
