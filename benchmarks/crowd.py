"""Crowds: many rows that a claim must not take, each crowd in a separate database."""

from collections.abc import Generator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from horsies.db.migrate import migrate

_TASKS = """
    insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select lpad(to_hex(n), 32, '0')::uuid, {name}, 'default', 100, '{{"number":1}}', {run_at}, now(), '\\x00'
    from generate_series(1, {count}) as n
"""
_HISTORY = """
    insert into horsies.history
        (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at, finished_at, fingerprint)
    select lpad(to_hex(n), 32, '0')::uuid, 'noop', 'default', 100, '{{"number":1}}', 'COMPLETED', '1', now(), 1, now(),
           now() - n * interval '1 ms', '\\x00'
    from generate_series(1, {count}) as n
"""


def scheduled(count: int) -> str:
    """Tasks that the worker knows, due from tomorrow on."""
    return _TASKS.format(name="'noop'", run_at="now() + interval '1 day' + n * interval '1 ms'", count=count)


def waiting(count: int, queues: int = 1) -> str:
    """Tasks that the worker knows, due an hour ago, in the queue `default` or spread over `queue_0`, `queue_1`, …"""
    due = _TASKS.format(name="'noop'", run_at="now() - interval '1 hour' + n * interval '1 us'", count=count)
    return due if queues == 1 else due.replace("'default'", f"'queue_' || n % {queues}")


def foreign(count: int) -> str:
    """Tasks with names that the worker does not know, due an hour ago, before all others."""
    return _TASKS.format(name="'foreign_' || n % 10", run_at="now() - interval '1 hour'", count=count)


def ended(count: int) -> str:
    """Tasks that ended in the last minutes."""
    return _HISTORY.format(count=count)


@contextmanager
def place(url: str, fill: str | None) -> Generator[str]:
    """Create another database with a crowd, in the state after autovacuum."""
    name = f"crowd_{uuid4().hex}"
    there = make_conninfo(url, dbname=name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
        with psycopg.connect(there, autocommit=True) as inside:
            migrate(inside, "horsies")
            if fill is not None:
                inside.execute(fill.encode())
            inside.execute("vacuum (analyze)")
        yield there
        connection.execute(f"drop database {name} with (force)".encode())
