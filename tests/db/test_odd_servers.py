"""Servers and databases with unusual settings: encodings, time zones, date styles."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from copy import replace
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.sql import SQL, Identifier

from horsies.config.app import PostgresConfig
from horsies.config.retry import RetryPolicy
from horsies.db.connect import Database
from horsies.db.operations import CallFailedError
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from horsies.producer.pool import SyncPool
from tests.support.databases import new_database
from tests.support.factories import DrivenWorker, done, ended_task, failed, request, send
from tests.support.server import Server
from tests.support.sessions import Session, call, column, freeze_clock, move_clock, open_session, scalar

WORDS = "Žluťoučký kůň 🐎"
QUOTED = f'"{WORDS}"'.encode()
ESCAPED = rb'"\u017elu\u0165 \ud83d\udc0e"'
NOT_UTC = ["Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kolkata", "<+1245>-12:45"]
STYLES = ["ISO", "SQL, DMY", "German", "Postgres, MDY"]
BOUNDS = """
    select pg_get_expr(relpartbound, oid) from pg_class
    where relnamespace = 'horsies'::regnamespace and relname ~ '^history_2031' and relkind = 'r' order by relname
"""


def set_in_database(session: Session, name: str, value: str) -> None:
    """Give all later sessions of the database a setting."""
    statement = SQL("alter database {} set {} = {}")
    session.execute(statement.format(Identifier(session.info.dbname), Identifier(name), SQL(value)))


@pytest.fixture
def encoded_url(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """A database of an encoding, with the locale C."""
    with new_database(server, encoding=request.param) as url:
        yield url


def opened(url: str, **settings: object) -> Session:
    """Open a session as the library does, in a migrated database."""
    database = Database(PostgresConfig.model_validate({"database_url": url, **settings}))
    database.prepare()
    return database.connect()


@pytest.mark.parametrize("encoded_url", ["SQL_ASCII", "UTF8"], indirect=True)
def test_any_text_comes_back_as_it_went_in(encoded_url: str) -> None:
    wanted = request(name=WORDS, queue=WORDS, args=QUOTED)
    with opened(encoded_url) as session:
        send(session, wanted)
        worker = DrivenWorker(session, queues=(WORDS,), names=(WORDS,))
        [task] = worker.ask().tasks
        assert (task.id, task.task_name, task.args) == (wanted.task_id, WORDS, QUOTED)
        assert worker.finish(done(Fence(task.id, worker.exchange_no), QUOTED)) == ["accepted"]
        info = call(session, task_queries.task_info(wanted.task_id))
        assert info is not None
        assert (info.task_name, info.queue, info.result) == (WORDS, WORDS, QUOTED)


@pytest.mark.parametrize("encoded_url", ["SQL_ASCII"], indirect=True)
def test_escapes_in_json_need_no_encoding(encoded_url: str) -> None:
    policy = RetryPolicy.fixed([5], auto_retry_for=["BOOM"], jitter=False)
    with opened(encoded_url) as session:
        send(session, request(args=ESCAPED, retry=policy))
        worker = DrivenWorker(session)
        fence = worker.claim_one()
        error = replace(
            failed(fence), result=b'{"error_code":"BOOM","message":%b,"data":null,"exception":null}' % ESCAPED
        )
        assert worker.finish(error) == ["accepted"]
        assert scalar(session, "select args from horsies.tasks where attempt = 1") == ESCAPED


@pytest.mark.parametrize("encoded_url", ["LATIN1"], indirect=True)
@pytest.mark.parametrize("auto_migrate", [True, False])
def test_an_encoding_that_lacks_letters_is_refused(encoded_url: str, auto_migrate: bool) -> None:  # noqa: FBT001
    with pytest.raises(CallFailedError, match=r"has the encoding LATIN1.* encoding 'UTF8'") as caught:
        opened(encoded_url, auto_migrate=auto_migrate)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "setting", ["client_encoding=LATIN1", "datestyle=SQL, DMY", "datestyle=German", "timezone='<+1245>-12:45'"]
)
def test_a_producer_has_the_settings_it_reads_by(database_url: str, setting: str) -> None:
    """This holds for all settings of the database."""
    name, value = setting.split("=")
    with open_session(database_url) as session:
        set_in_database(session, name, value)
        sent = ended_task(session)
    database = Database(PostgresConfig(database_url=database_url))
    with closing(SyncPool(database)) as pool, pool.connection() as session:
        info = call(session, task_queries.task_info(sent))
        assert info is not None
        assert info.finished_at is not None
        assert abs(datetime.now(UTC) - info.finished_at) < timedelta(minutes=10)


@pytest.mark.parametrize("style", STYLES)
def test_every_connection_reads_times(database_url: str, style: str) -> None:
    """This includes the connections of schedulers and of the doctor, which are not pooled."""
    with open_session(database_url) as session:
        set_in_database(session, "datestyle", style)
        sent = ended_task(session)
    database = Database(PostgresConfig(database_url=database_url))

    async def awaited() -> datetime:
        async with await database.connect_async() as connection:
            cursor = await connection.execute("select finished_at from horsies.history where id = %s", (sent,))
            [found] = await cursor.fetchone() or [None]
            assert found is not None
            return found

    with database.connect() as connection:
        info = call(connection, task_queries.task_info(sent))
    assert info is not None
    assert info.finished_at == asyncio.run(awaited())


ZONES = ["UTC", "Asia/Tokyo", "America/New_York"]
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("infinity", LAST),
        ("-infinity", FIRST),
        ("10000-01-01 04:59:59.999999+00", LAST),
        ("294276-12-31 23:59:59+00", LAST),
        ("9999-12-31 23:59:59.999999+00", LAST),
        ("9999-12-31 12:00:00+00", LAST.replace(hour=12, minute=0, second=0, microsecond=0)),
        ("0001-01-01 00:00:00+00", FIRST),
        ("0001-01-01 00:00:00+14", FIRST),
        ("0044-03-15 12:00:00+00 BC", FIRST),
        ("2026-05-06 12:00:00+02", datetime(2026, 5, 6, 10, tzinfo=UTC)),
    ],
)
def test_times_beyond_those_of_python_are_the_last_or_the_first(
    db: Session, zone: str, stored: str, expected: datetime
) -> None:
    db.execute("select set_config('timezone', %s, false)", (zone,))
    assert scalar(db, "select %s::timestamptz", stored) == expected


@pytest.mark.parametrize("zone", NOT_UTC)
@pytest.mark.parametrize("style", STYLES)
def test_days_of_history_are_those_of_utc(db: Session, database_url: str, zone: str, style: str) -> None:
    """This holds for all settings of the session that creates partitions, ends tasks and prunes."""
    freeze_clock(db, datetime(2031, 5, 6, 23, 59, 59, tzinfo=UTC))
    set_in_database(db, "timezone", f"'{zone}'")
    set_in_database(db, "datestyle", style)
    with open_session(database_url) as odd:
        assert call(odd, worker_queries.add_partitions(1)) == 2
        first = ended_task(odd)
        move_clock(db, 1)
        second = ended_task(odd)
        move_clock(db, 24 * 3600)
        while call(odd, worker_queries.prune(24)):  # each call is one step
            continue
        assert column(odd, "select id from horsies.history") == [second]
    db.execute("set timezone = 'UTC'")
    db.execute("set datestyle = 'ISO'")
    assert column(db, BOUNDS) == ["FOR VALUES FROM ('2031-05-07 00:00:00+00') TO ('2031-05-08 00:00:00+00')"]
    assert first != second
