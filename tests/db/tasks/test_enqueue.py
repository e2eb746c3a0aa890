"""`enqueue`: accepts a task exactly once."""

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg import errors

from horsies.config.retry import RetryPolicy
from tests.support.factories import DrivenWorker, done, ended_task, enqueue, expire, failed, request, send
from tests.support.sessions import (
    NOON,
    InBackground,
    NewSession,
    Session,
    find,
    freeze_clock,
    row,
    scalar,
    wait_until_blocked,
)

POLICY = RetryPolicy.fixed([60], auto_retry_for=["BOOM"])


def live_rows(db: Session) -> int:
    return scalar(db, "select count(*) from horsies.tasks")


def test_a_first_send_waits_in_the_queue_and_is_due_now(db: Session) -> None:
    freeze_clock(db)
    task = row(db, "tasks", send(db, request(name="mail", queue="letters", priority=7)))
    assert (task["task_name"], task["queue"], task["priority"]) == ("mail", "letters", 7)
    assert (task["status"], task["held"], task["attempt"], task["worker_deaths"]) == ("PENDING", False, 0, 0)
    assert task["sent_at"] == task["run_at"] == NOON
    assert task["good_until"] is task["retry_policy"] is task["timeout_ms"] is None
    assert task["worker_id"] is task["exchange_no"] is task["claimed_at"] is task["started_at"] is None


def test_a_delay_counts_by_the_clock_of_the_database(db: Session) -> None:
    freeze_clock(db)
    task = row(db, "tasks", send(db, request(delay=90.5)))
    assert (task["sent_at"], task["run_at"]) == (NOON, NOON + timedelta(seconds=90.5))


def test_deadline_policy_time_out_and_fingerprint_are_kept(db: Session) -> None:
    deadline = NOON + timedelta(microseconds=1)
    wanted = request(good_until=deadline, retry=POLICY, timeout_ms=100, fingerprint=b"\x00\xff")
    task = row(db, "tasks", send(db, wanted))
    assert (task["good_until"], task["timeout_ms"], task["fingerprint"]) == (deadline, 100, b"\x00\xff")
    assert task["retry_policy"] == POLICY.to_json()


def test_a_replay_of_a_waiting_task_is_known_and_changes_nothing(db: Session) -> None:
    wanted = request()
    send(db, wanted)
    before = row(db, "tasks", wanted.task_id)
    assert enqueue(db, replace(wanted, priority=1), replay=True) == "known"
    assert row(db, "tasks", wanted.task_id) == before


def test_a_replay_of_a_running_task_is_known_and_leaves_it_running(db: Session) -> None:
    wanted = request()
    send(db, wanted)
    fence = DrivenWorker(db).claim_one()
    assert enqueue(db, wanted, replay=True) == "known"
    assert row(db, "tasks", fence.task_id)["status"] == "RUNNING"


def test_a_replay_of_an_ended_task_is_known_and_makes_no_second_row(db: Session) -> None:
    wanted = request()
    ended_task(db, wanted)
    assert enqueue(db, wanted, replay=True) == "known"
    assert live_rows(db) == 0


def test_a_replay_of_a_task_that_ended_long_before_its_id_was_made_is_known_too(db: Session) -> None:
    freeze_clock(db, NOON - timedelta(days=10_000))  # the sender's clock was far ahead
    wanted = request()
    ended_task(db, wanted)
    assert enqueue(db, wanted, replay=True) == "known"
    assert live_rows(db) == 0


def test_a_replay_of_an_expired_task_is_known(db: Session) -> None:
    wanted = request(good_until=NOON)
    freeze_clock(db)
    send(db, wanted)
    assert expire(db) == 1
    assert enqueue(db, wanted, replay=True) == "known"
    assert live_rows(db) == 0


def test_a_replay_of_a_send_that_never_arrived_is_sent(db: Session) -> None:
    wanted = request()
    assert enqueue(db, wanted, replay=True) == "sent"
    assert find(db, "tasks", wanted.task_id)


@pytest.mark.parametrize("replay", [False, True])
def test_another_request_under_the_id_of_a_waiting_task_is_a_mismatch(db: Session, replay: bool) -> None:  # noqa: FBT001
    wanted = request()
    send(db, wanted)
    assert enqueue(db, replace(wanted, fingerprint=b"other"), replay=replay) == "mismatch"
    assert row(db, "tasks", wanted.task_id)["fingerprint"] == wanted.fingerprint


