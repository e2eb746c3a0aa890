"""`schedule_lead`: each schedule has one leader, until its lease ends."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from horsies.db.queries import schedules as schedule_queries
from tests.support.sessions import Session, call, freeze_clock, move_clock, scalar

ONE, OTHER = uuid4(), uuid4()


def lead(session: Session, holder: UUID, names: Sequence[str], lease_s: float = 3) -> list[str]:
    return sorted(call(session, schedule_queries.schedule_lead(names, holder, timedelta(seconds=lease_s))))


def release(session: Session, holder: UUID) -> int:
    return call(session, schedule_queries.schedule_release(holder))


def test_each_schedule_is_led_by_the_first_that_asks(db: Session) -> None:
    assert lead(db, ONE, ["b", "a"]) == ["a", "b"]
    assert lead(db, OTHER, ["b", "c", "a"]) == ["c"]  # another version of the app has one more
    assert lead(db, ONE, ["a", "b", "c"]) == ["a", "b"]


def test_a_scheduler_that_falls_silent_loses_the_lead(db: Session) -> None:
    freeze_clock(db)
    assert lead(db, ONE, ["a"]) == ["a"]
    move_clock(db, 2.9)
    assert lead(db, OTHER, ["a"]) == []
    move_clock(db, 0.1)
    assert lead(db, OTHER, ["a"]) == ["a"]
    assert lead(db, ONE, ["a"]) == []


def test_a_scheduler_that_renews_in_time_keeps_it(db: Session) -> None:
    freeze_clock(db)
    for _ in range(5):
        assert lead(db, ONE, ["a"]) == ["a"]
        move_clock(db, 2)
        assert lead(db, OTHER, ["a"]) == []


def test_a_lease_from_before_the_clock_was_set_back_does_not_outlive_its_holder(db: Session) -> None:
    freeze_clock(db)
    move_clock(db, 600)
    assert lead(db, ONE, ["a"]) == ["a"]
    move_clock(db, -600)
    assert lead(db, OTHER, ["a"]) == ["a"]


def test_no_transaction_and_no_lock_remains_between_calls(db: Session, other: Session) -> None:
    assert lead(other, ONE, ["a"]) == ["a"]
    pid = other.info.backend_pid
    assert scalar(db, "select xact_start is null or state = 'idle' from pg_stat_activity where pid = %s", pid)
    assert scalar(db, "select count(*) from pg_locks where pid = %s", pid) == 0
    assert (
        scalar(
            db,
            "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from"
            " pg_database where datname = current_database())",
        )
        == 0
    )


def test_renewals_of_two_schedulers_in_different_orders_do_not_deadlock(db: Session, other: Session) -> None:
    names = [f"schedule {number}" for number in range(50)]
    for _ in range(20):
        assert len(lead(db, ONE, names)) + len(lead(other, OTHER, names[::-1])) == 50
