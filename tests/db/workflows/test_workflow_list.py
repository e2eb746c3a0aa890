"""`workflow_list`: the latest runs."""

import pytest

from horsies.db.queries import workflows as workflow_queries
from tests.db.monitoring.test_find_runs import COPY_OF_RUNS
from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, control, finish, node, start
from tests.support.sessions import Session, call


def test_the_latest_come_first_and_children_not_at_all(db: Session) -> None:
    runs = [start(db, node(kind="workflow", task_name="horsies.build:child")) for _ in range(3)]
    attach(db, DrivenWorker(db, names=["horsies.build:child"]), node())
    control(db, runs[1], "cancel")
    assert [row.workflow_id for row in call(db, workflow_queries.workflow_list(None, 2))] == runs[:0:-1]
    (cancelled,) = call(db, workflow_queries.workflow_list("CANCELLED", 9))
    assert (cancelled.workflow_id, cancelled.total, cancelled.skipped) == (runs[1], 1, 1)


@pytest.mark.parametrize(("status", "expected"), [(None, 10), ("FAILED", 1), ("RUNNING", 1), ("PAUSED", 0)])
def test_a_list_reads_no_runs_of_other_statuses(db: Session, status: str | None, expected: int) -> None:
    failed, cancelled = start(db, node()), start(db, node())
    finish(db, DrivenWorker(db), failed, 0)
    control(db, cancelled, "cancel")
    db.execute(COPY_OF_RUNS, (5000, "CANCELLED"))
    start(db, node())
    with reading(db) as reads:
        assert len(call(db, workflow_queries.workflow_list(status, 10))) == expected
    assert not reads.whole_tables & {"workflows"}
    assert reads.rows < 500, "the number of other runs does not matter"
