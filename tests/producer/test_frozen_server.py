"""Server processes that are stopped: nothing closes their connections, and over a Unix socket nothing notices it."""

import asyncio
import os
import signal
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest

from horsies import TaskSendErrorCode
from horsies.config.postgres import PostgresConfig
from horsies.db import bounded
from horsies.db.bounded import NoAnswerError
from horsies.db.connect import Database
from horsies.db.connection import WorkerConnection
from horsies.db.operations import CallFailedError
from horsies.db.queries import monitoring as monitoring_queries
from horsies.producer import pool
from tests.producer.conftest import NewShop, connections
from tests.producer.shop import Do, Shop
from tests.support.pooler import counts_sessions
from tests.support.proxy import Proxy
from tests.support.sessions import Session, column, scalar
from tests.support.waiting import wait_until

SOON_S = 0.2


@contextmanager
def frozen(pids: Sequence[int]) -> Generator[None]:
    """Stop server processes of the test's own database for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for half a minute here."""
    monkeypatch.setattr(bounded, "_GRACE_S", SOON_S)
    monkeypatch.setattr(bounded, "_PING_LIMIT_S", SOON_S)
    monkeypatch.setattr(bounded, "_AFTER_INTERRUPTION_S", SOON_S)


def idle(shop: Shop, style: str) -> list[Any]:
    """The idle connections of an app."""
    drivers = shop.app._drivers
    pools = [drivers._sync._pool] if style == "sync" else [each.pool for each in drivers._async._callers.values()]
    return [pooled.connection for each in pools if each is not None for pooled in each._idle]


def test_a_send_ends_in_time_and_can_be_repeated(
    do: Do, shop: Shop, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_PING_AFTER_IDLE_S", 1_000.0)
    do(shop.add.send, 1).unwrap()
    [connection] = idle(shop, do.style)
    connection.limit_s = SOON_S
    with frozen(connections(db)):
        error = do(shop.add.send, 2).unwrap_err()
        assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
        assert "the server did not answer within" in error.message
        assert connection.closed
        assert do(shop.add.retry_send, error).is_ok()
    wait_until(lambda: scalar(db, "select count(*) from horsies.tasks") == 2)


@counts_sessions
def test_idle_connections_are_given_up_together(
    do: Do, shop: Shop, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_PING_AFTER_IDLE_S", 0.0)
    do(shop.add.send, 1).unwrap()
    [first] = idle(shop, do.style)

    async def spare() -> Any:
        return await shop.waiters._database.connect_async()

    second = shop.waiters._database.connect() if do.style == "sync" else do.run(spare())
    drivers = shop.app._drivers
    callers = drivers._async._callers.values()
    [of_app] = [drivers._sync._pool] if do.style == "sync" else [each.pool for each in callers]
    assert of_app is not None
    of_app._idle.append(pool.Pooled(second))
    with frozen(connections(db)):
        do(shop.add.send, 2).unwrap()
        assert (first.closed, second.closed) == (True, True)
    wait_until(lambda: len(connections(db)) == 1)


def test_a_cancelled_send_ends_soon(shop: Shop, db: Session) -> None:
    async def give_up() -> None:
        (await shop.add.send_async(1)).unwrap()
        [connection] = idle(shop, "async")
        with frozen(connections(db)):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON_S):
                    await shop.add.send_async(2)
            assert connection.closed
            assert (await shop.add.send_async(3)).is_ok()

    asyncio.run(give_up())


def test_every_statement_of_a_connection_has_a_limit(database_url: str, db: Session) -> None:
    database = Database(PostgresConfig(database_url=database_url))
    with closing(database.connect(limit_s=SOON_S)) as connection:
        with frozen(connections(db)), pytest.raises(NoAnswerError, match="did not answer"):
            connection.execute("select 1")
        assert connection.closed


def test_a_worker_gives_up_such_a_connection_and_opens_another_one(database_url: str, db: Session) -> None:
    async def work() -> None:
        connection = WorkerConnection(Database(PostgresConfig(database_url=database_url)), limit_s=SOON_S)
        ping = monitoring_queries.ping()
        await connection.call(ping)
        with frozen(connections(db)):
            with pytest.raises(CallFailedError, match="did not answer") as caught:
                await connection.call(ping)
            assert caught.value.retryable
            await connection.call(ping)
        await connection.close()

    asyncio.run(work())
    assert column(db, "select id from horsies.tasks") == []


def test_a_server_that_queues_the_first_connection_is_not_waited_for(
    do: Do, new_shop: NewShop, proxy: Proxy, tcp_database_url: str
) -> None:
    shop = new_shop(f"{proxy.url(tcp_database_url)}?connect_timeout=2")
    proxy.stall()
    error = do(shop.add.send, 1).unwrap_err()
    assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
    assert "timeout" in error.message
    proxy.resume()
    assert do(shop.add.retry_send, error).is_ok()
