"""`finish_each`: outcomes that could not be written in one step, and locks that stay."""

import pytest

from tests.support.factories import DrivenWorker, done, failed, numbered_id, request, send
from tests.support.runs import node, start
from tests.support.sessions import Session, find, row, scalar

LOCK_RUN = b"select from horsies.workflows where id = %s for update"
LOCK_TASKS = b"select from horsies.tasks where workflow_id = %s for update"
BROKEN = b'{"nothing ends here"'


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    return DrivenWorker(db)


def test_outcomes_of_a_held_run_are_busy_and_all_others_are_accepted(
    db: Session, other: Session, worker: DrivenWorker
) -> None:
    held, free = (start(db, node(), run_id=numbered_id(number)) for number in (1, 2))
    plain = send(db, request())
    outcomes = [done(fence) for fence in worker.claim(3)]
    with other.transaction():
        other.execute(LOCK_RUN, (held,))
        verdicts = dict(zip([outcome.fence.task_id for outcome in outcomes], worker.finish(*outcomes), strict=True))
        assert find(db, "workflows", free)["status"] == "COMPLETED"  # type: ignore[index]
    of_held = scalar(db, "select id from horsies.tasks")
    assert verdicts.pop(of_held) == "busy"
    assert set(verdicts.values()) == {"accepted"}
    assert plain in verdicts
    assert set(worker.finish(*outcomes)) == {"accepted", "duplicate"}
    assert row(db, "workflows", held)["status"] == "COMPLETED"


def test_a_refused_outcome_ends_beside_a_busy_one(db: Session, other: Session, worker: DrivenWorker) -> None:
    held = start(db, node(), run_id=numbered_id(1))
    of_held = worker.claim_one()
    send(db)
    refused = worker.claim_one()
    with other.transaction():
        other.execute(LOCK_RUN, (held,))
        assert worker.finish(done(of_held), done(refused, BROKEN)) == ["busy", "accepted"]
    assert row(db, "history", refused.task_id)["error_code"] == "WORKER_SERIALIZATION_ERROR"


def test_a_failure_that_would_pause_a_held_sibling_is_busy(db: Session, other: Session, worker: DrivenWorker) -> None:
    run = start(db, node(), node(), run_id=numbered_id(1), on_error="pause")
    first, second = worker.claim(2)
    send(db)
    plain = worker.claim_one()
    with other.transaction():
        other.execute(b"select from horsies.tasks where id = %s for update", (second.task_id,))
        assert worker.finish(failed(first), done(plain)) == ["busy", "accepted"]
        assert row(db, "workflows", run)["status"] == "RUNNING"
    assert worker.finish(failed(first)) == ["accepted"]
    assert row(db, "workflows", run)["status"] == "PAUSED"


def test_many_locks_that_stay_are_given_up_in_bounded_time(db: Session, other: Session, worker: DrivenWorker) -> None:
    runs = [start(db, node(), node(), run_id=numbered_id(n), on_error="pause") for n in range(40)]
    fences = worker.claim(80)
    node_of = {fence.task_id: row(db, "tasks", fence.task_id)["node_index"] for fence in fences}
    firsts = [failed(fence) for fence in fences if node_of[fence.task_id] == 0]
    db.execute("set statement_timeout = '20s'")
    with other.transaction():
        for run in runs:
            other.execute(LOCK_TASKS + b" skip locked", (run,))
            other.execute(b"savepoint one")
        other.execute(b"rollback to one")
        db.execute("set lock_timeout = 0")
        assert set(worker.finish(*firsts)) == {"busy"}
    assert set(worker.finish(*firsts)) == {"accepted"}
