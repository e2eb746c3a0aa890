"""Limits of connections, and defaults of transactions, that restrict what horsies can do."""

import asyncio
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from horsies import AppConfig, ErrorCode, Horsies, PostgresConfig, ScheduleConfig
from horsies.db.connect import Database
from horsies.db.connection import WorkerConnection
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.restrictions import SCHEDULER_CONNECTIONS, WORKER_CONNECTIONS, find_restrictions
from tests.support.databases import set_for_all
from tests.support.limited import limited_role
from tests.support.server import Server
from tests.support.sessions import Session


@pytest.fixture
def limited_url(request: pytest.FixtureRequest, server: Server, database_url: str) -> Iterator[str]:
    """The database as a role sees it that may have so many connections."""
    with limited_role(server, database_url, request.param) as url:
        yield url


def found_by(url: str, *, with_scheduler: bool = False) -> list[str]:
    with psycopg.connect(url) as session:
        return [each.found for each in find_restrictions(session, with_scheduler=with_scheduler)]


@pytest.mark.parametrize("limited_url", [2, WORKER_CONNECTIONS], indirect=True)
def test_a_role_that_may_have_too_few_connections(limited_url: str, request: pytest.FixtureRequest) -> None:
    [found] = found_by(limited_url)
    assert f"may have {request.node.callspec.params['limited_url']} connections" in found
    assert f"a worker opens up to {WORKER_CONNECTIONS}" in found


@pytest.mark.parametrize("limited_url", [-1, WORKER_CONNECTIONS + 1], indirect=True)
def test_enough_connections_are_no_restriction(limited_url: str) -> None:
    assert found_by(limited_url) == []


@pytest.mark.parametrize("limited_url", [WORKER_CONNECTIONS + 1], indirect=True)
def test_a_scheduler_needs_more(limited_url: str) -> None:
    [found] = found_by(limited_url, with_scheduler=True)
    assert f"up to {WORKER_CONNECTIONS + SCHEDULER_CONNECTIONS}" in found


@pytest.mark.parametrize("limited_url", [-1], indirect=True)
def test_the_limit_of_a_database_counts(limited_url: str, db: Session) -> None:
    db.execute(SQL("alter database {} connection limit 3").format(Identifier(db.info.dbname)))
    [found] = found_by(limited_url)
    assert found.startswith("the database may have 3 connections")


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("default_transaction_isolation", "serializable", "SERIALIZABLE by default"),
        ("default_transaction_isolation", "'repeatable read'", "REPEATABLE READ by default"),
        ("default_transaction_read_only", "on", "read-only by default"),
    ],
)
def test_defaults_of_transactions(database_url: str, setting: str, value: str, expected: str) -> None:
    set_for_all(database_url, {setting: value})
    [found] = found_by(database_url)
    assert expected in found


@pytest.mark.parametrize("limited_url", [2], indirect=True)
def test_a_live_check_warns(limited_url: str, database_url: str) -> None:
    set_for_all(database_url, {"default_transaction_isolation": "serializable"})
    app = Horsies(AppConfig(broker=PostgresConfig(database_url=limited_url), schedule=ScheduleConfig(schedules=[])))
    warnings = [each for each in app.check_warnings(live=True) if each.code is ErrorCode.DATABASE_RESTRICTED]
    assert ["connections" in warnings[0].message, "SERIALIZABLE" in warnings[1].message] == [True, True]
    assert ErrorCode.DATABASE_RESTRICTED not in [each.code for each in app.check_warnings()]


@pytest.mark.parametrize("limited_url", [1], indirect=True)
def test_a_connection_that_cannot_be_opened_uses_the_more_important_one(
    limited_url: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def work() -> None:
        database = Database(PostgresConfig(database_url=limited_url))
        first = WorkerConnection(database)
        others = [WorkerConnection(database, fallback=first) for _ in range(3)]
        for _ in range(2):
            for other in others:
                await other.call(monitoring_queries.ping())
        assert first.is_open
        assert not any(other.is_open for other in others)
        with unlimited(server, limited_url):
            others[0]._refused_until = 0.0  # the half minute is over
            await other_call(others[0])
            assert others[0].is_open
        for connection in (first, *others):
            await connection.close()

    asyncio.run(work())
    assert caplog.text.count("connection.shared") == 3


async def other_call(connection: WorkerConnection) -> None:
    await connection.call(monitoring_queries.ping())


@contextmanager
def unlimited(server: Server, url: str) -> Generator[None]:
    """Let the role of a URL open as many connections as it wants."""
    with server.connect() as admin:
        admin.execute(SQL("alter role {} connection limit -1").format(Identifier(urlsplit(url).username or "")))
    yield
