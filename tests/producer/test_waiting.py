"""Waiting: by notices over one connection, and whatever becomes of that connection."""

import asyncio
import gc
import os
import signal
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from horsies import PostgresConfig, RetrievalCode
from horsies.db.queries import worker as worker_queries
from horsies.producer import waiter
from horsies.producer.sync_driver import SyncWaiter
from tests.producer.conftest import BeginWait, NewShop, connections, listeners
from tests.producer.shop import OFTEN, RARELY, Do, Hand, Shop
from tests.support.factories import done, numbered_id, send_many
from tests.support.pooler import counts_sessions, needs_notices
from tests.support.proxy import Proxy
from tests.support.sessions import Session, call, column
from tests.support.waiting import wait_until

ASYNC_WAITERS = 4_000
THREADS = 200
MEASURED = 500


@pytest.fixture
def quiet_shop(new_shop: NewShop) -> Shop:
    """An app that polls so rarely that a poll helps nobody."""
    return new_shop(resilience=RARELY)


@pytest.fixture
def far_shop(new_shop: NewShop, proxy: Proxy, tcp_database_url: str) -> Shop:
    """The same, connected through the proxy."""
    return new_shop(proxy.url(tcp_database_url), resilience=RARELY)


def test_a_notice_ends_it(begin_wait: BeginWait, quiet_shop: Shop, hand: Hand) -> None:
    for _ in range(3):
        wait = begin_wait(quiet_shop)
        hand.end(wait.task_id)
        wait.check()
    assert quiet_shop.waiters.awaited() == []


ASKED = "select pid from pg_stat_activity where query like '%%task_result%%' and state = 'idle'"


def wait_until_asked(db: Session) -> None:
    wait_until(lambda: column(db, f"{ASKED} and datname = current_database()"), describe="the first look")


@needs_notices
def test_the_outcome_in_a_notice_is_not_asked_for_again_where_the_app_says_so(
    begin_wait: BeginWait, new_shop: NewShop, db: Session
) -> None:
    wait = begin_wait(new_shop(resilience=RARELY, results_in_notices=True))
    wait_until_asked(db)
    db.execute("select pg_notify('horsies.done', %s)", (f"{wait.task_id.hex} COMPLETED add\n1",))
    wait.check()
    assert column(db, "select status from horsies.tasks") == ["PENDING"]


@needs_notices
def test_the_outcome_in_a_forged_notice_is_not_believed(
    begin_wait: BeginWait, quiet_shop: Shop, db: Session, hand: Hand
) -> None:
    wait = begin_wait(quiet_shop)
    wait_until_asked(db)
    db.execute("select pg_notify('horsies.done', %s)", (f"{wait.task_id.hex} FAILED add\n17",))
    hand.end(wait.task_id)
    wait.check()


GARBAGE = [
    "",
    "0",
    "x" * 32,
    "0" * 31,
    "ö" * 32,
    "\u0660" * 32,
    " COMPLETED add\n1",
    "\n",
    f"{'0' * 32} COMPLETED",
    "a" * 7999,
]


@pytest.mark.parametrize("trusts", [False, True])
@needs_notices
def test_malformed_notices_are_ignored(
    begin_wait: BeginWait, new_shop: NewShop, db: Session, hand: Hand, *, trusts: bool
) -> None:
    wait = begin_wait(new_shop(resilience=RARELY, results_in_notices=trusts))
    wait_until_asked(db)
    own = wait.task_id.hex
    odd = [f"{own} RUNNING add\n1", f"{own} COMPLETED add", f"{own} COMPLETED \n1", f"{own} COMPLETED add\n", f"{own} "]
    for payload in [*GARBAGE, *odd]:
        db.execute("select pg_notify('horsies.done', %s)", (payload,))
    hand.end(wait.task_id)
    wait.check()


def test_a_lost_notice_is_made_up_for(begin_wait: BeginWait, new_shop: NewShop, hand: Hand) -> None:
    wait = begin_wait(new_shop(resilience=OFTEN))
    hand.end(wait.task_id, notice=False)
    wait.check()


def test_a_wrong_notice_does_not(begin_wait: BeginWait, quiet_shop: Shop, db: Session, hand: Hand) -> None:
    wait = begin_wait(quiet_shop)
    hand.end(UUID(quiet_shop.add.send(2).unwrap().task_id))
    call(db, worker_queries.notify_done([wait.task_id], with_results=False))
    assert quiet_shop.waiters.awaited() == [wait.task_id]
    hand.end(wait.task_id)
    wait.check()


class TestWhatAWaitSurvives:
    """Whatever happens to the connection, the end is seen."""

    def test_a_cut_connection(self, begin_wait: BeginWait, far_shop: Shop, hand: Hand, proxy: Proxy) -> None:
        wait = begin_wait(far_shop)
        proxy.refuse()
        proxy.cut()
        hand.end(wait.task_id)  # nobody hears the notice
        proxy.accept()
        wait.check()

    def test_a_connection_that_stalls(self, begin_wait: BeginWait, far_shop: Shop, hand: Hand, proxy: Proxy) -> None:
        wait = begin_wait(far_shop)
        proxy.stall()
        hand.end(wait.task_id)
        proxy.resume()
        wait.check()

    def test_ended_backends(self, begin_wait: BeginWait, quiet_shop: Shop, db: Session, hand: Hand) -> None:
        wait = begin_wait(quiet_shop)
        for _ in range(2):
            ended = connections(db)
            column(db, "select pg_terminate_backend(pid) from unnest(%s::int[]) as pid", ended)
            wait_until(lambda ended=ended: set(listeners(db)) - set(ended), describe="a new listener")
        hand.end(wait.task_id)
        wait.check()

    @counts_sessions
    def test_a_closed_app(self, begin_wait: BeginWait, quiet_shop: Shop, db: Session, hand: Hand) -> None:
        wait = begin_wait(quiet_shop)
        first = listeners(db)
        quiet_shop.app.close()
        wait_until(lambda: listeners(db) not in ([], first), describe="a new listener")
        hand.end(wait.task_id)
        wait.check()


