"""`reap`: recovers the tasks of dead workers."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, ended_task, expire, failed, prefetch, reap, request, send
from tests.support.sessions import (
    NOON,
    InBackground,
    NewSession,
    NotificationListener,
    Session,
    call,
    column,
    find,
    freeze_clock,
    move_clock,
    row,
    wait_until_blocked,
)

AFTER_CRASH = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["WORKER_CRASHED"])
AFTER_BOOM = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["BOOM"])


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    freeze_clock(db)
    return DrivenWorker(db, stale_after_s=60)


def test_the_clock_of_the_server_declares_nobody_dead(db: Session, worker: DrivenWorker) -> None:
    send(db)
    worker.claim_one()
    move_clock(db, 3600)
    counts = reap(db)
    assert (counts.workers, counts.returned, counts.crashed) == (0, 0, 0)
    assert worker.heartbeat()


def test_a_worker_that_was_seen_to_die_is_dead_at_once_and_no_other(db: Session, worker: DrivenWorker) -> None:
    other = DrivenWorker(db)
    for _ in range(2):
        send(db)
    mine, theirs = worker.claim_one(), other.claim_one()
    counts = reap(db, proven_dead=worker.id)
    assert (counts.workers, counts.returned, counts.crashed) == (1, 0, 1)
    assert find(db, "history", mine.task_id)
    assert row(db, "tasks", theirs.task_id)["status"] == "RUNNING"


def test_who_is_dead_already_is_no_news(db: Session, worker: DrivenWorker) -> None:
    worker.stop()
    assert reap(db, proven_dead=worker.id).workers == 0
    assert reap(db, proven_dead=uuid7()).workers == 0


def test_a_task_that_ran_there_fails_as_crashed(db: Session, worker: DrivenWorker) -> None:
    send(db)
    fence = worker.claim_one()
    move_clock(db, 61)
    assert reap(db, worker.id).crashed == 1
    ended = row(db, "history", fence.task_id)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("FAILED", "WORKER_CRASHED", 1)
    assert (ended["worker_id"], ended["exchange_no"]) == (worker.id, fence.exchange_no)
    assert ended["finished_at"] == NOON + timedelta(seconds=61)
    assert b"the worker that ran this task died" in ended["result"]


def test_it_is_tried_again_if_its_policy_names_the_crash(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=AFTER_CRASH))
    worker.claim_one()
    assert reap(db, proven_dead=worker.id).crashed == 1
    task = row(db, "tasks", task_id)
    assert (task["status"], task["attempt"], task["run_at"]) == ("PENDING", 1, NOON + timedelta(seconds=60))
    assert column(db, "select outcome from horsies.attempts") == ["WORKER_FAILURE"]


def test_it_is_not_tried_again_if_its_policy_names_other_codes(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=AFTER_BOOM))
    worker.claim_one()
    reap(db, proven_dead=worker.id)
    assert row(db, "history", task_id)["status"] == "FAILED"


def test_a_crash_counts_against_the_retries(db: Session, worker: DrivenWorker) -> None:
    task_id = send(db, request(retry=AFTER_CRASH))
    worker.claim_one()
    reap(db, proven_dead=worker.id)
    move_clock(db, 60)
    second = DrivenWorker(db)
    second.claim_one()
    reap(db, proven_dead=second.id)
    assert row(db, "history", task_id)["attempt"] == 2


def test_a_claim_that_never_began_goes_back_to_its_place(db: Session, worker: DrivenWorker) -> None:
    before = row(db, "tasks", send(db))
    fence = worker.claim_one()
    prefetch(db, fence)
    counts = reap(db, proven_dead=worker.id)
    assert (counts.returned, counts.crashed) == (1, 0)
    assert row(db, "tasks", fence.task_id) == before | {"worker_deaths": 1}


def test_the_tasks_of_several_dead_workers_are_recovered_at_once(db: Session, worker: DrivenWorker) -> None:
    other = DrivenWorker(db)
    for _ in range(6):
        send(db)
    fences = [*worker.claim(2), *other.claim(3)]
    prefetch(db, fences[1])
    other.stop()
    counts = reap(db, worker.id)
    assert (counts.workers, counts.returned, counts.crashed) == (1, 1, 4)
    assert set(column(db, "select worker_id from horsies.history")) == {worker.id, other.id}


def test_a_call_handles_a_bounded_number_and_the_next_one_continues(db: Session, worker: DrivenWorker) -> None:
    for _ in range(5):
        send(db)
    worker.claim(5)
    worker.stop()
    assert [reap(db, most=2).crashed for _ in range(4)] == [2, 2, 1, 0]


def test_what_waits_and_what_has_ended_is_left_alone(db: Session, worker: DrivenWorker) -> None:
    ended, waiting = ended_task(db), send(db)
    retried = send(db, request(retry=AFTER_BOOM, priority=1))
    worker.finish(failed(worker.claim_one()))
    before = [row(db, "history", ended), row(db, "tasks", waiting), row(db, "tasks", retried)]
    counts = reap(db, proven_dead=worker.id)
    assert (counts.workers, counts.returned, counts.crashed) == (1, 0, 0)
    assert [row(db, "history", ended), row(db, "tasks", waiting), row(db, "tasks", retried)] == before


def test_a_claim_that_commits_after_its_worker_was_declared_dead_is_reaped_next(
    db: Session, other: Session, worker: DrivenWorker
) -> None:
    send(db)
    with db.transaction():
        fence = worker.claim_one()
        assert reap(other, proven_dead=worker.id).workers == 1
    assert row(db, "tasks", fence.task_id)["worker_id"] == worker.id
    assert reap(other).crashed == 1
    assert row(db, "history", fence.task_id)["error_code"] == "WORKER_CRASHED"


def test_a_heartbeat_that_comes_while_its_worker_is_declared_dead_learns_of_it(
    db: Session, new_session: NewSession, in_background: InBackground, worker: DrivenWorker
) -> None:
    reaping = new_session()
    with reaping.transaction():
        reap(reaping, proven_dead=worker.id)
        heartbeat = in_background(worker.heartbeat)
        wait_until_blocked(reaping, db)
    assert heartbeat.result() is False


def test_waiters_and_workers_are_notified(db: Session, new_session: NewSession, worker: DrivenWorker) -> None:
    done, wake = NotificationListener(new_session(), "done"), NotificationListener(new_session(), "wake")
    send(db)
    fence = worker.claim_one()
    reap(db, proven_dead=worker.id)
    assert [notice[:32] for notice in done.heard()] == [fence.task_id.hex]
    assert wake.heard() == [""]
    reap(db)
    assert (done.heard(), wake.heard()) == ([], [])


def test_a_claim_that_is_returned_for_the_fifth_time_fails_despite_its_policy(db: Session) -> None:
    """The task never started, and each worker that claimed it died. The task may be the cause."""
    task_id = send(db, request(retry=AFTER_CRASH))
    for returned in (1, 1, 1, 1, 0):
        victim = DrivenWorker(db)
        prefetch(db, victim.claim_one())
        counts = reap(db, proven_dead=victim.id)
        assert (counts.returned, counts.crashed) == (returned, 1 - returned)
    ended = row(db, "history", task_id)
    assert (ended["status"], ended["error_code"], ended["attempt"]) == ("FAILED", "WORKER_CRASHED", 1)
    assert b"5 workers that had claimed this task died before it began" in ended["result"]
    assert ended["retry_policy"] == AFTER_CRASH.to_json()


def end_by_outcome(db: Session, worker: DrivenWorker, task_id: UUID) -> None:
    worker.finish(failed(worker.claim_one(), "OTHER"))
    assert find(db, "tasks", task_id) is None


def end_by_cancel(db: Session, worker: DrivenWorker, task_id: UUID) -> None:
    worker.claim_one()
    call(db, task_queries.cancel(task_id))


def end_by_expiry(db: Session, worker: DrivenWorker, task_id: UUID) -> None:
    worker.release(*worker.prefetch())
    move_clock(db, 61)
    assert expire(db) == 1
    assert find(db, "tasks", task_id) is None


def end_by_crash(db: Session, worker: DrivenWorker, task_id: UUID) -> None:
    worker.claim_one()
    reap(db, proven_dead=worker.id)
    assert find(db, "tasks", task_id) is None


def end_by_dead_workers(db: Session, worker: DrivenWorker, task_id: UUID) -> None:
    worker.stop()
    while find(db, "tasks", task_id):
        victim = DrivenWorker(db)
        prefetch(db, victim.claim_one())
        reap(db, proven_dead=victim.id)


@pytest.mark.parametrize(
    "end",
    [end_by_outcome, end_by_cancel, end_by_expiry, end_by_crash, end_by_dead_workers],
    ids=lambda end: end.__name__,
)
def test_whatever_ends_a_task_history_keeps_its_retry_policy(
    db: Session, worker: DrivenWorker, end: Callable[[Session, DrivenWorker, UUID], None]
) -> None:
    task_id = send(db, request(retry=AFTER_BOOM, good_until=NOON + timedelta(seconds=60)))
    end(db, worker, task_id)
    assert row(db, "history", task_id)["retry_policy"] == AFTER_BOOM.to_json()
    info = call(db, task_queries.task_info(task_id))
    assert info is not None
    assert info.max_retries == 1
    again = uuid7()
    assert call(db, task_queries.rerun(task_id, again)) == "sent"
    assert row(db, "tasks", again)["retry_policy"] == AFTER_BOOM.to_json()


def test_a_started_task_is_not_counted_as_returned(db: Session, worker: DrivenWorker) -> None:
    policy = RetryPolicy.fixed([1] * 6, jitter=False, auto_retry_for=["WORKER_CRASHED"])
    task_id = send(db, request(retry=policy))
    for _ in range(6):
        victim = DrivenWorker(db)
        victim.claim_one()
        assert reap(db, proven_dead=victim.id).crashed == 1
        move_clock(db, 1)
    assert row(db, "tasks", task_id)["worker_deaths"] == 0
