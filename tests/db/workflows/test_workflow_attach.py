"""`workflow_attach`: the run that a node is."""

from uuid_utils.compat import uuid7

from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, done, failed
from tests.support.runs import attach, control, finish, node, nodes_of, read, request, start, state, statuses
from tests.support.sessions import Session, call, column

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}
NAMES = ["horsies.build:child"]


def test_the_child_runs_below_the_node_and_ends_it(db: Session) -> None:
    run = start(db, node(**BUILD), node(0), output=0)
    child = attach(db, DrivenWorker(db, names=NAMES), node(), node(0), output=1)
    assert statuses(db, run) == ["RUNNING", "PENDING"]
    worker = DrivenWorker(db)
    assert column(db, "select root_id from horsies.tasks where workflow_id = %s", child) == [run]
    finish(db, worker, child)
    finish(db, worker, child)
    assert statuses(db, run) == ["COMPLETED", "ENQUEUED"]
    assert nodes_of(db, run)[0].result == b"1"
    assert nodes_of(db, run)[0].child_id == child


def test_a_child_that_fails_fails_its_node_with_its_summary(db: Session) -> None:
    run = start(db, node(**BUILD))
    child = attach(db, DrivenWorker(db, names=NAMES), node(), node(0))
    finish(db, DrivenWorker(db), child, 0)
    error = read(nodes_of(db, run)[0].result)
    assert (error["error_code"], error["sub_workflow_id"]) == ("SUBWORKFLOW_FAILED", str(child))
    assert error["sub_workflow_summary"] == {
        "status": "FAILED",
        "output": None,
        "total_tasks": 2,
        "completed_tasks": 0,
        "failed_tasks": 1,
        "skipped_tasks": 1,
        "error_summary": "it failed",
    }
    assert state(db, run).status == "FAILED"


def test_a_repeated_build_attaches_nothing_more(db: Session) -> None:
    start(db, node(**BUILD))
    worker = DrivenWorker(db, names=NAMES)
    (task,) = worker.ask().tasks
    for expected in ("attached", "known"):
        wanted = request([node()], uuid7(), definition_key="child")
        assert call(db, workflow_queries.workflow_attach(task.id, task.attempt, wanted)) == expected
    assert len(column(db, "select id from horsies.workflows")) == 2


def test_a_build_that_fails_after_it_attached_changes_nothing(db: Session) -> None:
    run = start(db, node(**BUILD))
    worker = DrivenWorker(db, names=NAMES)
    (task,) = worker.ask().tasks
    wanted = request([node()], definition_key="child")
    call(db, workflow_queries.workflow_attach(task.id, task.attempt, wanted))
    worker.finish(failed(Fence(task.id, worker.exchange_no), "WORKER_CRASHED"))
    assert statuses(db, run) == ["RUNNING"]
    finish(db, DrivenWorker(db), wanted.run_id)
    assert state(db, run).status == "COMPLETED"


def test_a_build_that_fails_before_fails_the_node(db: Session) -> None:
    run = start(db, node(**BUILD))
    worker = DrivenWorker(db, names=NAMES)
    worker.finish(failed(worker.claim_one(), "SUBWORKFLOW_LOAD_FAILED"))
    assert [(each.status, each.error_code) for each in nodes_of(db, run)] == [("FAILED", "SUBWORKFLOW_LOAD_FAILED")]


def test_who_lost_the_task_attaches_nothing(db: Session) -> None:
    run = start(db, node(**BUILD))
    worker = DrivenWorker(db, names=NAMES)
    (task,) = worker.ask().tasks
    assert call(db, workflow_queries.workflow_attach(task.id, 2, request([node()]))) == "lost"
    control(db, run, "cancel")
    assert call(db, workflow_queries.workflow_attach(task.id, 1, request([node()]))) == "lost"


def test_a_child_of_a_paused_run_begins_paused(db: Session) -> None:
    run = start(db, node(**BUILD))
    worker = DrivenWorker(db, names=NAMES)
    (task,) = worker.ask().tasks
    control(db, run, "pause")
    wanted = request([node()], definition_key="child")
    assert call(db, workflow_queries.workflow_attach(task.id, 1, wanted)) == "attached"
    worker.finish(done(Fence(task.id, worker.exchange_no)))
    assert (state(db, wanted.run_id).status, statuses(db, wanted.run_id)) == ("PAUSED", ["READY"])
    control(db, run, "resume")
    assert statuses(db, wanted.run_id) == ["ENQUEUED"]


def test_a_definition_that_contains_itself_is_not_attached_for_ever(db: Session) -> None:
    start(db, node(**BUILD))
    worker = DrivenWorker(db, names=NAMES)
    (task,) = worker.ask().tasks
    wanted = request([node()], definition_key="test.flow.v1")
    assert call(db, workflow_queries.workflow_attach(task.id, task.attempt, wanted)) == "recursive"
