"""`workflow_pause`: waiting tasks of a run are held, even if they return to the queue later."""

from horsies.config.retry import RetryPolicy
from tests.support.factories import DrivenWorker, done, failed
from tests.support.runs import attach, control, fences, node, read, start, state, statuses
from tests.support.sessions import NotificationListener, Session, column

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}


def test_what_waits_is_not_claimed_and_what_runs_finishes(db: Session) -> None:
    run = start(db, node(), node(), node(0))
    worker = DrivenWorker(db)
    running = worker.claim_one()
    listener = NotificationListener(db, "done")
    control(db, run, "pause")
    assert worker.claim() == []
    assert worker.finish(done(running)) == ["accepted"]
    assert statuses(db, run) == ["COMPLETED", "ENQUEUED", "READY"]
    assert run.hex in listener.heard()


def test_a_retry_and_a_released_claim_are_held(db: Session) -> None:
    policy = read(RetryPolicy.fixed([0.001], jitter=False, auto_retry_for=["BOOM"]).to_json())
    run = start(db, node(retry_policy=policy), node())
    worker = DrivenWorker(db)
    claims = fences(db, worker, run)
    control(db, run, "pause")
    worker.finish(failed(claims[0]))
    worker.release(claims[1])
    assert column(db, "select held from horsies.tasks where status = 'PENDING'") == [True, True]
    control(db, run, "resume")
    assert column(db, "select held from horsies.tasks") == [False, False]


def test_what_was_prefetched_goes_back(db: Session) -> None:
    run = start(db, node())
    worker = DrivenWorker(db)
    assert len(worker.prefetch(lease_s=60)) == 1
    control(db, run, "pause")
    assert column(db, "select status from horsies.tasks where held") == ["PENDING"]


def test_children_are_paused_and_parents_are_not(db: Session) -> None:
    run = start(db, node(**BUILD))
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node())
    control(db, child, "pause")
    assert (state(db, run).status, state(db, child).status) == ("RUNNING", "PAUSED")
    control(db, run, "pause")
    control(db, run, "resume")
    assert (state(db, run).status, state(db, child).status) == ("RUNNING", "RUNNING")


def test_an_optional_node_that_fails_does_not_pause(db: Session) -> None:
    run = start(db, node(), node(), on_error="pause", optional=[0], cases=[[1]])
    worker = DrivenWorker(db)
    claims = fences(db, worker, run)
    worker.finish(failed(claims[0]))
    assert state(db, run).status == "RUNNING"
    worker.finish(failed(claims[1]))
    assert state(db, run).status == "PAUSED"
