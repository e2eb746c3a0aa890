"""`schedule_lead`: each schedule has one leader, until the leader ends or is silent."""

from collections.abc import Sequence
from datetime import timedelta

from horsies.db.queries import schedules as schedule_queries
from tests.support.sessions import Session, call, scalar
from tests.support.waiting import wait_until


def lead(session: Session, names: Sequence[str], silence_s: float = 60) -> list[str]:
    return call(session, schedule_queries.schedule_lead(names, timedelta(seconds=silence_s)))


def test_each_schedule_is_led_by_the_first_that_asks(db: Session, other: Session) -> None:
    with db.transaction():
        assert lead(db, ["a", "b"]) == ["a", "b"]
        with other.transaction():
            assert lead(other, ["b", "c", "a"]) == ["c"]  # another version of the app has one more schedule
            assert lead(db, ["c"]) == []
        assert lead(db, ["c"]) == ["c"]
        assert lead(db, []) == []
    assert lead(other, ["a", "b", "c"]) == ["a", "b", "c"]


def test_who_falls_silent_loses_the_lead(db: Session, other: Session) -> None:
    other.execute("begin")
    assert lead(other, ["a"], silence_s=0.3) == ["a"]
    assert lead(db, ["a"]) == []
    wait_until(lambda: lead(db, ["a"]) == ["a"], timeout=5)
    other.close()


def test_who_comes_back_in_time_keeps_it_and_holds_nobody_up(db: Session, other: Session) -> None:
    """Its snapshot is never older than its last call, so vacuum can continue.

    Transactions of other tests on this server hold the horizon of every snapshot back for a while. So the test compares
    the snapshot with one that another session took just before that call, and repeats this until the horizon has moved.
    """
    other.execute("begin")
    assert lead(other, ["a"], silence_s=2) == ["a"]
    oldest = "select backend_xmin::text::bigint from pg_stat_activity where pid = %s and backend_xid is null"
    before = scalar(db, oldest, other.info.backend_pid)

    def come_back() -> int:
        """Let time and a transaction pass. Return the horizon of a snapshot taken just before the next call."""
        db.execute("select txid_current(), pg_sleep(0.1)")
        horizon: int = scalar(db, "select txid_snapshot_xmin(txid_current_snapshot())")
        assert lead(other, [], silence_s=2) == []
        return horizon

    for _ in range(25):  # longer than the allowed silence
        come_back()
    wait_until(lambda: come_back() > before, timeout=30)
    latest = come_back()
    assert lead(db, ["a"]) == []
    assert scalar(db, oldest, other.info.backend_pid) >= latest > before
    other.execute("rollback")
