"""`turn_head`: the next priority at which tasks may wait for their turns."""

import json
from collections.abc import Mapping
from datetime import timedelta

import pytest

from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import NOON, Session, freeze_clock, scalar

QUERY = "select * from horsies.turn_head('default', %s, horsies.now())"


@pytest.fixture
def filled(db: Session) -> Session:
    """Let tasks wait for their turns at the priorities 20 and 60, and scheduled tasks at 10."""
    freeze_clock(db)
    declare_queue(db)
    for priority, delay in [(20, 0), (60, 0), (10, 5)]:
        send_keys(db, "a", priority=priority, delay=delay)
    return db


def head(db: Session, after: int, marks: Mapping[str, tuple[float, float]] | None = None) -> tuple[int | None, bool]:
    """Return the priority after another one; marks are used in these seconds since noon."""
    kept = marks and {
        name: {"from": str(NOON + timedelta(seconds=begin)), "until": str(NOON + timedelta(seconds=end))}
        for name, (begin, end) in marks.items()
    }
    if kept:
        table = scalar(db, "select 'horsies.tasks'::regclass::oid::text")
        others = {"queue": "default", "table": table, "in_flight": {"since": str(NOON)}}
        setting = "select set_config('horsies.turn_marks_' || md5('default'), %s, false)"
        db.execute(setting, (json.dumps(others | kept),))
    row = db.execute(QUERY, (after,)).fetchone()
    assert row is not None
    return row[0], row[1]


def test_priorities_with_waiting_tasks_follow_each_other(filled: Session) -> None:
    assert [head(filled, after) for after in (0, 19, 20, 60)] == [(20, False), (20, False), (60, False), (None, False)]


def test_a_priority_with_marks_is_not_looked_at(filled: Session) -> None:
    marks = {"20": (-1.0, 1.0), "40": (-1.0, 1.0)}
    found = [head(filled, after, marks) for after in (0, 20, 40, 60)]
    assert found == [(20, True), (40, True), (60, False), (None, False)]


def test_marks_that_are_not_used_now_do_not_count(filled: Session) -> None:
    assert head(filled, 0, {"5": (-2.0, -1.0), "7": (1.0, 2.0)}) == (20, False)


def test_the_time_of_gaps_counts_for_the_priorities_after_one_without_marks(filled: Session) -> None:
    clock = str(NOON + timedelta(seconds=0))
    table = scalar(filled, "select 'horsies.tasks'::regclass::oid::text")
    gaps = {"from": clock, "until": clock, "above": 30, "since": str(NOON + timedelta(seconds=1))}
    kept = json.dumps({"queue": "default", "table": table, "gaps": gaps})
    filled.execute("select set_config('horsies.turn_marks_' || md5('default'), %s, false)", (kept,))
    assert [head(filled, after) for after in (0, 20, 30)] == [(20, False), (60, False), (None, False)]
