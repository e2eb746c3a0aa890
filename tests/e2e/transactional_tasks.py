"""Transactional tasks for all kinds of connections. Each inserts its key into the table ``effects``.

The argument ``how`` says what happens after that; see `STATEMENTS` and `conclude`.
"""

import asyncio
import os
import time
from pathlib import Path

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from horsies import AppConfig, Horsies, PostgresConfig, RetryPolicy, TaskError, TaskResult, current_task

URL, SCHEMA = os.environ.get("HORSIES_DATABASE_URL"), os.environ.get("HORSIES_TEST_SCHEMA", "horsies")
app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=URL,
            schema=SCHEMA,
            pgbouncer_transaction_mode=os.environ.get("TEST_POOL_MODE") == "transaction",
        )
    )
)
MAPPER: dict[type[BaseException], str] = {psycopg.errors.UniqueViolation: "DUPLICATE"}
AGAIN = RetryPolicy.fixed([0.1], auto_retry_for=["DUPLICATE"], jitter=False)

COMMITS_AFTER_MS = 3_000
WITHOUT_LIMITS = b"""
    select set_config(name, '0', true)
    from unnest(array['statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout']) as name
    where current_setting(name, true) is not null
"""

STATEMENTS = {
    "sql commit": "commit",
    "sql rollback": "rollback",
    "broken": "select 1 / 0",
    "deferred": "insert into effects (key, slot) values ('second', 1), ('third', 1)",
    "leak": "set statement_timeout = '1h'",
}

type Text = TaskResult[str, TaskError]


class Base(DeclarativeBase):
    """The mapped classes."""


class Effect(Base):
    """A row of the table ``effects``."""

    __tablename__ = "effects"

    key: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[int | None]


def insert(key: str) -> str:
    """Return the statement that inserts a key, which contains no quotes."""
    return f"insert into effects (key) values ('{key}')"


