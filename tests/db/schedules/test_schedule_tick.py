"""`schedule_tick`: sends and moves on in one transaction; a due time has one task, even with concurrent calls."""

from datetime import timedelta

import psycopg
import pytest

from horsies.db.queries import schedules as schedule_queries
from tests.support.factories import DrivenWorker, define, done, schedule_state, tick
from tests.support.sessions import (
    NOON,
    InBackground,
    Session,
    call,
    column,
    freeze_clock,
    row,
    scalar,
    wait_until_blocked,
)

TIMES = [NOON + timedelta(hours=n) for n in range(5)]


def tasks(session: Session) -> int:
    return scalar(session, "select count(*) from horsies.tasks")


def test_it_sends_the_task_and_moves_to_the_next_due_time(db: Session) -> None:
    freeze_clock(db, TIMES[0] + timedelta(seconds=3))
    define(db, due=TIMES[0], queue="mail", priority=7, timeout_ms=500)
    assert tick(db, TIMES[0], [TIMES[0]], TIMES[1]) == 1
    state = schedule_state(db)
    assert (state.next_run_at, state.last_run_at, state.run_count) == (TIMES[1], TIMES[0], 1)
    assert state.last_task_id == scalar(db, "select horsies.due_id('nightly', %s)", TIMES[0])
    task = row(db, "tasks", state.last_task_id)
    assert (task["task_name"], task["queue"], task["priority"], task["timeout_ms"]) == ("add", "mail", 7, 500)
    assert task["sent_at"] == task["run_at"] == TIMES[0] + timedelta(seconds=3)


def test_missed_ones_are_sent_together(db: Session) -> None:
    define(db, due=TIMES[0])
    assert tick(db, TIMES[0], TIMES[:4], TIMES[4]) == 4
    assert column(db, "select id from horsies.tasks order by id") == [
        scalar(db, "select horsies.due_id('nightly', %s)", due) for due in TIMES[:4]
    ]
    assert schedule_state(db).last_run_at == TIMES[3]


def test_what_was_due_in_a_pause_is_passed_over(db: Session) -> None:
    define(db, due=TIMES[0])
    assert tick(db, TIMES[0], [], TIMES[3]) == 0
    state = schedule_state(db)
    assert (state.next_run_at, state.last_run_at, state.last_task_id, state.run_count) == (TIMES[3], None, None, 0)


def test_only_who_knows_where_the_schedule_stands_may_go_on(db: Session) -> None:
    define(db, due=TIMES[1])
    assert tick(db, TIMES[0], [TIMES[0]], TIMES[1]) is None  # behind
    assert tick(db, TIMES[1], [TIMES[1]], TIMES[2], config_hash="h0") is None  # another version of the app
    assert tick(db, TIMES[1], [TIMES[1]], TIMES[2], name="other") is None
    call(db, schedule_queries.schedule_pause("nightly", paused=True))
    assert tick(db, TIMES[1], [TIMES[1]], TIMES[2]) is None
    assert tasks(db) == 0
    assert schedule_state(db).next_run_at == TIMES[1]


def test_two_at_once_make_one_task(db: Session, other: Session, in_background: InBackground) -> None:
    define(db, due=TIMES[0])
    with db.transaction():
        assert tick(db, TIMES[0], [TIMES[0]], TIMES[1]) == 1
        late = in_background(lambda: tick(other, TIMES[0], [TIMES[0]], TIMES[1]))
        wait_until_blocked(db, other)
    assert late.result() is None
    assert tasks(db) == schedule_state(db).run_count == 1


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_due_time_that_comes_again_has_its_task_already(db: Session, *, has_ended: bool) -> None:
    """This happens after a failover to a server whose clock is behind, when the schedule is defined again."""
    define(db, due=TIMES[0])
    assert tick(db, TIMES[0], [TIMES[0]], TIMES[1]) == 1
    if has_ended:
        worker = DrivenWorker(db)
        worker.finish(done(worker.claim_one()))
    define(db, due=TIMES[0], config_hash="h2", args=b'{"a": 2}')
    assert tick(db, TIMES[0], [TIMES[0]], TIMES[1], config_hash="h2") == 0
    assert tasks(db) == (0 if has_ended else 1)
    assert schedule_state(db).run_count == 1


def test_sending_and_going_on_are_all_or_nothing(db: Session) -> None:
    define(db, due=TIMES[0], timeout_ms=1)  # no task may have such a time-out
    with pytest.raises(psycopg.errors.CheckViolation):
        tick(db, TIMES[0], TIMES[:2], TIMES[2])
    assert schedule_state(db).next_run_at == TIMES[0]
    assert tasks(db) == 0