def test_another_request_under_the_id_of_an_ended_task_is_a_mismatch_and_makes_no_row(db: Session) -> None:
    wanted = request()
    ended_task(db, wanted)
    assert enqueue(db, replace(wanted, fingerprint=b"other"), replay=True) == "mismatch"
    assert live_rows(db) == 0


def test_a_first_send_that_the_driver_repeats_is_known(db: Session) -> None:
    wanted = request()
    send(db, wanted)
    assert enqueue(db, wanted) == "known"


def test_of_two_replays_at_once_one_is_sent(db: Session, other: Session, in_background: InBackground) -> None:
    wanted = request()
    with db.transaction():
        assert enqueue(db, wanted, replay=True) == "sent"
        second = in_background(lambda: enqueue(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert second.result() == "known"
    assert live_rows(db) == 1


def test_two_replays_at_once_of_an_ended_task_make_no_row(
    db: Session, other: Session, in_background: InBackground
) -> None:
    wanted = request()
    ended_task(db, wanted)
    with db.transaction():
        assert enqueue(db, wanted, replay=True) == "known"
        second = in_background(lambda: enqueue(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert second.result() == "known"
    assert live_rows(db) == 0


def test_a_replay_waits_for_the_open_transaction_of_the_first_send(
    db: Session, other: Session, in_background: InBackground
) -> None:
    wanted = request()
    with db.transaction():
        send(db, wanted)
        replay = in_background(lambda: enqueue(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert replay.result() == "known"
    assert live_rows(db) == 1


def test_a_replay_of_a_first_send_that_is_rolled_back_is_sent(
    db: Session, other: Session, in_background: InBackground
) -> None:
    wanted = request()
    with db.transaction(force_rollback=True):
        send(db, wanted)
        replay = in_background(lambda: enqueue(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert replay.result() == "sent"
    assert live_rows(db) == 1


def test_a_replay_that_meets_a_task_while_it_ends_does_not_make_it_run_again(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    wanted = request()
    send(db, wanted)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    other = new_session()
    with db.transaction():
        assert worker.finish(done(fence)) == ["accepted"]
        replay = in_background(lambda: enqueue(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert replay.result() == "known"
    assert live_rows(db) == 0


def test_a_replay_that_meets_a_task_while_it_is_retried_is_known(
    db: Session, other: Session, in_background: InBackground
) -> None:
    wanted = request(retry=POLICY)
    send(db, wanted)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    with db.transaction():
        assert worker.finish(failed(fence)) == ["accepted"]
        replay = in_background(lambda: enqueue(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert replay.result() == "known"
    assert row(db, "tasks", wanted.task_id)["attempt"] == 1


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_replay_needs_to_see_the_latest_commit(db: Session, level: psycopg.IsolationLevel) -> None:
    db.isolation_level = level
    refusal = pytest.raises(errors.FeatureNotSupported, match="needs a READ COMMITTED transaction here")
    with refusal as caught, db.transaction():
        enqueue(db, request(), replay=True)
    assert level.name.replace("_", " ") in str(caught.value)
    assert caught.value.diag.message_hint
    assert live_rows(db) == 0


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_first_send_works_in_any_transaction(db: Session, level: psycopg.IsolationLevel) -> None:
    db.isolation_level = level
    with db.transaction():
        task_id = send(db)
    assert find(db, "tasks", task_id)


def test_a_send_belongs_to_the_transaction_it_is_made_in(db: Session, other: Session) -> None:
    with db.transaction(force_rollback=True):
        task_id = send(db)
        assert find(db, "tasks", task_id)
        assert not find(other, "tasks", task_id)
    assert not find(db, "tasks", task_id)


def test_priority_is_from_1_to_100(db: Session) -> None:
    for priority in (0, 101):
        with pytest.raises(errors.CheckViolation) as caught:
            send(db, request(priority=priority))
        assert caught.value.diag.constraint_name == "priority_is_from_1_to_100"


def test_a_time_out_is_at_least_100_ms(db: Session) -> None:
    with pytest.raises(errors.CheckViolation) as caught:
        send(db, request(timeout_ms=99))
    assert caught.value.diag.constraint_name == "timeout_is_at_least_100_ms"


def test_arguments_that_are_no_json_are_refused(db: Session) -> None:
    with pytest.raises(errors.InvalidTextRepresentation):
        send(db, request(args=b"{"))
    assert live_rows(db) == 0
