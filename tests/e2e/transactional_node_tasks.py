"""An app with workflows whose nodes are transactional tasks. Each inserts its key into the table ``effects``.

The argument ``how`` says how the attempt ends: "ok", "err", "raise", or "refuse": a deferred constraint refuses the
commit of the first attempt.
"""

import os

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession
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
MAPPER: dict[type[BaseException], str] = {psycopg.errors.UniqueViolation: "REFUSED"}
AGAIN = RetryPolicy.fixed([0.1], auto_retry_for=["REFUSED"], jitter=False)
INSERT = "insert into effects (key, slot) values ('{}', {})"

type Number = TaskResult[int, TaskError]


class Base(DeclarativeBase):
    """The mapped classes."""


class Effect(Base):
    """A row of the table ``effects``."""

    __tablename__ = "effects"

    key: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[int | None]


def rows(key: str, how: str) -> list[tuple[str, int | None]]:
    """Return the rows that an attempt inserts."""
    task = current_task()
    is_refused = how == "refuse" and task is not None and task.attempt == 1
    return [(key, 1), (f"{key}, again", 1)] if is_refused else [(key, None)]


def statements(key: str, how: str) -> list[str]:
    """Return the statements that insert the rows."""
    return [INSERT.format(key, "null" if slot is None else slot) for key, slot in rows(key, how)]


def conclude(value: int, how: str) -> Number:
    """End a task."""
    if how == "raise":
        raise RuntimeError(how)
    return TaskResult(err=TaskError(error_code="NO")) if how == "err" else TaskResult(ok=value)


@app.task("number")
def number(value: int) -> Number:
    """Return a number."""
    return TaskResult(ok=value)


@app.task("numbers")
def numbers(count: int) -> TaskResult[list[int], TaskError]:
    """Return several numbers."""
    return TaskResult(ok=list(range(count)))


@app.task("psycopg", transactional=True, exception_mapper=MAPPER, retry_policy=AGAIN)
def by_psycopg(connection: psycopg.Connection, before: Number, key: str, how: str) -> Number:
    """Use a connection of psycopg."""
    for statement in statements(key, how):
        connection.execute(statement.encode())
    return conclude(before.unwrap() + 1, how)


@app.task("psycopg_async", transactional=True, exception_mapper=MAPPER, retry_policy=AGAIN)
async def by_psycopg_async(connection: psycopg.AsyncConnection, before: Number, key: str, how: str) -> Number:
    """Use an asynchronous connection of psycopg."""
    for statement in statements(key, how):
        await connection.execute(statement.encode())
    return conclude(before.unwrap() + 1, how)


@app.task("alchemy", transactional=True, exception_mapper=MAPPER, retry_policy=AGAIN)
def by_alchemy(connection: Connection, before: Number, key: str, how: str) -> Number:
    """Use a connection of SQLAlchemy."""
    for statement in statements(key, how):
        connection.execute(text(statement))
    return conclude(before.unwrap() + 1, how)


@app.task("session", transactional=True, exception_mapper=MAPPER, retry_policy=AGAIN)
def by_session(session: Session, before: Number, key: str, how: str) -> Number:
    """Use a session of SQLAlchemy."""
    session.add_all(Effect(key=key, slot=slot) for key, slot in rows(key, how))
    return conclude(before.unwrap() + 1, how)


@app.task("session_async", transactional=True, exception_mapper=MAPPER, retry_policy=AGAIN)
async def by_session_async(session: AsyncSession, before: Number, key: str, how: str) -> Number:
    """Use an asynchronous session of SQLAlchemy."""
    session.add_all(Effect(key=key, slot=slot) for key, slot in rows(key, how))
    return conclude(before.unwrap() + 1, how)


@app.task("item", transactional=True)
def store_item(connection: psycopg.Connection, number: int) -> Number:
    """Store an item of a map. Odd items fail."""
    connection.execute(INSERT.format(f"item {number}", "null").encode())
    return TaskResult(err=TaskError(error_code="ODD")) if number % 2 else TaskResult(ok=number)


@app.task("code_of")
def code_of(before: Number) -> TaskResult[str, TaskError]:
    """Return the error code of the node before."""
    return TaskResult(ok="-" if before.is_ok() else str(before.unwrap_err().error_code))


@app.task("total")
def total(parts: TaskResult[list[Number], TaskError]) -> Number:
    """Return the sum of the items that completed."""
    return TaskResult(ok=sum(part.ok or 0 for part in parts.unwrap()))
