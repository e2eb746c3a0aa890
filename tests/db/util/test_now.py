"""`now`: the only clock, which tests can move."""

from datetime import timedelta

from tests.support.factories import send
from tests.support.sessions import NOON, NewSession, Session, freeze_clock, move_clock, row, scalar


def test_it_is_the_clock_of_the_database_and_moves_within_a_transaction(db: Session) -> None:
    with db.transaction():
        first = scalar(db, "select horsies.now()")
        assert scalar(db, "select transaction_timestamp() <= horsies.now()")
        assert scalar(db, "select horsies.now() > %s", first)


def test_a_test_stops_and_moves_it_for_all_later_sessions(db: Session, new_session: NewSession) -> None:
    freeze_clock(db)
    move_clock(db, 90)
    move_clock(db, -30)
    assert scalar(db, "select horsies.now()") == NOON + timedelta(seconds=60)
    assert scalar(new_session(), "select horsies.now()") == NOON + timedelta(seconds=60)


def test_it_moves_without_being_stopped(db: Session) -> None:
    move_clock(db, 3600)
    assert scalar(db, "select horsies.now() - clock_timestamp() between '59 min' and '61 min'")


def test_the_table_alone_moves_nothing(db: Session, other: Session) -> None:
    freeze_clock(db)
    other.execute("set horsies_test.clock = 'off'")
    assert row(other, "tasks", send(other))["sent_at"] < NOON


def test_switched_on_without_a_moved_time_it_is_the_real_one(db: Session) -> None:
    db.execute("set horsies_test.clock = 'on'")
    assert scalar(db, "select clock_timestamp() - horsies.now() between '-1 min' and '1 min'")
