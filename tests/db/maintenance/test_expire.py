"""`expire`: ends tasks that were not started by their deadline."""

import json
from datetime import timedelta

import pytest

from horsies.config.retry import RetryPolicy
from tests.support.factories import DrivenWorker, done, expire, failed, numbered_id, prefetch, request, send
from tests.support.sessions import NOON, NotificationListener, Session, column, find, freeze_clock, move_clock, row

DEADLINE = NOON + timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)


def test_a_task_expires_at_its_deadline_and_not_before(db: Session) -> None:
    task_id = send(db, request(good_until=DEADLINE))
    move_clock(db, 59.999)
    assert expire(db) == 0
    move_clock(db, 0.001)
    assert expire(db) == 1
    assert not find(db, "tasks", task_id)
    ended = row(db, "history", task_id)
    assert (ended["status"], ended["error_code"]) == ("EXPIRED", "TASK_EXPIRED")
    assert (ended["finished_at"], ended["started_at"], ended["attempt"]) == (DEADLINE, None, 0)
    assert json.loads(ended["result"])["error_code"] == "TASK_EXPIRED"


def test_history_keeps_everything_about_the_task(db: Session) -> None:
    wanted = request(good_until=DEADLINE, retry=RetryPolicy.fixed([1], auto_retry_for=["BOOM"]), timeout_ms=100)
    live = row(db, "tasks", send(db, wanted))
    move_clock(db, 60)
    expire(db)
    ended = row(db, "history", wanted.task_id)
    same = (live.keys() & ended.keys()) - {"status"}
    assert {name: ended[name] for name in same} == {name: live[name] for name in same}


def test_tasks_without_a_deadline_and_running_tasks_do_not_expire(db: Session) -> None:
    send(db, request(priority=1, good_until=DEADLINE))
    send(db)
    worker = DrivenWorker(db)
    running = worker.claim_one()
    move_clock(db, 3600)
    assert expire(db) == 0
    assert worker.finish(done(running)) == ["accepted"]


def test_a_prefetched_task_expires_and_wakes_those_who_wait_for_its_room(db: Session, other: Session) -> None:
    send(db, request(good_until=DEADLINE))
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    prefetch(db, fence)
    move_clock(db, 60)
    listener = NotificationListener(other, "wake")
    assert expire(db) == 1
    assert listener.heard() == [""]
    assert row(db, "history", fence.task_id)["worker_id"] == worker.id
    assert worker.reconcile(fence) == {fence.task_id}


def test_the_expiry_of_a_task_that_nobody_holds_wakes_nobody(db: Session, other: Session) -> None:
    send(db, request(good_until=DEADLINE))
    move_clock(db, 60)
    listener = NotificationListener(other, "wake")
    assert expire(db) == 1
    assert listener.heard() == []


def test_a_task_that_waits_for_its_retry_expires_with_the_attempts_it_had(db: Session) -> None:
    policy = RetryPolicy.fixed([59], jitter=False, auto_retry_for=["BOOM"])
    task_id = send(db, request(good_until=DEADLINE, retry=policy))
    worker = DrivenWorker(db)
    worker.finish(failed(worker.claim_one()))
    move_clock(db, 60)
    assert expire(db) == 1
    assert row(db, "history", task_id)["attempt"] == 1
    assert column(db, "select attempt from horsies.attempts") == [1]


def test_a_held_task_expires(db: Session) -> None:
    task_id = send(db, request(good_until=DEADLINE))
    db.execute("update horsies.tasks set held = true")
    move_clock(db, 60)
    assert expire(db) == 1
    assert find(db, "history", task_id)


def test_a_call_handles_a_bounded_number_and_the_next_one_continues(db: Session) -> None:
    for number in range(5):
        send(db, request(numbered_id(number), good_until=DEADLINE))
    move_clock(db, 60)
    assert [expire(db, most=2) for _ in range(4)] == [2, 2, 1, 0]


def test_what_others_are_busy_with_is_left_for_the_next_time(db: Session, other: Session) -> None:
    locked, free = (send(db, request(good_until=DEADLINE)) for _ in range(2))
    move_clock(db, 60)
    with other.transaction():
        other.execute("select from horsies.tasks where id = %s for update", (locked,))
        assert expire(db) == 1
    assert find(db, "history", free)
    assert expire(db) == 1


def test_waiters_are_notified(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "done")
    task_id = send(db, request(good_until=DEADLINE))
    move_clock(db, 60)
    expire(db)
    assert [notice[:32] for notice in listener.heard()] == [task_id.hex]
    expire(db)
    assert listener.heard() == []
