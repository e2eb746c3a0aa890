"""The asynchronous methods on the event loops of asyncio and of uvloop: on one after the other, and on several at once."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest

from horsies import PostgresConfig, RetrievalCode, TaskHandle
from tests.producer.conftest import NewShop, connections, listeners
from tests.producer.shop import LOOPS, RARELY, Hand, Shop, run_in
from tests.support.pooler import counts_sessions
from tests.support.proxy import Proxy
from tests.support.sessions import Session, column
from tests.support.waiting import wait_until


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def runner(loop: str, db: Session) -> Iterator[asyncio.Runner]:
    """Yield a runner, which is closed before the fixture ``db`` looks for connections."""
    assert db
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        yield runner


@pytest.fixture
def shop(new_shop: NewShop) -> Shop:
    """Return an app that polls so rarely that a poll helps nobody."""
    return new_shop(resilience=RARELY)


async def in_thread(action: Callable[..., object], *args: object) -> None:
    await asyncio.to_thread(action, *args)


async def end_while_waiting(shop: Shop, db: Session, hand: Hand, handle: TaskHandle[int]) -> None:
    """Wait for a task, and end it as soon as the listener works."""
    waiting = asyncio.create_task(handle.get_async(timeout_ms=30_000))
    await in_thread(wait_until, lambda: shop.waiters.awaited() and listeners(db))
    await in_thread(hand.end, UUID(handle.task_id))
    assert (await waiting).ok_value == 1


def test_the_loop_is_the_one_that_is_meant(runner: asyncio.Runner, loop: str) -> None:
    async def name() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert runner.run(name()) == loop


def test_tasks_are_sent_looked_at_cancelled_and_awaited(
    runner: asyncio.Runner, shop: Shop, db: Session, hand: Hand
) -> None:
    async def use() -> None:
        first = (await shop.add.send_async(1)).unwrap()
        many = (await shop.add.send_many_async([(number,) for number in range(50)])).unwrap()
        later = (await shop.add.schedule_async(3_600, 1)).unwrap()
        infos = await asyncio.gather(*(handle.info_async() for handle in [first, *many, later]))
        assert [info.unwrap().status for info in infos if info.unwrap()] == ["PENDING"] * 52
        assert (await later.cancel_async()).unwrap()
        assert (await later.get_async()).err_value.error_code == "TASK_CANCELLED"
        await end_while_waiting(shop, db, hand, first)
        waits = [asyncio.create_task(handle.get_async()) for handle in many]
        for handle in many:
            await in_thread(hand.end, UUID(handle.task_id))
        assert [result.ok_value for result in await asyncio.gather(*waits)] == [1] * 50

    runner.run(use())


def test_a_wait_ends_by_its_timeout_and_by_its_cancellation(runner: asyncio.Runner, shop: Shop) -> None:
    async def give_up() -> None:
        handle = (await shop.add.send_async(1)).unwrap()
        assert (await handle.get_async(timeout_ms=50)).err_value.error_code is RetrievalCode.WAIT_TIMEOUT
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await handle.get_async()
        assert shop.waiters.awaited() == []

    runner.run(give_up())


def test_a_wait_survives_the_end_of_all_sessions(runner: asyncio.Runner, shop: Shop, db: Session, hand: Hand) -> None:
    async def lose_sessions() -> None:
        handle = (await shop.add.send_async(1)).unwrap()
        waiting = asyncio.create_task(handle.get_async(timeout_ms=30_000))
        await in_thread(wait_until, lambda: shop.waiters.awaited() and listeners(db))
        before = connections(db)
        column(db, "select pg_terminate_backend(pid) from unnest(%s::int[]) as pid", before)
        await in_thread(wait_until, lambda: set(listeners(db)) - set(before))
        await in_thread(hand.end, UUID(handle.task_id))
        assert (await waiting).ok_value == 1
        assert (await shop.add.send_async(2)).is_ok()

    runner.run(lose_sessions())


def test_calls_that_are_cut_off_fail_and_can_be_repeated(
    runner: asyncio.Runner, new_shop: NewShop, proxy: Proxy, tcp_database_url: str
) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=proxy.url(tcp_database_url), pool_pre_ping=False))

    async def cut_off() -> None:
        await asyncio.gather(*(shop.add.send_async(number) for number in range(20)))
        proxy.stall()
        sends = [asyncio.create_task(shop.add.send_async(number)) for number in range(20)]
        await asyncio.sleep(0)
        proxy.cut()
        proxy.resume()
        failed = [sent.unwrap_err() for sent in await asyncio.gather(*sends) if sent.is_err()]
        assert failed
        for error in failed:
            while (again := await shop.add.retry_send_async(error)).is_err():
                assert again.unwrap_err().retryable, "the other connection was cut, too"

    runner.run(cut_off())


@counts_sessions
def test_a_loop_is_closed_and_another_is_opened(loop: str, shop: Shop, db: Session, hand: Hand) -> None:
    async def use() -> weakref.ref[Any]:
        await end_while_waiting(shop, db, hand, (await shop.add.send_async(1)).unwrap())
        return weakref.ref(asyncio.get_running_loop())

    for _ in range(3):
        used = run_in(loop, use())
        wait_until(lambda: len(connections(db)) <= 1, describe="the end of the connections but the listener's")
        gc.collect()
        assert used() is None, "a closed loop was kept"


def test_loops_of_both_kinds_run_at_once(shop: Shop, db: Session, hand: Hand) -> None:
    both = Barrier(len(LOOPS) + 1)
    sent: list[UUID] = []

    async def use() -> list[int]:
        handles = [(await shop.add.send_async(number)).unwrap() for number in range(10)]
        sent.extend(UUID(handle.task_id) for handle in handles)
        waits = [asyncio.create_task(handle.get_async(timeout_ms=30_000)) for handle in handles]
        await in_thread(both.wait, 30)
        return [(await wait).ok_value for wait in waits]

    with ThreadPoolExecutor() as threads:
        running = [threads.submit(run_in, loop, use()) for loop in LOOPS]
        both.wait(30)
        wait_until(lambda: listeners(db))
        assert len(listeners(db)) == 1
        for task_id in sent:
            hand.end(task_id)
        assert [each.result(30) for each in running] == [[1] * 10] * len(LOOPS)
