"""Connections: how many, how long they live, and that none is left behind."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from horsies import Err, PostgresConfig, TaskSendErrorCode
from horsies.producer import pool
from tests.producer.conftest import NewShop, blocked, connections, locked_out
from tests.producer.shop import Do, Shop
from tests.support.factories import numbered_id
from tests.support.pooler import counts_sessions
from tests.support.sessions import Session, column, scalar
from tests.support.waiting import wait_until


def terminate(db: Session) -> None:
    """End all connections of the app, and see that the server has."""
    column(db, "select pg_terminate_backend(pid) from unnest(%s::int[]) as pid", connections(db))
    wait_until(lambda: not connections(db))


def count(db: Session) -> int:
    return scalar(db, "select count(*) from horsies.tasks")


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection counts as idle at once."""
    monkeypatch.setattr(pool, "_PING_AFTER_IDLE_S", 0.0)


def test_a_connection_is_used_again(do: Do, shop: Shop, db: Session) -> None:
    do(shop.add.send, 1).unwrap()
    [pid] = connections(db)
    for _ in range(5):
        do(shop.add.send, 1).unwrap()
        do(shop.add.with_options(priority=1).schedule, 5, 1).unwrap()
    assert connections(db) == [pid]


@pytest.mark.usefixtures("no_rest")
def test_one_that_died_while_idle_is_replaced_unseen(do: Do, shop: Shop, db: Session) -> None:
    do(shop.add.send, 1).unwrap()
    for _ in range(3):
        terminate(db)
        do(shop.add.send, 1).unwrap()
    assert count(db) == 4


@counts_sessions
def test_one_that_died_right_after_its_use_is_an_error_once(do: Do, new_shop: NewShop, db: Session) -> None:
    shop = new_shop()
    open_many(do, shop, db)
    terminate(db)
    error = do(shop.add.send, 1).unwrap_err()
    assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
    assert do(shop.add.retry_send, error).is_ok()
    assert do(shop.add.send, 1).is_ok()


def open_many(do: Do, shop: Shop, db: Session) -> None:
    """Have eight idle connections."""

    handles = [shop.add.handle(str(numbered_id(n))) for n in range(8)]

    async def ask_at_once() -> None:
        await asyncio.gather(*(handle.info_async() for handle in handles))

    with ThreadPoolExecutor(8) as threads, locked_out(db):
        if do.style == "sync":
            for handle in handles:
                threads.submit(handle.info)
        else:
            threads.submit(do.run, ask_at_once())
        wait_until(lambda: blocked(db) == 8)
    wait_until(lambda: blocked(db) == 0)
    assert len(connections(db)) == 8


def test_without_pre_ping_a_dead_one_is_an_error(do: Do, new_shop: NewShop, database_url: str, db: Session) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=database_url, pool_pre_ping=False))
    do(shop.add.send, 1).unwrap()
    terminate(db)
    assert isinstance(do(shop.add.send, 1), Err)
    assert do(shop.add.send, 1).is_ok()


def test_an_old_one_is_replaced(do: Do, new_shop: NewShop, database_url: str, db: Session) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=database_url, pool_recycle=1))
    do(shop.add.send, 1).unwrap()
    [first] = connections(db)
    wait_until(lambda: do(shop.add.send, 1).is_ok() and first not in connections(db), 3)
    assert len(connections(db)) == 1


def test_surplus_ones_go(
    do: Do, new_shop: NewShop, database_url: str, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=database_url, pool_size=2, max_overflow=6))
    open_many(do, shop, db)
    monkeypatch.setattr(pool, "_SURPLUS_AFTER_IDLE_S", 0.0)
    for _ in range(8):
        do(shop.add.send, 1).unwrap()
    wait_until(lambda: len(connections(db)) == 2)


def test_there_are_never_more_than_allowed(do: Do, new_shop: NewShop, database_url: str, db: Session) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=database_url, pool_size=2, max_overflow=1))
    most = 0

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, len(connections(db)))

    async def send_many() -> list[Any]:
        return await asyncio.gather(*(shop.plain.send_async("x" * 20_000) for _ in range(200)))  # too large for a batch

    do(shop.add.send, 0).unwrap()  # the first send also checks the schema, over a separate connection
    done = threading.Event()
    with ThreadPoolExecutor(20) as threads:
        watching = threads.submit(watch)
        sent = list(threads.map(shop.add.send, range(200))) if do.style == "sync" else do.run(send_many())
        done.set()
        watching.result()
    assert all(each.is_ok() for each in sent)
    assert (count(db), most) == (201, 3)


