"""The transaction of a transactional task needs two round trips in addition to the statements of the task."""

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise

import psycopg
import pytest
import sqlalchemy
from psycopg.pq.abc import PGconn
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session as AlchemySession

from horsies.config.postgres import PostgresConfig
from horsies.db.connect import Database
from horsies.db.task_connection import OwnFence
from horsies.tasks.own_transaction import ConnectionKind, OwnTransaction
from horsies.worker.runtime.transactions import Transactions
from tests.support.factories import CHILD_NAME, HOSTNAME, DrivenWorker, send
from tests.support.sessions import SCHEMA, Session, scalar

ADDED = 2
INSERT = "insert into effects values (1)"
BLOCKING: dict[ConnectionKind, type] = {
    ConnectionKind.PSYCOPG: psycopg.Connection,
    ConnectionKind.ALCHEMY: sqlalchemy.Connection,
    ConnectionKind.ALCHEMY_SESSION: AlchemySession,
}
ASYNC: dict[ConnectionKind, type] = {
    ConnectionKind.PSYCOPG_ASYNC: psycopg.AsyncConnection,
    ConnectionKind.ALCHEMY_ASYNC: AsyncConnection,
    ConnectionKind.ALCHEMY_ASYNC_SESSION: AsyncSession,
}


@pytest.fixture
def claim(db: Session) -> Callable[[], OwnFence]:
    """Return a function that sends and claims a task, and returns its claim."""
    db.execute("create table effects (number int)")
    worker = DrivenWorker(db)

    def claim_one() -> OwnFence:
        send(db)
        return OwnFence(worker.id, worker.claim_one(), HOSTNAME, os.getpid(), CHILD_NAME, on_node=True)

    return claim_one


@pytest.fixture
def transactions(database_url: str) -> Iterator[Transactions]:
    transactions = Transactions(Database(PostgresConfig(database_url=database_url, schema=SCHEMA)))
    yield transactions
    if transactions._engine is not None:
        transactions._engine.dispose()


@contextmanager
def counted(session: PGconn) -> Generator[list[int]]:
    """Count the round trips of a session in the block: how often it sends after it has received."""
    count: list[int] = []
    with tempfile.TemporaryFile("r+") as trace:
        session.trace(trace.fileno())
        yield count
        session.untrace()
        trace.seek(0)
        directions = re.findall(r"^\S+ \S+\t([FB])\t", trace.read(), re.MULTILINE)
    count.append(sum(pair == ("B", "F") for pair in pairwise(["B", *directions])))


@pytest.mark.parametrize("kind", BLOCKING)
def test_two_round_trips_are_added(
    db: Session, transactions: Transactions, claim: Callable[[], OwnFence], kind: ConnectionKind
) -> None:
    def attempt() -> PGconn:
        transaction = transactions.begin(OwnTransaction(kind, BLOCKING[kind]), claim())
        argument = transaction.argument
        if isinstance(argument, psycopg.Connection):
            argument.execute(INSERT)
        elif isinstance(argument, AlchemySession | sqlalchemy.Connection):
            argument.execute(sqlalchemy.text(INSERT))
        session = transaction.connection.pgconn
        transaction.finish(b"1")
        transaction.end()
        return session

    session = attempt()
    with counted(session) as count:
        assert attempt() is session
    assert count == [1 + ADDED]
    assert scalar(db, "select count(*) from effects") == 2


@pytest.mark.parametrize("kind", ASYNC)
def test_two_round_trips_are_added_asynchronously(
    db: Session, transactions: Transactions, claim: Callable[[], OwnFence], kind: ConnectionKind
) -> None:
    async def attempt() -> PGconn:
        transaction = await transactions.begin_async(OwnTransaction(kind, ASYNC[kind]), claim())
        argument = transaction.argument
        if isinstance(argument, psycopg.AsyncConnection):
            await argument.execute(INSERT)
        elif isinstance(argument, AsyncConnection | AsyncSession):
            await argument.execute(sqlalchemy.text(INSERT))
        session = transaction.connection.pgconn
        await transaction.finish(b"1")
        await transaction.end()
        return session

    async def attempts() -> list[int]:
        session = await attempt()
        with counted(session) as count:
            assert await attempt() is session
        if transactions._async_engine is not None:
            await transactions._async_engine.dispose()
        return count

    assert asyncio.run(attempts()) == [1 + ADDED]
    assert scalar(db, "select count(*) from effects") == 2


def test_a_rollback_is_one_round_trip(transactions: Transactions, claim: Callable[[], OwnFence]) -> None:
    wanted = OwnTransaction(ConnectionKind.PSYCOPG, psycopg.Connection)
    transaction = transactions.begin(wanted, claim())
    with counted(transaction.connection.pgconn) as count:
        transaction.end()
    assert count == [1]
