"""The transactional tasks of the chaos harness. Each inserts a row into the table ``effects`` over its own connection.

The table has no unique key for tasks: the checker shall see a second effect of a task. The argument ``how`` says what
happens after the insert:

- ok: the task succeeds.
- err, raise: the task returns an error, or raises an exception.
- refuse: a deferred constraint refuses the commit of the first attempt.
"""

import asyncio
import os
import random
from collections.abc import Generator
from typing import Literal

import psycopg
from chaos_tasks import AGAIN, DELAYS, Text, app, note, sleep
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from horsies import AttemptOutcome, CurrentTask, RetryPolicy, TaskError, TaskResult, current_task

type How = Literal["ok", "err", "raise", "refuse"]
type Number = TaskResult[int, TaskError]

LOST = "LOST"  # the connection of the task, or the server
REFUSED = "REFUSED"
MAPPER: dict[type[BaseException], str] = {
    psycopg.OperationalError: LOST,
    psycopg.InterfaceError: LOST,
    psycopg.errors.UniqueViolation: REFUSED,
    DBAPIError: LOST,
    IntegrityError: REFUSED,
}
TRIED_AGAIN = [*AGAIN.auto_retry_for, "BROKER_ERROR", LOST, REFUSED]
AGAIN_OWN = RetryPolicy.fixed(DELAYS, auto_retry_for=TRIED_AGAIN, jitter=False)
INSERT = "insert into effects (task_id, attempt, pid, slot) values (%s, %s, %s, %s)"
LINGERING = 0.2
LONGEST_LINGERING_S = 1.5


class Base(DeclarativeBase):
    """The mapped classes."""


class Effect(Base):
    """A row of the table ``effects``. Its slot is unique; the constraint is deferred."""

    __tablename__ = "effects"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str]
    attempt: Mapped[int]
    pid: Mapped[int]
    slot: Mapped[str | None]


@app.around_task
def linger(task: CurrentTask) -> Generator[None, AttemptOutcome]:
    """Keep the process of some attempts busy between the commit and its report, so that faults happen there."""
    if task.name.startswith("effect"):
        outcome = yield
        if outcome.status == "COMPLETED" and random.random() < LINGERING:  # noqa: S311
            sleep(random.uniform(0, LONGEST_LINGERING_S))  # noqa: S311


def rows(how: How) -> list[tuple[str, int, int, str | None]]:
    """Return the rows that an attempt inserts. Two rows in the same slot are refused at the commit."""
    task = current_task()
    assert task is not None
    row = (task.id, task.attempt, os.getpid())
    is_refused = how == "refuse" and task.attempt == 1
    return [(*row, task.id)] * 2 if is_refused else [(*row, None)]


def conclude(how: How) -> Text:
    """Record the end of an attempt, and end it."""
    result = note("end")
    if how == "raise":
        raise RuntimeError(how)
    return TaskResult(err=TaskError(error_code="ALWAYS")) if how == "err" else TaskResult(ok=result)


def insert_and_wait(connection: psycopg.Connection, how: How, seconds: float) -> Text:
    """Insert, and wait in the open transaction."""
    note("begin")
    connection.cursor().executemany(INSERT, rows(how))
    sleep(seconds)
    return conclude(how)


@app.task("effect", queue_name="main", transactional=True, retry_policy=AGAIN_OWN, exception_mapper=MAPPER)
def effect(connection: psycopg.Connection, how: How, seconds: float) -> Text:
    return insert_and_wait(connection, how, seconds)


@app.task("effect_once", queue_name="main", transactional=True, exception_mapper=MAPPER)
def effect_once(connection: psycopg.Connection, how: How, seconds: float) -> Text:
    return insert_and_wait(connection, how, seconds)


@app.task("effect_late", queue_name="main", transactional=True, timeout_ms=300, exception_mapper=MAPPER)
def effect_late(connection: psycopg.Connection, seconds: float) -> Text:
    return insert_and_wait(connection, "ok", seconds)


@app.task("effect_cancelled", queue_name="main", transactional=True, retry_policy=AGAIN_OWN, exception_mapper=MAPPER)
def effect_cancelled(connection: psycopg.Connection, seconds: float) -> Text:
    """Be cancelled by the producer, at about the time at which it ends."""
    return insert_and_wait(connection, "ok", seconds)


@app.task("effect_async", queue_name="main", transactional=True, timeout_ms=300, exception_mapper=MAPPER)
async def effect_async(connection: psycopg.AsyncConnection, how: How, seconds: float) -> Text:
    note("begin")
    await connection.cursor().executemany(INSERT, rows(how))
    await asyncio.sleep(seconds)
    return conclude(how)


@app.task("effect_session", queue_name="main", transactional=True, retry_policy=AGAIN_OWN, exception_mapper=MAPPER)
def effect_session(session: Session, how: How, seconds: float) -> Text:
    note("begin")
    for task_id, attempt, pid, slot in rows(how):
        session.add(Effect(task_id=task_id, attempt=attempt, pid=pid, slot=slot))
    sleep(seconds)
    return conclude(how)


@app.task("effect_step", queue_name="main", transactional=True, retry_policy=AGAIN_OWN, exception_mapper=MAPPER)
def effect_step(connection: psycopg.Connection, value: int, fails: bool) -> Number:  # noqa: FBT001
    """Return the value, as the node of a workflow."""
    result = insert_and_wait(connection, "err" if fails else "ok", 0.1)
    return TaskResult(err=TaskError(error_code="BOOM")) if result.is_err() else TaskResult(ok=value)
