"""`workflow_tasks`: the nodes of a run."""

from horsies.db.queries import workflows as workflow_queries
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, finish, node, nodes_of, read, start
from tests.support.sessions import Session, call


def test_they_come_in_the_order_of_the_spec(db: Session) -> None:
    run = start(db, node(2), node(0, 2), node(node_id="first"))
    found = nodes_of(db, run)
    assert [(each.node_id, each.waits_for, each.is_leaf) for each in found] == [
        ("n0", [2], False),
        ("n1", [0, 2], True),
        ("first", [], False),
    ]


def test_one_of_them_is_found_by_its_id(db: Session) -> None:
    run = start(db, node(), node())
    finish(db, DrivenWorker(db), run)
    (found,) = call(db, workflow_queries.workflow_tasks(run, "n1", with_results=False))
    assert (found.node_index, found.status, found.result) == (1, "COMPLETED", None)


def test_the_summary_of_a_child_run_comes_with_results(db: Session) -> None:
    run = start(db, node(kind="workflow", task_name="horsies.build:child"), node())
    worker = DrivenWorker(db, names=["horsies.build:child"])
    child = attach(db, worker, node(), output=0)
    assert [each.summary for each in nodes_of(db, run)] == [None, None]
    finish(db, DrivenWorker(db), child)
    found = nodes_of(db, run)[0]
    assert (found.child_id, found.summary is not None and read(found.summary)["completed_tasks"]) == (child, 1)
    assert [each.summary for each in call(db, workflow_queries.workflow_tasks(run, with_results=False))] == [None, None]


def test_a_node_runs_from_the_first_start_of_its_task_on(db: Session) -> None:
    run = start(db, node())
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert nodes_of(db, run)[0].status == "RUNNING"
    worker.release(fence)
    assert nodes_of(db, run)[0].status == "ENQUEUED"
