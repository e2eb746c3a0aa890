"""`workflow_list`: the latest runs."""

from horsies.db.queries import workflows as workflow_queries
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, control, node, start
from tests.support.sessions import Session, call


def test_the_latest_come_first_and_children_not_at_all(db: Session) -> None:
    runs = [start(db, node(kind="workflow", task_name="horsies.build:child")) for _ in range(3)]
    attach(db, DrivenWorker(db, names=["horsies.build:child"]), node())
    control(db, runs[1], "cancel")
    assert [row.workflow_id for row in call(db, workflow_queries.workflow_list(None, 2))] == runs[:0:-1]
    (cancelled,) = call(db, workflow_queries.workflow_list("CANCELLED", 9))
    assert (cancelled.workflow_id, cancelled.total, cancelled.skipped) == (runs[1], 1, 1)
