"""Settings of the database or the role that would change what our statements do, or end our sessions."""

import asyncio
from contextlib import closing

import psycopg
import pytest

from horsies.config.app import PostgresConfig
from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.db.operations import Call, CallFailedError
from horsies.db.pipeline import round_trip, round_trip_async
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from horsies.db.sqlfiles import admin
from tests.support.databases import ODD_SETTINGS, set_for_all
from tests.support.factories import DrivenWorker, done, failed, request
from tests.support.sessions import Session, scalar

NAMES = [name for name in ODD_SETTINGS if name != "client_encoding"]
LOOK = Call[dict[str, str]](
    "select name, current_setting(name, true) from unnest(%s::text[]) as name",
    ([*NAMES, "transaction_isolation"],),
    dict,
)
OURS = {
    "default_transaction_isolation": "read committed",
    "array_nulls": "on",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "plpgsql.extra_errors": "none",
    "exit_on_error": "off",
    "statement_timeout": "30s",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "1min",
    "idle_session_timeout": "0",
    "transaction_isolation": "read committed",
}


@pytest.fixture
def odd_url(db: Session, database_url: str) -> str:
    """A database with odd settings, which the session of the test does not have."""
    set_for_all(database_url, ODD_SETTINGS)
    return database_url


@pytest.fixture(params=["own sessions", "shared sessions"])
def database(request: pytest.FixtureRequest, odd_url: str) -> Database:
    """The same, as a program with or without a pooler sees it."""
    shared = request.param == "shared sessions"
    return Database(PostgresConfig(database_url=odd_url, pgbouncer_transaction_mode=shared))


def expected(found: dict[str, str]) -> dict[str, str | None]:
    """Our settings; None for those that the server does not have."""
    return {name: None if found[name] is None else value for name, value in OURS.items()}


def test_a_call_has_our_settings(database: Database) -> None:
    with database.connect() as connection:
        [[found]] = round_trip(database, connection, [LOOK])
    assert found == expected(found)


def test_a_call_of_asyncio_has_our_settings(database: Database) -> None:
    async def look() -> dict[str, str]:
        async with await database.connect_async() as connection:
            [[found]] = await round_trip_async(database, connection, [LOOK])
            return found

    found = asyncio.run(look())
    assert found == expected(found)


def test_a_shared_session_keeps_the_settings_that_it_had(odd_url: str) -> None:
    database = Database(PostgresConfig(database_url=odd_url, pgbouncer_transaction_mode=True))
    with database.connect() as connection:
        before = dict(connection.execute(LOOK.sql, LOOK.params).fetchall())
        assert round_trip(database, connection, [LOOK], [LOOK])[1] != [before]
        assert dict(connection.execute(LOOK.sql, LOOK.params).fetchall()) == before
        assert before["default_transaction_isolation"] == "serializable"


def test_a_call_that_fails_on_a_shared_session_commits_nothing(odd_url: str, db: Session) -> None:
    database = Database(PostgresConfig(database_url=odd_url, pgbouncer_transaction_mode=True))
    wanted = request()
    with closing(database.connect()) as connection, pytest.raises(CallFailedError, match="DivisionByZero"):
        round_trip(database, connection, [task_queries.enqueue(wanted, replay=False), Call("select 1 / 0", (), list)])
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_the_limit_of_a_statement_is_that_of_the_connection(database: Database) -> None:
    with database.connect(limit_s=61.5) as connection:
        [[found]] = round_trip(database, connection, [LOOK])
        assert found["statement_timeout"] == "61500ms"


def test_a_task_passes_through(database: Database, db: Session) -> None:
    """From its send to its record, with null elements of arrays in its outcomes."""
    worker, good, bad = DrivenWorker(db).id, request(), request()

    with database.connect() as connection:

        def ask[R](call: Call[R]) -> R:
            return round_trip(database, connection, [call])[0][0]

        for each in (good, bad):
            assert ask(task_queries.enqueue(each, replay=True)) == "sent"
        claimed = ask(worker_queries.claim(worker, 1, 10, ["default"], [good.task_name], free=10)).tasks
        assert {task.id for task in claimed} == {good.task_id, bad.task_id}
        outcomes = [done(Fence(good.task_id, 1)), failed(Fence(bad.task_id, 1))]
        verdicts = ask(worker_queries.finish(worker, "host", outcomes))
        assert {verdict.verdict for verdict in verdicts.values()} == {"accepted"}
        info = ask(task_queries.task_info(good.task_id))
        assert info is not None
        assert (info.status, info.error_code) == ("COMPLETED", None)
        assert info.sent_at <= (info.finished_at or info.sent_at)


@pytest.mark.parametrize("auto_migrate", [True, False])
def test_a_schema_is_made(empty_database_url: str, *, auto_migrate: bool) -> None:
    set_for_all(empty_database_url, ODD_SETTINGS)
    database = Database(PostgresConfig(database_url=empty_database_url, auto_migrate=auto_migrate))
    if auto_migrate:
        database.prepare()
        assert database.is_prepared
    else:
        with pytest.raises(CallFailedError, match="horsies db migrate"):
            database.prepare()


def test_a_database_that_is_read_only_by_default_is_waited_for(database_url: str) -> None:
    set_for_all(database_url, {"default_transaction_read_only": "on"})
    database = Database(PostgresConfig(database_url=database_url))
    with pytest.raises(psycopg.OperationalError, match="session is read-only") as caught:
        database.connect()
    failure = call_failed(caught.value)
    assert failure.retryable
    assert "default_transaction_read_only" in str(database.config.unusable(failure.message).help_text)


def test_every_setting_has_a_reason() -> None:
    """One comment line above each setting, or above a group of them."""
    lines = [line.strip() for line in admin("session_settings").splitlines()]
    first = lines.index("from (values") + 1
    groups = [line for line in lines[first:] if line.startswith("--")]
    assert len(groups) >= 8
    assert lines[first].startswith("--")
