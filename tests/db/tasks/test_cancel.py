"""`cancel`: cancels a task that has not ended."""

import json
from uuid import UUID

import pytest
from psycopg import errors
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from tests.support.factories import (
    HOSTNAME,
    PID,
    DrivenWorker,
    done,
    ended_task,
    enqueue,
    failed,
    prefetch,
    reap,
    request,
    send,
)
from tests.support.sessions import (
    NOON,
    InBackground,
    Session,
    call,
    column,
    find,
    freeze_clock,
    move_clock,
    row,
    scalar,
    wait_until_blocked,
)

POLICY = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["BOOM"])


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    freeze_clock(db)
    return DrivenWorker(db)


def cancel(session: Session, task_id: UUID) -> str:
    return call(session, task_queries.cancel(task_id))


@pytest.mark.usefixtures("worker")
def test_a_waiting_task_ends_with_all_that_is_known_of_it(db: Session) -> None:
    live = row(db, "tasks", send(db, request(delay=60, retry=POLICY, timeout_ms=100)))
    assert cancel(db, live["id"]) == "cancelled"
    assert not find(db, "tasks", live["id"])
    ended = row(db, "history", live["id"])
    assert (ended["status"], ended["error_code"], ended["finished_at"]) == ("CANCELLED", "TASK_CANCELLED", NOON)
    same = (live.keys() & ended.keys()) - {"status"}
    assert {name: ended[name] for name in same} == {name: live[name] for name in same}
    error = json.loads(ended["result"])
    assert (error["error_code"], error.keys()) == ("TASK_CANCELLED", {"error_code", "message", "data", "exception"})


def test_a_running_task_ends_with_its_fence_and_its_late_outcome_is_stale(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    fence = worker.claim_one()
    move_clock(db, 5)
    assert cancel(db, task_id) == "cancelled"
    ended = row(db, "history", task_id)
    assert (ended["worker_id"], ended["exchange_no"], ended["attempt"]) == (worker.id, fence.exchange_no, 1)
    assert (ended["worker_hostname"], ended["worker_pid"], ended["started_at"]) == (HOSTNAME, PID, NOON)
    assert worker.finish(done(fence)) == ["stale"]
    assert worker.finish(failed(fence)) == ["stale"]
    assert worker.finish(failed(fence, "WORKER_CRASHED")) == ["stale"]
    assert worker.reconcile(fence) == {task_id}
    assert row(db, "history", task_id) == ended


def test_a_prefetched_task_is_cancelled_before_it_starts(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    fence = worker.claim_one()
    prefetch(db, fence)
    assert cancel(db, task_id) == "cancelled"
    assert (row(db, "history", task_id)["started_at"], row(db, "history", task_id)["attempt"]) == (None, 0)
    assert not worker.release(fence)


def test_a_task_that_waits_for_its_retry_keeps_the_attempts_it_had(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    worker.finish(failed(worker.claim_one()))
    assert cancel(db, task_id) == "cancelled"
    assert row(db, "history", task_id)["attempt"] == 1
    assert column(db, "select attempt from horsies.attempts") == [1]


def test_of_a_worker_that_is_gone(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    worker.claim_one()
    worker.stop()
    assert cancel(db, task_id) == "cancelled"
    assert row(db, "history", task_id)["worker_hostname"] is None
    assert reap(db).crashed == 0


def test_what_has_ended_stays_as_it_is(db: Session) -> None:
    task_id = ended_task(db)
    before = row(db, "history", task_id)
    assert cancel(db, task_id) == "ended"
    assert row(db, "history", task_id) == before
    other = send(db)
    assert [cancel(db, other), cancel(db, other)] == ["cancelled", "ended"]
    assert scalar(db, "select count(*) from horsies.history") == 2


def test_there_is_no_such_task(db: Session) -> None:
    assert cancel(db, uuid7()) == "unknown"


def test_a_cancelled_task_is_not_sent_again_by_a_replay(db: Session) -> None:
    wanted = request()
    send(db, wanted)
    cancel(db, wanted.task_id)
    assert enqueue(db, wanted, replay=True) == "known"
    assert not find(db, "tasks", wanted.task_id)


def test_it_is_durable(db: Session) -> None:
    task_id = send(db)
    db.execute("set synchronous_commit = off")
    with db.transaction():
        cancel(db, task_id)
        assert scalar(db, "show synchronous_commit") == "on"


def test_an_outcome_that_came_first_stands(db: Session, other: Session, in_background: InBackground) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    with db.transaction():
        worker.finish(done(fence))
        cancelling = in_background(lambda: cancel(other, task_id))
        wait_until_blocked(db, other)
    assert cancelling.result() == "ended"
    assert row(db, "history", task_id)["status"] == "COMPLETED"


def test_a_claim_or_a_retry_that_came_first_does_not_save_it(
    db: Session, other: Session, in_background: InBackground
) -> None:
    freeze_clock(db)
    task_id = send(db, request(retry=POLICY))
    worker = DrivenWorker(db)
    with db.transaction():
        fence = worker.claim_one()
        cancelling = in_background(lambda: cancel(other, task_id))
        wait_until_blocked(db, other)
    assert cancelling.result() == "cancelled"
    assert row(db, "history", task_id)["exchange_no"] == fence.exchange_no

    task_id = send(db, request(retry=POLICY))
    fence = worker.claim_one()
    with db.transaction():
        worker.finish(failed(fence))
        cancelling = in_background(lambda: cancel(other, task_id))
        wait_until_blocked(db, other)
    assert cancelling.result() == "cancelled"
    assert (row(db, "history", task_id)["worker_id"], row(db, "history", task_id)["attempt"]) == (None, 1)


def test_who_waited_for_the_lock_ends_it_after_it_began(
    db: Session, other: Session, in_background: InBackground
) -> None:
    task_id = send(db)
    with db.transaction():
        db.execute("select from horsies.tasks where id = %s for update", (task_id,))
        cancelling = in_background(lambda: cancel(other, task_id))
        wait_until_blocked(db, other)
        DrivenWorker(db).claim_one()
    assert cancelling.result() == "cancelled"
    ended = row(db, "history", task_id)
    assert ended["finished_at"] >= ended["started_at"]


def test_an_outcome_that_comes_second_is_stale(db: Session, other: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(other)
    fence = worker.claim_one()
    with db.transaction():
        assert cancel(db, task_id) == "cancelled"
        assert worker.finish(done(fence)) == ["busy"]
    assert worker.finish(done(fence)) == ["stale"]
    assert row(db, "history", task_id)["status"] == "CANCELLED"


def test_it_waits_for_a_stranger_in_bounded_time(db: Session, other: Session) -> None:
    task_id = send(db)
    with other.transaction():
        other.execute("select from horsies.tasks where id = %s for update", (task_id,))
        with pytest.raises(errors.LockNotAvailable):
            cancel(db, task_id)
    assert cancel(db, task_id) == "cancelled"


def test_it_neither_waits_for_nor_holds_up_a_claim_of_others(db: Session, other: Session) -> None:
    cancelled, left = send(db), send(db)
    with db.transaction():
        cancel(db, cancelled)
        assert DrivenWorker(other).claim_one().task_id == left