@counts_sessions
def test_an_app_can_be_used_after_it_was_closed(
    do: Do, begin_wait: BeginWait, quiet_shop: Shop, db: Session, hand: Hand
) -> None:
    for _ in range(2):
        wait = begin_wait(quiet_shop)
        hand.end(wait.task_id)
        wait.check()
        do(quiet_shop.app.close)
        wait_until(lambda: not connections(db))


@counts_sessions
def test_the_thread_leaves_when_nobody_waits(
    shop: Shop, db: Session, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "_LINGER_S", 0.01)
    monkeypatch.setattr(shop.waiters, "_poll_seconds", 0.1)
    for _ in range(2):
        handle = shop.add.send(1).unwrap()
        handle.get(timeout_ms=10)
        wait_until(lambda: listeners(db), describe="a listener")
        wait_until(lambda: not listeners(db), describe="its end")
        hand.end(UUID(handle.task_id))
        assert handle.get().is_ok()
    wait_until(lambda: "horsies-listener" not in [thread.name for thread in threading.enumerate()])


def test_many_wait_over_one_connection(new_shop: NewShop, database_url: str, db: Session, hand: Hand) -> None:
    broker = PostgresConfig(database_url=database_url, pool_size=5, max_overflow=0)
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
        wait_until(lambda: len(shop.waiters.awaited()) == len(handles) and listeners(db), 30)
        assert len(listeners(db)) == 1
        assert len(connections(db)) <= 1 + 5 + 5  # and a pool for each style
        fences = hand.worker.claim(len(handles))
        assert set(hand.worker.finish(*map(done, fences))) == {"accepted"}
        call(db, worker_queries.notify_done([fence.task_id for fence in fences], with_results=False))

    with ThreadPoolExecutor(THREADS) as threads:
        blocked = [threads.submit(handle.get) for handle in handles[:THREADS]]
        assert asyncio.run(wait_for_all()) == [1] * ASYNC_WAITERS
        assert [each.result(timeout=10).ok_value for each in blocked] == [1] * THREADS
    assert shop.waiters.awaited() == []


async def first_fetches(shop: Shop) -> None:
    """Return when the coroutines that were just started have fetched once, and wait. The loop must have a connection."""
    for _ in range(3):
        await asyncio.sleep(0)  # the coroutines start
    [caller] = shop.app._drivers._async._callers.values()
    while any(lane._under_way or lane._queue for lane in caller._lanes.values()):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)


def test_a_waiting_coroutine_needs_little_memory(shop: Shop, db: Session) -> None:
    send_many(db, MEASURED)
    handles = [shop.add.handle(str(numbered_id(n))) for n in range(MEASURED)]

    async def bare(future: asyncio.Future[None]) -> None:
        await future

    async def measure(start: Callable[[], list[asyncio.Task[Any]]]) -> float:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tasks = start()
        await first_fetches(shop)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return taken / MEASURED

    async def compare() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        await handles[0].get_async(timeout_ms=0)  # opens a connection, and starts the listener
        floor = await measure(lambda: [loop.create_task(bare(loop.create_future())) for _ in handles])
        return floor, await measure(lambda: [loop.create_task(handle.get_async()) for handle in handles])

    tracemalloc.start()
    try:
        floor, ours = asyncio.run(compare())
    finally:
        tracemalloc.stop()
    assert ours - floor < 2_000, "bytes beyond those of a task, its coroutine and a future"


def test_a_collection_of_garbage_may_close_a_waiter_at_any_time(shop: Shop) -> None:
    waiting = shop.add.handle(str(numbered_id(1)))._get(None)
    next(waiting)
    waiting.send(SyncWaiter(shop.waiters, numbered_id(1)))
    cycle: list[Any] = [waiting]
    cycle.append(cycle)
    del waiting, cycle
    assert shop.waiters.awaited() == [numbered_id(1)]
    with shop.waiters._lock:
        gc.collect()
    assert shop.waiters.awaited() == []


def test_the_waiters_of_a_closed_event_loop_are_removed_when_their_task_ends(shop: Shop, hand: Hand) -> None:
    handle = shop.add.send(1).unwrap()

    def abandon() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(handle.info_async())
        waiting = loop.create_task(handle.get_async())
        loop.run_until_complete(first_fetches(shop))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        setattr(waiting, "_log_destroy_pending", False)  # noqa: B010 - not part of the type
        return weakref.ref(loop)

    loop = abandon()
    assert shop.waiters.awaited() == [UUID(handle.task_id)]
    hand.end(UUID(handle.task_id))
    wait_until(lambda: not shop.waiters.awaited())
    gc.collect()
    assert loop() is None


def test_a_cancelled_wait_leaves_the_list(shop: Shop) -> None:
    handle = shop.add.send(1).unwrap()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await handle.get_async()
        assert shop.waiters.awaited() == []
        assert (await handle.get_async(timeout_ms=0)).err_value.error_code is RetrievalCode.WAIT_TIMEOUT

    asyncio.run(give_up())


def test_an_interrupted_wait_leaves_the_list(shop: Shop, db: Session) -> None:
    def interrupt() -> None:
        wait_until(lambda: listeners(db))
        os.kill(os.getpid(), signal.SIGINT)

    handle = shop.add.send(1).unwrap()
    with ThreadPoolExecutor() as threads:
        threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            handle.get()
    assert shop.waiters.awaited() == []
