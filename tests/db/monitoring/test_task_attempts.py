"""`task_attempts`: the attempts of a task that have finished."""

from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import AttemptRow
from tests.support.factories import (
    CHILD_NAME,
    CHILD_PID,
    HOSTNAME,
    PID,
    DrivenWorker,
    done,
    expire,
    failed,
    reap,
    request,
    send,
)
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

POLICY = RetryPolicy.fixed([60, 60], jitter=False, auto_retry_for=["BOOM", "WORKER_CRASHED"])


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    freeze_clock(db)
    return DrivenWorker(db)


def attempts(db: Session, task_id: UUID) -> list[AttemptRow]:
    return call(db, task_queries.task_attempts(task_id))


def test_they_come_newest_first_with_the_last_one_read_off_history(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    first = failed(worker.claim_one())
    move_clock(db, 5)
    worker.finish(first)
    move_clock(db, 60)
    worker.finish(done(worker.claim_one()))
    failed_at, begun = NOON + timedelta(seconds=5), NOON + timedelta(seconds=65)
    assert attempts(db, task_id) == [
        AttemptRow(2, "COMPLETED", False, begun, begun, None, None, HOSTNAME, CHILD_PID, CHILD_NAME),
        AttemptRow(1, "FAILED", True, NOON, failed_at, "BOOM", first.result, HOSTNAME, CHILD_PID, CHILD_NAME),
    ]


def test_a_failure_that_ended_the_task_has_its_error(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    outcome = failed(worker.claim_one(), "OTHER")
    worker.finish(outcome)
    (last,) = attempts(db, task_id)
    assert (last.outcome, last.will_retry, last.error_code, last.error) == ("FAILED", False, "OTHER", outcome.result)


def test_a_crash_is_a_failure_of_the_worker_and_names_it(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    worker.claim_one()
    reap(db, proven_dead=worker.id)
    move_clock(db, 60)
    second = DrivenWorker(db)
    second.finish(failed(second.claim_one()))
    move_clock(db, 60)
    second.claim_one()
    reap(db, proven_dead=second.id)
    found = attempts(db, task_id)
    assert [(each.attempt, each.outcome, each.will_retry) for each in found] == [
        (3, "WORKER_FAILURE", False),
        (2, "FAILED", True),
        (1, "WORKER_FAILURE", True),
    ]
    assert [each.worker_pid for each in found] == [PID, CHILD_PID, PID]


def test_an_attempt_under_way_has_not_finished(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=POLICY))
    assert attempts(db, task_id) == []
    fence = worker.claim_one()
    assert attempts(db, task_id) == []
    worker.finish(failed(fence))
    move_clock(db, 60)
    worker.claim_one()
    assert [each.attempt for each in attempts(db, task_id)] == [1]


def test_a_task_that_expired_has_those_it_had(db: Session, worker: DrivenWorker) -> None:
    never_begun = send(db, request(good_until=NOON))
    begun = send(db, request(good_until=NOON + timedelta(seconds=61), retry=POLICY))
    worker.finish(failed(worker.claim_one()))
    move_clock(db, 61)
    assert expire(db) == 2
    assert attempts(db, never_begun) == []
    assert [(each.attempt, each.outcome) for each in attempts(db, begun)] == [(1, "FAILED")]


def test_a_claim_that_was_returned_is_no_attempt(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db)
    worker.release(worker.claim_one())
    worker.finish(done(worker.claim_one()))
    assert [each.attempt for each in attempts(db, task_id)] == [1]


def test_an_unknown_task_has_none(db: Session) -> None:
    assert attempts(db, uuid7()) == []
