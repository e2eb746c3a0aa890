"""`finish_batch`: retries or ends tasks, and isolates a bad row."""

import json
from copy import replace
from datetime import datetime, timedelta

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.queries.worker import Fence, Outcome, Verdict
from tests.support.factories import (
    CHILD_NAME,
    CHILD_PID,
    HOSTNAME,
    DrivenWorker,
    done,
    failed,
    request,
    send,
    send_many,
)
from tests.support.sessions import NOON, Session, column, find, freeze_clock, move_clock, row, scalar

MINUTE = timedelta(minutes=1)
POLICY = RetryPolicy.fixed([60, 120], jitter=False, auto_retry_for=["BOOM", "WORKER_CRASHED", "TASK_TIMEOUT"])


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    freeze_clock(db)
    return DrivenWorker(db)


def fail(worker: DrivenWorker, code: str = "BOOM", *, retry_after: float | None = None) -> Fence:
    fence = worker.claim_one()
    assert worker.finish(failed(fence, code, retry_after=retry_after)) == ["accepted"]
    return fence


def attempts(db: Session, fence: Fence) -> list[int]:
    return column(db, "select attempt from horsies.attempts where task_id = %s order by attempt", fence.task_id)


def test_a_failure_that_the_policy_names_waits_for_its_retry(db: Session, worker: DrivenWorker) -> None:
    send(db, request(retry=POLICY))
    task = row(db, "tasks", fail(worker).task_id)
    assert (task["status"], task["attempt"], task["run_at"]) == ("PENDING", 1, NOON + MINUTE)
    assert task["worker_id"] is task["exchange_no"] is task["claimed_at"] is task["started_at"] is None


def test_the_answer_has_the_stored_code_and_the_time_of_the_retry(db: Session, worker: DrivenWorker) -> None:
    for _ in range(3):
        send(db, request(retry=POLICY))
    send(db)
    completed, retried, ended, refused_one = worker.claim(4)
    outcomes = [done(completed), failed(retried), failed(ended, "OTHER"), refused(refused_one, next(iter(BAD)))]
    expected = [
        Verdict("accepted", None, None),
        Verdict("accepted", "BOOM", NOON + MINUTE),
        Verdict("accepted", "OTHER", None),
        Verdict("accepted", "WORKER_SERIALIZATION_ERROR", None),
    ]
    assert worker.finish_in_full(*outcomes) == expected
    assert worker.finish_in_full(failed(retried)) == [Verdict("duplicate", "BOOM", NOON + MINUTE)]


def test_the_attempt_that_failed_is_kept(db: Session, worker: DrivenWorker) -> None:
    send(db, request(retry=POLICY))
    fence = worker.claim_one()
    move_clock(db, 5)
    outcome = failed(fence)
    worker.finish(outcome)
    fence_and_child = (worker.id, fence.exchange_no, HOSTNAME, CHILD_PID, CHILD_NAME)
    assert db.execute("select * from horsies.attempts").fetchall() == [
        (fence.task_id, 1, "FAILED", outcome.result, "BOOM", *fence_and_child, NOON, NOON + timedelta(seconds=5))
    ]


def test_a_crash_is_kept_as_a_failure_of_the_worker(db: Session, worker: DrivenWorker) -> None:
    send(db, request(retry=POLICY))
    fail(worker, "WORKER_CRASHED")
    assert column(db, "select outcome from horsies.attempts") == ["WORKER_FAILURE"]


