"""`workflow_prune`: runs are deleted some time after their end, with everything that belongs to them."""

from horsies.db.queries import workflows as workflow_queries
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, control, finish, node, nodes_of, start, state
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
    assert call(db, workflow_queries.workflow_prune(1, 10)) == 2
    assert set(column(db, "select id from horsies.workflows")) == {kept, live}
    assert [scalar(db, f"select count(*) from horsies.{table}") for table in TABLES] == [2, 2, 0, 0]
    assert call(db, workflow_queries.workflow_prune(1, 10)) == 0


def test_results_outlive_the_history_of_their_tasks(db: Session) -> None:
    worker = DrivenWorker(db)
    run = start(db, node(), node(0, args_from={"a": 0}), output=1)
    for index in (0, 1):
        assert finish(db, worker, run) == [index]
        db.execute("truncate horsies.history")
    assert [each.result for each in nodes_of(db, run)] == [b"0", b"1"]
    assert (state(db, run).status, state(db, run).output_result) == ("COMPLETED", b"1")
