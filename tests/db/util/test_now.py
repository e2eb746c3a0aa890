"""`now`: the clock of tasks, which tests can move."""

from datetime import timedelta

from tests.support.sessions import (
    NOON,
    NewSession,
    Session,
    freeze_clock,
    move_clock,
    scalar,
    use_test_clocks,
)


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


def test_in_production_the_table_moves_nothing(db: Session) -> None:
    db.execute("insert into horsies.clock (frozen_at) values ('2001-01-01')")
    assert scalar(db, "select clock_timestamp() - horsies.now() between '-1 min' and '1 min'")


def test_with_an_empty_table_it_is_the_real_time(db: Session) -> None:
    use_test_clocks(db)
    assert scalar(db, "select clock_timestamp() - horsies.now() between '-1 min' and '1 min'")
