"""`list_tasks`: by status, queue and name, the latest sent first, without reading all of history."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.monitoring import TaskFilter
from tests.support.factories import DrivenWorker, done, failed, numbered_id, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

MINUTE = timedelta(minutes=1)


@pytest.fixture
def ids(db: Session) -> list[UUID]:
    """Create a completed, a failed, a running and a waiting task, and one that waits in another queue."""
    sent = [send(db, request(numbered_id(number))) for number in range(4)]
    worker = DrivenWorker(db)
    completed, broken, _ = worker.claim(3)
    worker.finish(done(completed), failed(broken))
    return [*sent, send(db, request(numbered_id(4), name="mail", queue="other"))]


def listed(db: Session, *statuses: str, most: int = 10, **wanted: Any) -> list[UUID]:
    conditions = TaskFilter(statuses=statuses or None, **wanted)
    return [row.id for row in call(db, monitoring_queries.list_tasks(conditions, most))]


def test_all_the_latest_first(db: Session, ids: list[UUID]) -> None:
    assert listed(db) == ids[::-1]
    assert listed(db, most=2) == [ids[4], ids[3]]
    rows = call(db, monitoring_queries.list_tasks(TaskFilter(), 10))
    assert [row.status for row in rows] == ["PENDING", "PENDING", "RUNNING", "FAILED", "COMPLETED"]


def test_filters(db: Session, ids: list[UUID]) -> None:
    assert listed(db, "RUNNING") == [ids[2]]
    assert listed(db, "FAILED", "PENDING") == [ids[4], ids[3], ids[1]]
    assert listed(db, queue="other") == [ids[4]]
    assert listed(db, name="add", queue="default") == ids[3::-1]
    assert listed(db, "COMPLETED", name="add") == [ids[0]]
    assert listed(db, name="nothing") == []


def test_by_error_code_and_by_the_time_of_the_end(db: Session) -> None:
    freeze_clock(db)
    sent = [send(db, request(numbered_id(number))) for number in range(4)]
    worker = DrivenWorker(db)
    for fence, code in zip(worker.claim(3), ["BOOM", "BANG", "BOOM"], strict=True):
        worker.finish(failed(fence, code))
        move_clock(db, 60)
    assert listed(db, codes=["BOOM"]) == [sent[2], sent[0]]
    assert listed(db, codes=["BOOM", "BANG"]) == sent[2::-1]
    assert listed(db, codes=["BOOM"], most=1) == [sent[2]]
    assert listed(db, codes=["NOTHING"]) == []
    assert listed(db, since=NOON + MINUTE) == [sent[2], sent[1]]
    assert listed(db, until=NOON + MINUTE) == [sent[0]], "live tasks are left out, too"
    assert listed(db, "FAILED", codes=["BOOM"], since=NOON, until=NOON + MINUTE) == [sent[0]]
    assert listed(db, "PENDING") == [sent[3]]
    assert listed(db, "PENDING", since=NOON) == []


def test_of_history_the_latest_are_looked_at(db: Session, ids: list[UUID]) -> None:
    found = db.execute("select horsies.list_tasks(array['COMPLETED'], null, null, null, null, null, 10, 1)").fetchall()
    assert found == []
    found = db.execute("select horsies.list_tasks(array['COMPLETED'], null, null, null, null, null, 10, 2)").fetchall()
    assert found == [(ids[0],)]


def test_history_is_not_read_in_full(db: Session) -> None:
    db.execute(
        "insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,"
        " finished_at, fingerprint) select (%s || lpad(to_hex(n), 12, '0'))::uuid, 'add', 'default', 100, '{}',"
        " 'COMPLETED', '1', now(), 1, now(), now() - n * interval '1 minute', 'x' from generate_series(1, 5000) as n",
        (str(numbered_id(0))[:24],),
    )
    with db.transaction(force_rollback=True):
        found = db.execute("select horsies.list_tasks(null, null, 'nothing', null, null, null, 10, 100)").fetchall()
        read = db.execute(
            "select sum(pg_stat_get_xact_tuples_returned(c.oid)) from pg_class c"
            " where c.relnamespace = 'horsies'::regnamespace and c.relname like 'history%' and c.relkind = 'i'"
        ).fetchone()
        whole = db.execute(
            "select sum(pg_stat_get_xact_numscans(c.oid)) from pg_class c"
            " where c.relnamespace = 'horsies'::regnamespace and c.relname like 'history%' and c.relkind = 'r'"
        ).fetchone()
    assert found == []
    assert read is not None
    assert 100 <= read[0] < 200
    assert whole == (0,)