def test_retries_run_out_and_the_last_attempt_is_read_off_history(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    for seconds in (60, 120, 0):
        fence = fail(worker)
        move_clock(db, seconds)
    assert attempts(db, fence) == [1, 2]
    ended = row(db, "history", task_id)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("FAILED", "BOOM", 3)


def test_a_retry_that_succeeds_completes_the_task(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    fail(worker)
    move_clock(db, 60)
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    ended = row(db, "history", task_id)
    assert (ended["status"], ended["attempt"]) == ("COMPLETED", 2)


@pytest.mark.parametrize("code", ["OTHER", "boom", "UNHANDLED_EXCEPTION"])
def test_a_code_that_the_policy_does_not_name_ends_the_task(db: Session, worker: DrivenWorker, code: str) -> None:
    send(db, request(retry=POLICY))
    assert row(db, "history", fail(worker, code).task_id)["error_code"] == code


def test_without_a_policy_nothing_is_tried_again(db: Session, worker: DrivenWorker) -> None:
    send(db)
    assert row(db, "history", fail(worker, retry_after=1).task_id)["status"] == "FAILED"


def test_the_task_may_say_itself_when_it_is_tried_again(db: Session, worker: DrivenWorker) -> None:
    send(db, request(retry=POLICY))
    assert row(db, "tasks", fail(worker, retry_after=7.5).task_id)["run_at"] == NOON + timedelta(seconds=7.5)


@pytest.mark.parametrize(
    ("deadline", "is_retried"), [(NOON + MINUTE, False), (NOON + MINUTE + timedelta(microseconds=1), True)]
)
def test_no_retry_falls_due_at_or_past_the_deadline(
    db: Session,
    worker: DrivenWorker,
    deadline: datetime,
    is_retried: bool,  # noqa: FBT001
) -> None:
    send(db, request(retry=POLICY, good_until=deadline))
    assert bool(find(db, "tasks", fail(worker).task_id)) is is_retried


BAD: dict[str, dict[str, object]] = {
    "is no JSON": {"result": b"{not json"},
    "is no number JSON knows": {"result": b"NaN"},
    "is nested too deep": {"result": b"[" * 100_000 + b"]" * 100_000},
    "has no error code": {"ok": False, "error_code": None},
}


def refused(fence: Fence, why: str) -> Outcome:
    return replace(done(fence), **BAD[why])  # pyright: ignore[reportArgumentType] # each value fits its field


@pytest.mark.parametrize("why", BAD)
def test_an_outcome_that_the_database_refuses_fails_alone(db: Session, worker: DrivenWorker, why: str) -> None:
    policy = RetryPolicy.fixed([60], auto_retry_for=["BOOM"])
    for _ in range(5):
        send(db, request(retry=policy))
    good, bad, retried, *more = worker.claim(5)
    outcomes = [done(good), refused(bad, why), failed(retried), *map(done, more)]
    assert set(worker.finish(*outcomes)) == {"accepted"}
    ended = row(db, "history", bad.task_id)
    assert (ended["status"], ended["error_code"]) == ("FAILED", "WORKER_SERIALIZATION_ERROR")
    error = json.loads(ended["result"])
    assert list(error) == ["error_code", "data", "exception", "message"]
    assert error["message"].startswith("the database refused this outcome: ")
    assert column(db, "select id from horsies.history where status = 'COMPLETED' order by id") == sorted(
        fence.task_id for fence in [good, *more]
    )
    assert row(db, "tasks", retried.task_id)["attempt"] == 1


@pytest.mark.parametrize("why", BAD)
def test_a_refused_outcome_that_is_sent_again_is_a_duplicate(db: Session, worker: DrivenWorker, why: str) -> None:
    send(db, request(retry=RetryPolicy.fixed([60], auto_retry_for=["BOOM"])))
    outcome = refused(worker.claim_one(), why)
    assert worker.finish(outcome) == ["accepted"]
    assert worker.finish(outcome) == ["duplicate"]


def test_a_stale_outcome_that_is_refused_as_well_is_stale(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    worker.release(fence)
    assert worker.finish(refused(fence, "is no JSON")) == ["stale"]


def test_a_thousand_outcomes_with_one_that_is_refused_are_all_written(db: Session, worker: DrivenWorker) -> None:
    send_many(db, 1000)
    fences = worker.claim(1000)
    bad = fences[500]
    worker.finish(*(refused(fence, "is no JSON") if fence is bad else done(fence) for fence in fences))
    assert scalar(db, "select count(*) from horsies.history where status = 'COMPLETED'") == 999
    assert row(db, "history", bad.task_id)["error_code"] == "WORKER_SERIALIZATION_ERROR"
