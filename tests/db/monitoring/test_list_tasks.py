"""`list_tasks`: by status, queue and name, the latest sent first, without reading all of history."""

from uuid import UUID

import pytest

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, done, failed, numbered_id, request, send
from tests.support.sessions import Session, call


@pytest.fixture
def ids(db: Session) -> list[UUID]:
    """Completed, failed, running, waiting, and one more that waits in another queue."""
    sent = [send(db, request(numbered_id(number))) for number in range(4)]
    worker = DrivenWorker(db)
    completed, broken, _ = worker.claim(3)
    worker.finish(done(completed), failed(broken))
    return [*sent, send(db, request(numbered_id(4), name="mail", queue="other"))]


def listed(
    db: Session, *statuses: str, queue: str | None = None, name: str | None = None, most: int = 10
) -> list[UUID]:
    return [row.id for row in call(db, monitoring_queries.list_tasks(statuses or None, queue, name, most))]


def test_all_the_latest_first(db: Session, ids: list[UUID]) -> None:
    assert listed(db) == ids[::-1]
    assert listed(db, most=2) == [ids[4], ids[3]]
    rows = call(db, monitoring_queries.list_tasks(None, None, None, 10))
    assert [row.status for row in rows] == ["PENDING", "PENDING", "RUNNING", "FAILED", "COMPLETED"]


def test_filters(db: Session, ids: list[UUID]) -> None:
    assert listed(db, "RUNNING") == [ids[2]]
    assert listed(db, "FAILED", "PENDING") == [ids[4], ids[3], ids[1]]
    assert listed(db, queue="other") == [ids[4]]
    assert listed(db, name="add", queue="default") == ids[3::-1]
    assert listed(db, "COMPLETED", name="add") == [ids[0]]
    assert listed(db, name="nothing") == []


def test_of_history_the_latest_are_looked_at(db: Session, ids: list[UUID]) -> None:
    found = db.execute("select horsies.list_tasks(array['COMPLETED'], null, null, 10, 1)").fetchall()
    assert found == []
    found = db.execute("select horsies.list_tasks(array['COMPLETED'], null, null, 10, 2)").fetchall()
    assert found == [(ids[0],)]


def test_history_is_not_read_in_full(db: Session) -> None:
    db.execute(
        "insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,"
        " finished_at, fingerprint) select (%s || lpad(to_hex(n), 12, '0'))::uuid, 'add', 'default', 100, '{}',"
        " 'COMPLETED', '1', now(), 1, now(), now() - n * interval '1 minute', 'x' from generate_series(1, 5000) as n",
        (str(numbered_id(0))[:24],),
    )
    with db.transaction(force_rollback=True):
        found = db.execute("select horsies.list_tasks(null, null, 'nothing', 10, 100)").fetchall()
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
