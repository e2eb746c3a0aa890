"""`run_counts`: live workflow runs, and those that ended recently, by status."""

from horsies.db.queries import status as status_queries
from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, control, node, start
from tests.support.sessions import Session, call, freeze_clock, move_clock
from tests.support.waiting import wait_until

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}


def counts(db: Session, within_s: float = 3600) -> dict[str, int]:
    found = call(db, status_queries.run_counts(within_s))
    assert all(row.is_exact for row in found)
    return {row.status: row.runs for row in found if row.runs}


def test_runs_are_counted_by_status(db: Session) -> None:
    freeze_clock(db)
    assert counts(db) == {}
    running, paused, cancelled = (start(db, node()) for _ in range(3))
    control(db, paused, "pause")
    control(db, cancelled, "cancel")
    assert running
    assert counts(db) == {"RUNNING": 1, "PAUSED": 1, "CANCELLED": 1}
    move_clock(db, 3601)
    assert counts(db) == {"RUNNING": 1, "PAUSED": 1}


def test_child_runs_are_left_out(db: Session) -> None:
    run = start(db, node(**BUILD))
    attach(db, DrivenWorker(db, names=[BUILD["task_name"]]), node())
    assert counts(db) == {"RUNNING": 1}
    control(db, run, "cancel")
    assert counts(db) == {"CANCELLED": 1}


def test_more_runs_than_are_counted(db: Session) -> None:
    for _ in range(5):
        control(db, start(db, node()), "cancel")
        start(db, node())
    found = db.execute("select status, runs, is_exact from horsies.run_counts(60, 1) order by status").fetchall()
    assert ("RUNNING", 1, False) in found
    assert ("CANCELLED", 4, False) in found


def test_runs_that_ended_long_ago_are_not_read(db: Session) -> None:
    for _ in range(20):
        control(db, start(db, node()), "cancel")
    db.execute("update horsies.workflows set finished_at = finished_at - interval '1 day'")
    db.execute("vacuum analyze horsies.workflows")

    def reads_few_rows() -> bool:
        with reading(db) as reads:
            counts(db)
        assert "workflows" not in reads.whole_tables
        return reads.rows < 10

    # Index entries of the old versions are read until no process of the server can need them, for instance one that
    # is just being started.
    wait_until(reads_few_rows)