def test_big_arguments_go_through(do: Do, shop: Shop, db: Session) -> None:
    name = "hors🐎" * 2_000_000
    assert do(shop.greet.send, name).is_ok()
    assert scalar(db, "select length(args ->> 'name') from horsies.tasks") == len(name)


def test_no_statement_blocks_for_long(do: Do, shop: Shop, db: Session) -> None:
    do(shop.add.send, 1).unwrap()
    [limit] = column(db, "select setting from pg_settings where name = 'statement_timeout'")
    assert limit == "0", "the limit is the app's, not the database's"
    with ThreadPoolExecutor(1) as threads, locked_out(db):
        send = threads.submit(do, shop.add.send, 1)
        wait_until(lambda: blocked(db))
        column(db, "select pg_cancel_backend(pid) from unnest(%s::int[]) as pid", connections(db))  # as the limit does
        error = send.result().unwrap_err()
    assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
    assert do(shop.add.retry_send, error).is_ok()


@counts_sessions
class TestLoops:
    """Each event loop has separate connections, which are closed with it."""

    def test_one_after_the_other(self, shop: Shop, db: Session) -> None:
        for _ in range(3):
            asyncio.run(send_and_look(shop))
            wait_until(lambda: not connections(db))
        assert count(db) == 3

    def test_two_at_once(self, shop: Shop, db: Session) -> None:
        met = threading.Barrier(2)

        async def send_beside_another() -> int:
            await shop.add.send_async(1)
            await asyncio.to_thread(met.wait)
            seen = len(connections(db))
            await asyncio.to_thread(met.wait)
            return seen

        with ThreadPoolExecutor(2) as threads:
            loops = [threads.submit(asyncio.run, send_beside_another()) for _ in range(2)]
            assert [loop.result() for loop in loops] == [2, 2]
        wait_until(lambda: not connections(db))

    def test_beside_threads(self, shop: Shop, db: Session) -> None:
        async def send_both_ways() -> None:
            await shop.add.send_async(1)
            assert (await asyncio.to_thread(shop.add.send, 2)).is_ok()
            assert shop.add.send(3).is_ok()
            assert len(connections(db)) == 2

        asyncio.run(send_both_ways())
        wait_until(lambda: len(connections(db)) == 1)
        shop.app.close()
        wait_until(lambda: not connections(db))

    def test_closed_before_the_loop_ends(self, shop: Shop, db: Session) -> None:
        async def close_and_go_on() -> None:
            for _ in range(2):
                await send_and_look(shop)
                await shop.app.close_async()
                await asyncio.to_thread(wait_until, lambda: not connections(db))
            await shop.app.close_async()

        asyncio.run(close_and_go_on())

    @pytest.mark.parametrize("cancel", [True, False], ids=["cancelled", "left to the loop"])
    def test_a_loop_that_ends_in_the_middle(self, shop: Shop, db: Session, *, cancel: bool) -> None:
        async def go_away() -> None:
            await shop.add.send_async(1)
            with locked_out(db):
                tasks: list[asyncio.Task[Any]] = [asyncio.create_task(shop.add.send_async(n)) for n in range(3)]
                tasks += [asyncio.create_task(shop.add.handle(sent_id).get_async()) for _ in range(3)]
                await asyncio.to_thread(wait_until, lambda: blocked(db) >= 3)
                for task in tasks if cancel else []:
                    task.cancel()

        sent_id = shop.add.send(0).unwrap().task_id
        asyncio.run(go_away())
        shop.app.close()
        gc.collect()  # psycopg leaves it to that to close one whose opening was cancelled
        wait_until(lambda: not connections(db))

    def test_a_loop_that_ends_while_it_connects(self, shop: Shop) -> None:
        async def go_away() -> None:
            tasks = [asyncio.create_task(shop.add.send_async(n)) for n in range(20)]
            await asyncio.sleep(0.01)
            assert tasks

        for _ in range(5):
            asyncio.run(go_away())
        gc.collect()  # psycopg leaves to it what was connecting

    def test_nothing_is_kept_of_a_loop_that_is_gone(self, shop: Shop) -> None:
        for _ in range(3):
            asyncio.run(send_and_look(shop))
        gc.collect()
        driver = shop.app._drivers._async
        assert (len(driver._callers), len(driver._closers)) == (0, 0)


async def send_and_look(shop: Shop) -> None:
    handle = (await shop.add.send_async(1)).unwrap()
    assert (await handle.info_async()).unwrap()
