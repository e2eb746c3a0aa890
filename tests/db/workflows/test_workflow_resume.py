"""`workflow_resume`: a paused run continues where it stopped."""

from tests.support.factories import DrivenWorker, done
from tests.support.runs import attach, control, fences, finish, node, start, state, statuses
from tests.support.sessions import Session

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}


def test_what_became_ready_is_enqueued(db: Session) -> None:
    run = start(db, node(), node(0))
    worker = DrivenWorker(db)
    claims = fences(db, worker, run)
    control(db, run, "pause")
    worker.finish(done(claims[0]))
    assert statuses(db, run) == ["COMPLETED", "READY"]
    control(db, run, "resume")
    assert finish(db, worker, run) == [1]
    assert state(db, run).status == "COMPLETED"


def test_a_run_in_which_nothing_is_left_ends_and_so_does_its_node(db: Session) -> None:
    run = start(db, node(**BUILD))
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node(), on_error="pause")
    finish(db, DrivenWorker(db), child, 0)
    assert (state(db, child).status, state(db, run).status) == ("PAUSED", "RUNNING")
    control(db, child, "resume")
    assert (state(db, child).status, state(db, run).status) == ("FAILED", "FAILED")


def test_a_failed_node_is_not_run_again(db: Session) -> None:
    run = start(db, node(), on_error="pause")
    worker = DrivenWorker(db)
    finish(db, worker, run, 0)
    control(db, run, "resume")
    assert worker.claim() == []
    assert state(db, run).status == "FAILED"
