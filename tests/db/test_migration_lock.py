"""The lock of migrations is held by another session: migrating waits for a limited time, and the error names it."""

import asyncio
import threading

import psycopg
import pytest

from horsies.config.postgres import PostgresConfig
from horsies.db import migrate
from horsies.db.connect import Database
from horsies.db.connection import prepare_in_thread
from horsies.db.operations import CallFailedError
from horsies.db.sqlfiles import admin
from tests.support.sessions import Session, open_session, scalar
from tests.support.waiting import wait_until


@pytest.fixture
def holder(empty_database_url: str) -> Session:
    """A session that holds the lock."""
    session = psycopg.connect(empty_database_url, application_name="\x1b[31mdeploy", autocommit=True)
    session.execute("select pg_advisory_lock(1752134259)")
    return session


@pytest.fixture
def database(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database without the schema."""
    monkeypatch.setattr(migrate, "_MAX_LOCK_WAIT_S", 1)
    return Database(PostgresConfig(database_url=empty_database_url))


def test_the_error_names_the_session_and_says_what_to_do(holder: Session, database: Database) -> None:
    pid = holder.info.backend_pid
    with holder, pytest.raises(CallFailedError) as caught:
        database.prepare()
    assert caught.value.retryable
    assert f"held the lock of migrations for 1 s: process {pid} (" in caught.value.message
    assert f"select pg_terminate_backend({pid})" in caught.value.message
    assert "\x1b" not in caught.value.message
    database.prepare()
    assert database.is_prepared


def test_a_migration_does_not_need_the_lock_when_there_is_nothing_to_do(holder: Session, database: Database) -> None:
    with holder:
        holder.execute("select pg_advisory_unlock(1752134259)")
        database.prepare()
        holder.execute("select pg_advisory_lock(1752134259)")
        again = Database(database.config)
        again.prepare()
        assert again.is_prepared


def test_a_caller_that_is_cancelled_does_not_wait(holder: Session, database: Database) -> None:
    async def give_up() -> None:
        preparing = asyncio.create_task(prepare_in_thread(database))
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        with open_session(database.url) as observer:
            await asyncio.to_thread(wait_until, lambda: scalar(observer, waiting) == 1, 10, "the migration to wait")
            preparing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await preparing
            assert scalar(observer, waiting) == 1  # the thread is still there, and nobody waits for it

    with holder:
        asyncio.run(give_up())
        wait_until(lambda: "horsies-prepare" not in [each.name for each in threading.enumerate()], 10)
    assert not database.is_prepared


def test_the_number_of_the_lock_is_the_same_in_all_statements() -> None:
    assert "1752134259" in admin("lock")
    assert "1752134259" in admin("lock_holder")
