"""What the server functions read: index scans, few rows and few buffers, however full the tables are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from horsies.db import calls_tasks
from horsies.db.calls_worker import Fence
from tests.support.databases import new_database
from tests.support.factories import DrivenWorker, done, enqueue, expire, failed, numbered_id, reap, request
from tests.support.server import Server
from tests.support.sessions import Session, call, open_session, scalar

MANY = 100_000
FUTURE, DUE, DAYS_AGO = 1_000_000, 2_000_000, 3_000_000

_FILL = """
    insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select (%s || lpad(to_hex(n), 12, '0'))::uuid, 'add', %s, 100, '{}', horsies.now() + make_interval(secs => %s + n),
           horsies.now(), 'x'
    from generate_series(%s::int, %s::int) as n
"""
_FILL_HISTORY = """
    insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,
                                 finished_at, fingerprint)
    select (%s || lpad(to_hex(n), 12, '0'))::uuid, 'add', 'default', 100, '{}', 'COMPLETED', '1', horsies.now(), 1,
           horsies.now(), horsies.now(), 'x'
    from generate_series(%s::int, %s::int) as n
"""
_READS = """
    select c.relname, c.relkind, pg_stat_get_xact_numscans(c.oid), pg_stat_get_xact_tuples_returned(c.oid),
           pg_stat_get_xact_blocks_fetched(c.oid)
    from pg_class c where c.relnamespace = 'horsies'::regnamespace and c.relkind in ('r', 'i')
"""
_PREFIX = str(numbered_id(0))[:24]


@dataclass
class Reads:
    """What a transaction read: of each index or table its scans and the rows these returned, and blocks in all."""

    indexes: dict[str, int] = field(default_factory=dict)
    whole_tables: set[str] = field(default_factory=set)
    rows: int = 0
    blocks: int = 0


@contextmanager
def reading(session: Session) -> Iterator[Reads]:
    """Count what is read inside; nothing of it is kept."""
    reads = Reads()
    with session.transaction(force_rollback=True):
        before = {name: counts for name, _, *counts in session.execute(_READS)}
        yield reads
        for name, kind, *counts in session.execute(_READS):
            scans, rows, blocks = (now - then for now, then in zip(counts, before[name], strict=True))
            reads.blocks += blocks
            if scans:
                reads.rows += rows
                if kind == "i":
                    reads.indexes[name] = scans
                else:
                    reads.whole_tables.add(name)


def fill(session: Session, first: int, *, queue: str = "default", due_in: float = 0, count: int = MANY) -> None:
    session.execute(_FILL, (_PREFIX, queue, due_in - first, first, first + count - 1))


@pytest.fixture(scope="module")
def full(server: Server, template: str) -> Iterator[Session]:
    """100,000 scheduled tasks, 100,000 ended ones, no statistics: what a worker finds after a night of sending."""
    with new_database(server, template) as url, open_session(url) as session:
        fill(session, FUTURE, due_in=3600)
        session.execute(_FILL_HISTORY, (_PREFIX, DAYS_AGO, DAYS_AGO + MANY - 1))
        yield session


def send_due(session: Session, count: int = 20) -> None:
    fill(session, DUE, due_in=-3600, count=count)


def test_a_claim_reads_the_tasks_it_takes_and_no_scheduled_ones(full: Session) -> None:
    worker = DrivenWorker(full)
    send_due(full)
    with reading(full) as reads:
        assert len(worker.claim(10)) == 10
    assert reads.whole_tables == set()
    assert reads.indexes.keys() <= {"tasks_to_claim", "tasks_pkey", "workers_pkey"}
    assert reads.rows < 50
    assert reads.blocks < 300


def test_an_idle_claim_reads_next_to_nothing(full: Session) -> None:
    worker = DrivenWorker(full)
    full.execute("delete from horsies.tasks where id < %s", (numbered_id(FUTURE),))
    with reading(full) as reads:
        assert worker.claim(10) == []
    assert reads.indexes.keys() <= {"tasks_to_claim", "workers_pkey"}
    assert reads.rows < 10
    assert reads.blocks < 30
