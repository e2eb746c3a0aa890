"""`schedule_states`: all schedules, and the time of the database."""

from horsies.db.queries import schedules as schedule_queries
from tests.support.factories import define
from tests.support.sessions import NOON, Session, call, freeze_clock


def test_the_clock_is_returned_without_schedules(db: Session) -> None:
    freeze_clock(db)
    assert call(db, schedule_queries.schedule_states()) == (NOON, {})


def test_all_are_there_by_name_with_times_in_utc(db: Session) -> None:
    db.execute("set timezone = 'Europe/Berlin'")
    define(db, "b", due=NOON)
    define(db, "a", due=None)
    _, states = call(db, schedule_queries.schedule_states())
    assert list(states) == ["a", "b"]
    assert states["b"].next_run_at == NOON
    assert str(states["b"].next_run_at) == str(NOON)
