"""`run_nodes`: the nodes of a run with their tasks, items and child runs."""

from horsies.db.queries import runs as run_queries
from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker, done, send
from tests.support.runs import attach, finish, map_once, node, start
from tests.support.sessions import Session, call, scalar


def test_nodes_in_the_order_of_the_spec(db: Session) -> None:
    run = start(db, node(1, queue="mail"), node(), node(0, 1, join="quorum", min_success=1))
    finish(db, DrivenWorker(db), run, 1)
    first, second, third = call(db, run_queries.run_nodes(run))
    assert (first.node_index, first.node_id, first.kind, first.task_name, first.queue) == (
        0,
        "n0",
        "task",
        "add",
        "mail",
    )
    assert (first.status, first.waits_for, first.task_id) == ("SKIPPED", [1], None)
    assert (second.status, second.error_code, second.started_at is None) == ("FAILED", "BOOM", False)
    assert second.task_id == scalar(db, "select id from horsies.history")
    assert (third.waits_for, third.needed, third.status) == ([0, 1], 1, "SKIPPED")


def test_a_node_runs_from_the_first_start_of_its_task(db: Session) -> None:
    run = start(db, node())
    [waiting] = call(db, run_queries.run_nodes(run))
    assert (waiting.status, waiting.started_at) == ("ENQUEUED", None)
    fence = DrivenWorker(db).claim_one()
    [running] = call(db, run_queries.run_nodes(run))
    assert (running.status, running.task_id) == ("RUNNING", fence.task_id)
    assert running.started_at is not None


def test_the_progress_of_a_child_run(db: Session) -> None:
    run = start(db, node(kind="workflow", task_name="horsies.build:child"))
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node(), node(0))
    finish(db, DrivenWorker(db), child)
    [found] = call(db, run_queries.run_nodes(run))
    assert (found.child_id, found.child_status, found.child_total, found.child_ended) == (child, "RUNNING", 2, 1)
    assert found.status == "RUNNING"


def test_the_items_of_a_map(db: Session) -> None:
    run = start(db, node(), node(0, kind="map", over=0, item_parameter="item", task_name="add"))
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one(), b"[1,2,3]"))
    assert map_once(db, DrivenWorker(db, names=["horsies.map"])) == "done"
    worker.finish(done(worker.claim(1)[0]))
    found = call(db, run_queries.run_nodes(run))[1]
    assert (found.kind, found.items, found.open_items, found.status) == ("map", 3, 2, "RUNNING")


def test_the_cost_depends_on_the_nodes_only(db: Session) -> None:
    run = start(db, node(), node(0))
    for _ in range(300):
        send(db)
    with reading(db) as reads:
        assert len(call(db, run_queries.run_nodes(run))) == 2
    assert not reads.whole_tables & {"tasks", "workflows", "workflow_nodes"}
    assert reads.rows < 20
