"""`postpone`: attempts that are given back because the task asked to run again later."""

from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta
from typing import Any

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.queries.worker import Fence, Verdict
from tests.support.factories import DrivenWorker, done, expire, failed, postponed, reap, request, send
from tests.support.sessions import (
    NOON,
    InBackground,
    NewSession,
    Session,
    find,
    freeze_clock,
    move_clock,
    row,
    scalar,
    wait_until_blocked,
)

POLICY = RetryPolicy.fixed([1], jitter=False, auto_retry_for=["BOOM", "RATE_LIMITED"])
SIZES = "select (select count(*) from horsies.tasks), (select count(*) from horsies.attempts)"


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    freeze_clock(db)
    return DrivenWorker(db)


def test_the_task_waits_and_its_attempt_was_not_counted(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    fence = worker.claim_one()
    due = NOON + timedelta(seconds=30)
    assert worker.finish_in_full(postponed(fence)) == [Verdict("accepted", "RATE_LIMITED", due)]
    task = row(db, "tasks", task_id)
    assert (task["status"], task["attempt"], task["run_at"]) == ("PENDING", 0, due)
    assert task["worker_id"] is task["exchange_no"] is task["claimed_at"] is task["started_at"] is None
    assert worker.claim() == []
    move_clock(db, 30)
    (again,) = worker.ask().tasks
    assert (again.id, again.attempt) == (task_id, 1)


def test_the_row_keeps_the_last_postponement_and_so_does_history(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    worker.finish(postponed(worker.claim_one(), 0))
    second = worker.claim_one()
    worker.finish(postponed(second, 0, code="SNOOZED"))
    worker.finish(done(worker.claim_one()))
    stored = scalar(db, "select postponed::jsonb from horsies.history where id = %s", task_id)
    assert [datetime.fromisoformat(stored.pop(name)) for name in ("at", "until")] == [NOON, NOON]
    assert stored == {
        "code": "SNOOZED",
        "scope": "task",
        "message": "rate limited for 0 s",
        "count": 2,
        "worker_id": str(worker.id),
        "exchange_no": second.exchange_no,
    }


def test_1000_answers_in_a_row_leave_one_row_and_the_number_of_the_attempt(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    for _ in range(1000):
        assert worker.finish(postponed(worker.claim_one(), 0)) == ["accepted"]
    assert db.execute(SIZES).fetchone() == (1, 0)
    assert row(db, "tasks", task_id)["attempt"] == 0
    assert scalar(db, "select octet_length(postponed::text) < 500 from horsies.tasks")
    assert worker.finish(failed(worker.claim_one())) == ["accepted"]
    assert scalar(db, "select array_agg(attempt) from horsies.attempts") == [1]
    move_clock(db, 1)
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    assert row(db, "history", task_id)["attempt"] == 2


def test_a_retry_that_is_postponed_stays_the_same_retry(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    worker.finish(failed(worker.claim_one()))
    move_clock(db, 1)
    for _ in range(3):
        (task,) = worker.ask().tasks
        assert task.attempt == 2
        assert worker.finish(postponed(Fence(task_id, worker.exchange_no), 0)) == ["accepted"]
    worker.finish(failed(worker.claim_one()))
    assert row(db, "history", task_id)["error_code"] == "BOOM"  # the policy has only one retry


def test_an_outcome_that_is_sent_again_is_a_duplicate(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    assert worker.finish(postponed(fence, 0)) == ["accepted"]
    before = row(db, "tasks", fence.task_id)
    assert worker.finish(postponed(fence, 60)) == ["duplicate"]
    assert row(db, "tasks", fence.task_id) == before
    second = worker.claim_one()
    assert worker.finish(postponed(fence, 60)) == ["duplicate"]
    assert worker.finish(done(second)) == ["accepted"]
    assert worker.finish(postponed(fence, 60)) == ["duplicate"]
    assert row(db, "history", fence.task_id)["status"] == "COMPLETED"


WRONG: dict[str, Callable[[Fence], Fence]] = {
    "an older exchange": lambda fence: fence._replace(exchange_no=fence.exchange_no - 1),
    "a later exchange": lambda fence: fence._replace(exchange_no=fence.exchange_no + 1),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_fence_is_stale_and_nothing_is_written(db: Session, worker: DrivenWorker, how: str) -> None:
    send(db)
    fence = worker.claim_one()
    before = row(db, "tasks", fence.task_id)
    assert worker.finish(postponed(WRONG[how](fence))) == ["stale"]
    assert row(db, "tasks", fence.task_id) == before
    worker.finish(postponed(fence, 0))
    assert worker.finish(postponed(WRONG[how](fence))) == ["stale"]
    assert worker.finish(done(fence)) == ["stale"]


def test_the_answer_of_another_worker_and_of_a_cancelled_task_is_stale(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    assert DrivenWorker(db).finish(postponed(fence)) == ["stale"]
    db.execute("select horsies.cancel(%s)", (fence.task_id,))
    assert worker.finish(postponed(fence)) == ["stale"]
    assert row(db, "history", fence.task_id)["status"] == "CANCELLED"


@pytest.mark.parametrize("seconds", [10, 60])
def test_a_task_that_is_postponed_to_its_deadline_or_later_expires_at_once(
    db: Session, worker: DrivenWorker, seconds: float
) -> None:
    task_id = send(db, request(good_until=NOON + timedelta(seconds=10)))
    fence = worker.claim_one()
    assert worker.finish(postponed(fence, seconds)) == ["accepted"]
    ended = row(db, "history", task_id)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("EXPIRED", "TASK_EXPIRED", 0)
    assert ended["finished_at"] == NOON
    assert worker.finish(postponed(fence, seconds)) == ["duplicate"]


def test_a_task_that_is_postponed_within_its_deadline_still_expires(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(good_until=NOON + timedelta(seconds=10)))
    worker.finish(postponed(worker.claim_one(), 5))
    assert expire(db) == 0
    move_clock(db, 10)
    assert worker.claim() == []
    assert expire(db) == 1
    assert row(db, "history", task_id)["status"] == "EXPIRED"


def test_it_does_not_touch_the_other_outcomes_of_its_batch(db: Session, worker: DrivenWorker) -> None:
    tasks = [send(db, request(retry=POLICY)) for _ in range(4)]
    first, second, third, fourth = worker.claim(4)
    outcomes = [done(first), postponed(second), failed(third), postponed(fourth, 5)]
    assert worker.finish(*outcomes) == ["accepted"] * 4
    assert worker.finish(*outcomes) == ["duplicate"] * 4
    attempts = [None if (task := find(db, "tasks", task_id)) is None else task["attempt"] for task_id in tasks]
    assert attempts == [None, 0, 1, 0]


def test_a_row_that_somebody_holds_is_busy_and_the_others_are_postponed(
    db: Session, worker: DrivenWorker, other: Session
) -> None:
    send(db)
    send(db)
    first, second = worker.claim(2)
    with other.transaction():
        other.execute("select from horsies.tasks where id = %s for update", (first.task_id,))
        assert worker.finish(postponed(first), postponed(second)) == ["busy", "accepted"]
    assert worker.finish(postponed(first), postponed(second)) == ["accepted", "duplicate"]


def test_a_refused_outcome_does_not_keep_another_from_being_postponed(db: Session, worker: DrivenWorker) -> None:
    send(db)
    send(db)
    first, second = worker.claim(2)
    assert worker.finish(done(first, b"{"), postponed(second)) == ["accepted", "accepted"]
    assert row(db, "history", first.task_id)["error_code"] == "WORKER_SERIALIZATION_ERROR"
    assert row(db, "tasks", second.task_id)["status"] == "PENDING"


def test_a_reply_that_is_lost_while_the_worker_compares_its_claims(db: Session, worker: DrivenWorker) -> None:
    """The outcome is written, but the worker does not know: its claim is lost, and its outcome is a duplicate."""
    send(db)
    fence = worker.claim_one()
    worker.finish(postponed(fence, 0))
    assert worker.reconcile(fence) == {fence.task_id}
    assert worker.finish(postponed(fence, 0)) == ["duplicate"]
    assert worker.claim_one().task_id == fence.task_id


def test_an_outcome_that_never_arrived_is_a_crash_of_the_worker(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    reap(db, worker.id)
    assert worker.finish(postponed(fence)) == ["stale"]
    assert row(db, "history", fence.task_id)["error_code"] == "WORKER_CRASHED"


def test_what_a_server_process_without_a_client_commits_late_is_a_duplicate_afterwards(
    db: Session, worker: DrivenWorker, new_session: NewSession, in_background: InBackground
) -> None:
    send(db)
    fence = worker.claim_one()
    orphan = new_session()
    again = copy(worker)
    again.session = orphan
    blocker = new_session()
    with blocker.transaction():
        blocker.execute("lock table horsies.tasks in access exclusive mode")
        late = in_background(lambda: again.finish(postponed(fence, 0)))
        wait_until_blocked(db, orphan)
    assert late.result() == ["accepted"]
    assert worker.finish(postponed(fence, 0)) == ["duplicate"]
    assert row(db, "tasks", fence.task_id)["attempt"] == 0


@pytest.mark.parametrize("code", ["RATE_LIMITED", "SNOOZED"])
def test_the_information_about_a_task_shows_why_it_waits(db: Session, worker: DrivenWorker, code: str) -> None:
    task_id = send(db)
    worker.finish(postponed(worker.claim_one(), code=code))
    shown: Any = scalar(db, "select postponed from horsies.task_info(%s, false)", task_id)
    assert f'"code" : "{code}"'.encode() in shown
    assert b'"message" : "rate limited for 30 s"' in shown
