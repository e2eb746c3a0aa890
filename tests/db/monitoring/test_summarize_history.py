"""`summarize_history`: the block range indexes of history have summaries of all blocks."""

from datetime import timedelta

import pytest

from horsies.db.queries import worker as worker_queries
from tests.support.factories import ended_task
from tests.support.sessions import NOON, Session, call, freeze_clock, scalar

SUMMARIES = (
    "select coalesce(sum(brin_summarize_new_values(i.indexrelid)), 0)::int from pg_index i"
    " join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam"
    " where m.amname = 'brin' and c.relkind = 'i' and c.relnamespace = 'horsies'::regnamespace"
)


@pytest.fixture(autouse=True)
def _history(db: Session) -> None:
    """Fill more than one range of 128 blocks, with too few rows for autovacuum, which would add summaries."""
    freeze_clock(db)
    call(db, worker_queries.add_partitions(6))
    ended_task(db)
    db.execute("create temp table more as select * from horsies.history")
    db.execute("update more set args = to_json(repeat('x', 1500))")
    db.execute(
        "insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,"
        " started_at, finished_at, fingerprint) select md5(n::text)::uuid, task_name, queue, priority, args, status,"
        " result, run_at, attempt, sent_at, started_at, finished_at, fingerprint from more, generate_series(1, 900) as n"
    )


def summarize(db: Session) -> None:
    db.execute("select horsies.summarize_history(%s, %s)", (NOON, NOON + timedelta(minutes=1)))


def test_no_block_is_left_without_a_summary(db: Session) -> None:
    summarize(db)
    assert scalar(db, SUMMARIES) == 0


def test_without_it_a_block_has_none(db: Session) -> None:
    assert scalar(db, SUMMARIES) > 0


def test_a_partition_that_is_locked_is_not_waited_for(db: Session, other: Session) -> None:
    with other.transaction():
        for (name,) in db.execute(
            "select relname from pg_class where relkind = 'r' and relnamespace = 'horsies'::regnamespace"
            " and relname like 'history%'"
        ).fetchall():
            other.execute(f"lock table horsies.{name} in share update exclusive mode".encode())
        summarize(db)
    assert scalar(db, SUMMARIES) > 0
