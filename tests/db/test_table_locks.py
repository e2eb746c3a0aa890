"""Migrations of tables that other sessions are using: short waits for locks, and an error that names the blocker."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from horsies.db import sqlfiles
from horsies.db.errors import call_failed
from horsies.db.migrate import migrate
from horsies.db.sqlfiles import DEFAULT_SCHEMA, admin
from horsies.db.table_locks import TablesLockedError
from tests.db.test_replica_identity import install
from tests.support.server import own_server
from tests.support.sessions import InBackground, NewSession, Session, open_session, scalar, wait_until_blocked

PREVIOUS = 18
"""The next migration changes the tables that the readers of this file read."""
APPLIED = [*(f"{number:04}" for number in sorted(sqlfiles.migrations()) if number > PREVIOUS), "functions"]
_READ = "select count(*) from horsies.schema_version"


@pytest.fixture
def outdated(db: Session) -> Session:
    """A session of a database that has the tables of the previous version."""
    db.execute("drop schema horsies cascade")
    install(db, PREVIOUS)
    return db


@pytest.fixture
def reader(outdated: Session, new_session: NewSession) -> Iterator[Session]:
    """A session with an open transaction that reads all tables of the schema, as pg_dump does."""
    session = new_session()
    session.execute("set application_name = 'nightly backup'")
    with session.transaction():
        for table in ("schema_version", "tasks", "history", "clock"):
            session.execute(f"select count(*) from horsies.{table}".encode())
        yield session


def test_others_use_the_tables_while_a_migration_waits_for_a_long_reader(
    outdated: Session, other: Session, reader: Session, new_session: NewSession, in_background: InBackground
) -> None:
    observer = new_session()
    migration = in_background(partial(migrate, outdated, DEFAULT_SCHEMA, wait_s=60))
    other.execute("set lock_timeout = '30s'")
    for _ in range(3):
        wait_until_blocked(observer, outdated)
        assert scalar(other, _READ) == 1  # before the reader has finished
    assert not migration.done()
    reader.execute("commit")
    assert migration.result() == APPLIED


def test_the_error_names_the_session_with_the_oldest_transaction(
    outdated: Session, reader: Session, new_session: NewSession
) -> None:
    second = new_session()
    with second.transaction():
        second.execute(_READ)
        with pytest.raises(TablesLockedError) as raised:
            migrate(outdated, DEFAULT_SCHEMA, wait_s=0)
    message = str(raised.value)
    pid = reader.info.backend_pid
    assert "other sessions have held locks on tables of the schema 'horsies'" in message
    assert f"process {pid} (application 'nightly backup', user " in message
    assert re.search(r"idle in transaction, its transaction began \d+ s ago\)", message)
    assert f"select pg_terminate_backend({pid}); then run `horsies db migrate` again" in message
    assert call_failed(raised.value).retryable


def test_a_lock_on_another_table_is_not_blamed(outdated: Session, reader: Session, new_session: NewSession) -> None:
    older = new_session()
    with older.transaction():
        older.execute("select count(*) from horsies.locks")
        reader.execute("commit")
        reader.execute("begin")
        reader.execute(_READ)
        with pytest.raises(TablesLockedError, match=f"process {reader.info.backend_pid} "):
            migrate(outdated, DEFAULT_SCHEMA, wait_s=0)


def test_a_failed_try_changes_nothing_and_keeps_no_lock(outdated: Session, reader: Session, other: Session) -> None:
    with pytest.raises(TablesLockedError):
        migrate(outdated, DEFAULT_SCHEMA, wait_s=0)
    with other.transaction():
        other.execute("set local lock_timeout = '1ms'")
        other.execute("lock table horsies.workers in access exclusive mode")
        other.execute(admin("lock").encode())
    assert scalar(other, "select version from horsies.schema_version") == PREVIOUS
    reader.execute("commit")
    assert migrate(outdated, DEFAULT_SCHEMA, wait_s=0) == APPLIED


def test_new_functions_do_not_wait_for_a_reader(db: Session, other: Session) -> None:
    """Partitions, which need a lock, are left to the workers."""
    days = "select count(*) from pg_inherits where inhparent = 'horsies.history'::regclass"
    before = scalar(db, days)
    newest = scalar(db, "select max(relname::text) from pg_class where relname ~ '^history_[0-9]{8}$'")
    db.execute(f"drop table horsies.{newest}".encode())
    db.execute("update horsies.schema_version set functions_hash = 'another'")
    with other.transaction():
        for table in ("schema_version", "tasks", "history", "history_default"):
            other.execute(f"select count(*) from horsies.{table}".encode())
        assert migrate(db, DEFAULT_SCHEMA, wait_s=0) == ["functions"]
    assert scalar(db, days) == before - 1


def test_a_prepared_transaction_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with own_server(tmp_path / "pg", {"max_prepared_transactions": "2"}) as server, open_session(server.url) as session:
        install(session, PREVIOUS)
        session.execute("begin")
        session.execute(_READ)
        session.execute("prepare transaction 'forgotten'")
        with pytest.raises(TablesLockedError, match=r"prepared transaction 'forgotten', .* ago; commit it or roll it"):
            migrate(session, DEFAULT_SCHEMA, wait_s=0)
        session.execute("rollback prepared 'forgotten'")
        assert migrate(session, DEFAULT_SCHEMA, wait_s=0) == APPLIED
