"""`sample_between`: replaces the samples of the minutes between two times, and no others."""

from datetime import timedelta

import pytest

from horsies.db.queries import worker as worker_queries
from tests.support.factories import ended_task
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _three_minutes(db: Session) -> None:
    """End a task in each of three minutes."""
    freeze_clock(db)
    call(db, worker_queries.add_partitions(6))
    for _ in range(3):
        ended_task(db)
        move_clock(db, 60)


def sample_between(db: Session, first: int, end: int) -> None:
    db.execute("select horsies.sample_between(%s, %s)", (NOON + first * MINUTE, NOON + end * MINUTE))


def completed(db: Session, period_s: int) -> dict[int, int]:
    """Return the completed tasks by the minute after noon at which the period begins."""
    rows = db.execute("select started_at, completed from horsies.samples where period_s = %s", (period_s,)).fetchall()
    return {round((at - NOON) / MINUTE): count for at, count in rows}


def test_the_end_is_excluded(db: Session) -> None:
    sample_between(db, 0, 2)
    assert completed(db, 60) == {0: 1, 1: 1}
    assert completed(db, 600) == completed(db, 3600) == {0: 2}


def test_a_second_call_replaces_its_minutes_and_keeps_the_others(db: Session) -> None:
    sample_between(db, 0, 3)
    db.execute("update horsies.samples set completed = 50 where period_s = 60")
    db.execute("delete from horsies.history where finished_at >= %s", (NOON + 2 * MINUTE,))
    sample_between(db, 1, 3)
    assert completed(db, 60) == {0: 50, 1: 1}
    assert completed(db, 600) == completed(db, 3600) == {0: 51}
