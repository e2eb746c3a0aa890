"""`is_sampled`: whether samples have as many tasks and attempts as there are."""

from datetime import timedelta
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, ended_task, failed, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, scalar

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _two_sampled_minutes(db: Session) -> None:
    """Complete a task in the first minute, and retry one in the second."""
    freeze_clock(db)
    call(db, worker_queries.add_partitions(6))
    ended_task(db)
    move_clock(db, 60)
    worker = DrivenWorker(db)
    send(db, request(retry=RetryPolicy.fixed([600], jitter=False, auto_retry_for=["BOOM"])))
    worker.finish(failed(worker.claim_one(), "BOOM"))
    move_clock(db, 60)
    assert all(iter(lambda: call(db, monitoring_queries.sample(None)), 0))


def is_sampled(db: Session) -> Any:
    return scalar(db, "select horsies.is_sampled(%s, %s)", NOON, NOON + 2 * MINUTE)


def copy_row(db: Session, table: str, column: str) -> None:
    db.execute(f"create temp table late as select * from horsies.{table}".encode())
    db.execute(f"update late set {column} = %s".encode(), (uuid7(),))
    db.execute(f"insert into horsies.{table} select * from late".encode())


def test_samples_that_were_computed_are_complete(db: Session) -> None:
    assert is_sampled(db) is True


@pytest.mark.parametrize(("table", "column"), [("history", "id"), ("attempts", "task_id")])
def test_another_row_makes_them_incomplete(db: Session, table: str, column: str) -> None:
    copy_row(db, table, column)
    assert is_sampled(db) is False


def test_rows_of_other_minutes_do_not_matter(db: Session) -> None:
    ended_task(db)
    assert is_sampled(db) is True


def test_without_rows_and_samples_there_is_nothing_to_do(db: Session) -> None:
    db.execute("truncate horsies.history, horsies.attempts, horsies.samples")
    assert is_sampled(db) is True


def test_history_is_read_by_the_block_range_index(db: Session) -> None:
    db.execute("analyze horsies.history")
    reads = "select sum(pg_stat_get_xact_numscans(c.oid))::int from pg_class c where c.relkind = 'r'"
    reads += " and c.relnamespace = 'horsies'::regnamespace and c.relname ~ '^(history|attempts)'"
    with db.transaction():
        before = scalar(db, reads)
        assert is_sampled(db) is True
        assert scalar(db, reads) == before, "a sequential scan"
