"""`workflow_prune`: runs are forgotten some time after their end, with all that belongs to them."""

from horsies.db import calls_workflows
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, control, node, start
from tests.support.sessions import Session, call, column, freeze_clock, move_clock, scalar

TABLES = ("workflows", "workflow_nodes", "workflow_edges", "workflow_items")


def test_a_tree_that_ended_long_ago_is_forgotten(db: Session) -> None:
    freeze_clock(db)
    old = start(db, node(kind="workflow", task_name="horsies.build:child"), node(0))
    attach(db, DrivenWorker(db, names=["horsies.build:child"]), node(), node(0))
    control(db, old, "cancel")
    move_clock(db, 3601)
    kept, live = start(db, node()), start(db, node())
    control(db, kept, "cancel")
    assert call(db, calls_workflows.workflow_prune(1, 10)) == 2
    assert set(column(db, "select id from horsies.workflows")) == {kept, live}
    assert [scalar(db, f"select count(*) from horsies.{table}") for table in TABLES] == [2, 2, 0, 0]
    assert call(db, calls_workflows.workflow_prune(1, 10)) == 0
