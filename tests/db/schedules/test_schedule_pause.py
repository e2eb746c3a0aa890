"""`schedule_pause`: pausing and resuming."""

from horsies.db.queries import schedules as schedule_queries
from tests.support.factories import define, schedule_state
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock


def pause(session: Session, *, paused: bool, name: str = "nightly") -> bool | None:
    return call(session, schedule_queries.schedule_pause(name, paused=paused))


def test_pausing_and_resuming_are_remembered(db: Session) -> None:
    freeze_clock(db)
    define(db, due=NOON)
    assert pause(db, paused=True)
    assert (schedule_state(db).paused, schedule_state(db).resumed_at) == (True, None)
    move_clock(db, 60)
    assert pause(db, paused=False)
    resumed_at = schedule_state(db).resumed_at
    assert (schedule_state(db).paused, resumed_at is not None and (resumed_at - NOON).total_seconds()) == (False, 60)


def test_resuming_what_is_not_paused_changes_nothing(db: Session) -> None:
    freeze_clock(db)
    define(db, due=NOON)
    assert pause(db, paused=False) is False
    assert schedule_state(db).resumed_at is None
    assert pause(db, paused=True) is True
    assert pause(db, paused=True) is False
    assert schedule_state(db).paused


def test_one_that_is_not_known(db: Session) -> None:
    assert pause(db, paused=True) is None