def note(key: str) -> None:
    """Append a line to the ledger."""
    with Path(os.environ["TEST_LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write(f"{key} {os.getpid()}\n".encode())


def is_released(key: str) -> bool:
    """Whether the file of that name exists."""
    return Path(f"{key}.go").exists()


def conclude(key: str, how: str) -> Text:
    """End a task."""
    if how == "raise":
        raise RuntimeError(how)
    if how == "unencodable":
        return TaskResult(ok=1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    if how == "progress" and (task := current_task()) is not None:
        task.progress(0.5)
    return TaskResult(err=TaskError(error_code="NO")) if how == "err" else TaskResult(ok=key)


@app.task("psycopg", transactional=True, exception_mapper=MAPPER)
def by_psycopg(connection: psycopg.Connection, key: str, how: str) -> Text:
    """Use a connection of psycopg."""
    connection.execute(insert(key).encode())
    if how == "commit":
        connection.commit()
    if how in STATEMENTS:
        try:
            connection.execute(STATEMENTS[how].encode())
        except psycopg.Error:
            note(f"{key}:failed")
    return conclude(key, how)


@app.task("psycopg_async", transactional=True, exception_mapper=MAPPER)
async def by_psycopg_async(connection: psycopg.AsyncConnection, key: str, how: str) -> Text:
    """Use an asynchronous connection of psycopg."""
    await connection.execute(insert(key).encode())
    if how == "commit":
        await connection.commit()
    if how in STATEMENTS:
        try:
            await connection.execute(STATEMENTS[how].encode())
        except psycopg.Error:
            note(f"{key}:failed")
    return conclude(key, how)


@app.task("alchemy", transactional=True, exception_mapper=MAPPER)
def by_alchemy(connection: Connection, key: str, how: str) -> Text:
    """Use a connection of SQLAlchemy."""
    connection.execute(text(insert(key)))
    if how == "commit":
        connection.commit()
    if how in STATEMENTS:
        try:
            connection.execute(text(STATEMENTS[how]))
        except Exception:  # noqa: BLE001 - what SQLAlchemy makes of an error of psycopg
            note(f"{key}:failed")
    return conclude(key, how)


@app.task("session", transactional=True, exception_mapper=MAPPER)
def by_session(session: Session, key: str, how: str) -> Text:
    """Use a session of SQLAlchemy, which is flushed by the worker."""
    session.add(Effect(key=key))
    if how == "commit":
        session.commit()
    if how in STATEMENTS:
        try:
            session.execute(text(STATEMENTS[how]))
        except Exception:  # noqa: BLE001
            note(f"{key}:failed")
    return conclude(key, how)


@app.task("alchemy_async", transactional=True, exception_mapper=MAPPER)
async def by_alchemy_async(connection: AsyncConnection, key: str, how: str) -> Text:
    """Use an asynchronous connection of SQLAlchemy."""
    await connection.execute(text(insert(key)))
    if how == "commit":
        await connection.commit()
    if how in STATEMENTS:
        try:
            await connection.execute(text(STATEMENTS[how]))
        except Exception:  # noqa: BLE001
            note(f"{key}:failed")
    return conclude(key, how)


@app.task("session_async", transactional=True, exception_mapper=MAPPER)
async def by_session_async(session: AsyncSession, key: str, how: str) -> Text:
    """Use an asynchronous session of SQLAlchemy, which is flushed by the worker."""
    session.add(Effect(key=key))
    if how == "commit":
        await session.commit()
    if how in STATEMENTS:
        try:
            await session.execute(text(STATEMENTS[how]))
        except Exception:  # noqa: BLE001
            note(f"{key}:failed")
    return conclude(key, how)


@app.task("again", transactional=True, exception_mapper=MAPPER, retry_policy=AGAIN)
def again(connection: psycopg.Connection, key: str) -> Text:
    """Fail at the commit of the first attempt."""
    task = current_task()
    is_first = task is not None and task.attempt == 1
    connection.execute(b"insert into effects (key, slot) values (%s, 7)", (key,))
    if is_first:
        connection.execute(b"insert into effects (key, slot) values ('other', 7)")
    return TaskResult(ok=key)


@app.task("settings", transactional=True)
def settings(connection: psycopg.Connection) -> TaskResult[list[str], TaskError]:
    """Return settings of the session, the isolation level, and the number of its temporary tables."""
    found = connection.execute(
        b"select current_setting('statement_timeout'), current_setting('transaction_isolation'),"
        b" coalesce(current_setting('client_connection_check_interval', true), ''),"
        b" (select count(*)::text from pg_class where relnamespace = pg_my_temp_schema())"
    ).fetchone()
    connection.execute(b"set statement_timeout = '1h'")
    connection.execute(b"create temporary table leftover ()")
    connection.execute(b"select pg_advisory_lock(7)")
    return TaskResult(ok=list(found or ()))


@app.task("unused", transactional=True)
def unused(connection: psycopg.Connection, how: str) -> Text:
    """Do not use the connection."""
    return conclude("unused", how)


@app.task("unused_session", transactional=True)
def unused_session(session: Session, how: str) -> Text:
    """Do not use the session of SQLAlchemy."""
    return conclude("unused", how)


@app.task("unused_async", transactional=True)
async def unused_async(connection: psycopg.AsyncConnection, how: str) -> Text:
    """Do not use the asynchronous connection."""
    return conclude("unused", how)


@app.task("hold", transactional=True, timeout_ms=1_000)
def hold(connection: psycopg.Connection, key: str) -> Text:
    """Wait for a file, longer than the time-out."""
    connection.execute(insert(key).encode())
    note(key)
    while not is_released(key):
        time.sleep(0.02)
    return TaskResult(ok=key)


@app.task("hold_briefly", transactional=True, timeout_ms=COMMITS_AFTER_MS)
def hold_briefly(connection: psycopg.Connection, key: str) -> Text:
    """Wait for a file, shorter than the time-out."""
    connection.execute(WITHOUT_LIMITS)
    return hold(connection, key)


@app.task("hold_briefly_async", transactional=True, timeout_ms=COMMITS_AFTER_MS)
async def hold_briefly_async(connection: psycopg.AsyncConnection, key: str) -> Text:
    """Wait for a file, shorter than the time-out."""
    await connection.execute(WITHOUT_LIMITS)
    return await hold_async(connection, key)


@app.task("hold_async", transactional=True)
async def hold_async(connection: psycopg.AsyncConnection, key: str) -> Text:
    """Wait for a file. The server does not look whether the child still exists."""
    await connection.execute(insert(key).encode())
    await connection.execute(
        b"select set_config('client_connection_check_interval', '0', true)"
        b" where current_setting('client_connection_check_interval', true) is not null"
    )
    note(key)
    while not is_released(key):  # noqa: ASYNC110 - another process creates the file
        await asyncio.sleep(0.02)
    return TaskResult(ok=key)


@app.task("plain")
def plain(key: str) -> Text:
    """Return the key."""
    return TaskResult(ok=key)


@app.task("sends", transactional=True)
def sends(connection: psycopg.Connection, key: str, how: str) -> Text:
    """Send another task as a part of the transaction; returns its id."""
    handle = plain.with_options(connection=connection).send(key).unwrap()
    Path(f"{key}.id").write_text(handle.task_id)
    return TaskResult(err=TaskError(error_code="NO")) if how == "err" else TaskResult(ok=handle.task_id)
