"""`schedule_define`: stores the definition of the app; only another hash moves the next run."""

from datetime import timedelta

from tests.support.factories import define, schedule_state, tick
from tests.support.sessions import NOON, Session, scalar

LATER = NOON + timedelta(hours=1)


def test_a_new_one_is_due_as_it_says(db: Session) -> None:
    define(db, due=NOON, args=b'{"b": 2, "a":1}')
    state = schedule_state(db)
    assert (state.next_run_at, state.last_run_at, state.last_task_id, state.run_count, state.paused) == (
        NOON,
        None,
        None,
        0,
        False,
    )
    assert scalar(db, "select args from horsies.schedules") == b'{"b": 2, "a":1}'  # the bytes are unchanged


def test_another_hash_restarts_due_times_and_keeps_the_history(db: Session) -> None:
    define(db, due=NOON)
    assert tick(db, NOON, [NOON], LATER) == 1
    define(db, due=NOON + timedelta(days=1), config_hash="h2", queue="mail")
    state = schedule_state(db)
    assert (state.next_run_at, state.config_hash, state.queue) == (NOON + timedelta(days=1), "h2", "mail")
    assert (state.last_run_at, state.run_count) == (NOON, 1)


def test_the_same_hash_changes_what_is_sent_and_not_when(db: Session) -> None:
    define(db, due=NOON)
    define(db, due=LATER, timeout_ms=500, fingerprint=b"other")
    assert schedule_state(db).next_run_at == NOON
    assert schedule_state(db).fingerprint == b"other"
    assert scalar(db, "select timeout_ms from horsies.schedules") == 500


def test_one_that_is_not_enabled_has_no_next_run(db: Session) -> None:
    define(db, due=None)
    assert schedule_state(db).next_run_at is None
