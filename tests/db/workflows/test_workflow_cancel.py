"""`workflow_cancel`: ends a run and all runs below it at once."""

from tests.support.factories import DrivenWorker, done
from tests.support.runs import attach, control, fences, finish, node, nodes_of, read, start, state, statuses
from tests.support.sessions import NotificationListener, Session, column, scalar

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}


def test_waiting_nodes_are_skipped_and_running_tasks_killed(db: Session) -> None:
    run = start(db, node(), node(), node(), node(0))
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    running = worker.claim_one()
    listener = NotificationListener(db, "cancel")
    assert control(db, run, "cancel") == "changed"
    assert [(each.status, each.error_code) for each in nodes_of(db, run)] == [
        ("COMPLETED", None),
        ("FAILED", "TASK_CANCELLED"),
        ("SKIPPED", "WORKFLOW_CANCELLED"),
        ("SKIPPED", "WORKFLOW_CANCELLED"),
    ]
    assert listener.heard() == [running.task_id.hex]
    assert worker.finish(done(running)) == ["stale"]
    ended = state(db, run)
    assert (ended.status, read(ended.error)["error_code"]) == ("CANCELLED", "WORKFLOW_CANCELLED")
    assert (ended.completed, ended.failed, ended.skipped) == (1, 1, 2)
    assert sorted(column(db, "select status from horsies.history")) == ["CANCELLED"] * 3 + ["COMPLETED"]


def test_children_are_cancelled_with_their_parent(db: Session) -> None:
    run = start(db, node(**BUILD), node(0))
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node(), node(0))
    control(db, run, "cancel")
    assert (state(db, run).status, state(db, child).status) == ("CANCELLED", "CANCELLED")
    assert (statuses(db, run), statuses(db, child)) == (["FAILED", "SKIPPED"], ["SKIPPED", "SKIPPED"])
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_a_cancelled_child_run_fails_its_node_and_the_parent_continues(db: Session) -> None:
    run = start(db, node(**BUILD), node(0), node(0, allow_failed_deps=True))
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node())
    control(db, child, "cancel")
    assert statuses(db, run) == ["FAILED", "SKIPPED", "ENQUEUED"]
    summary = read(nodes_of(db, run)[0].result)["sub_workflow_summary"]
    assert (summary["status"], summary["skipped_tasks"]) == ("CANCELLED", 1)
    finish(db, DrivenWorker(db), run)
    assert state(db, run).status == "FAILED"


def test_a_paused_run_can_be_cancelled(db: Session) -> None:
    run = start(db, node())
    worker = DrivenWorker(db)
    claims = fences(db, worker, run)
    control(db, run, "pause")
    assert control(db, run, "cancel") == "changed"
    assert worker.finish(done(claims[0])) == ["stale"]
