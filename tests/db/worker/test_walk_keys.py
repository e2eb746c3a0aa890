"""`walk_keys`: the keys with waiting tasks, from the marks of ranges on."""

from datetime import timedelta
from math import inf

import pytest

from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import NOON, Session, freeze_clock, move_clock

type Ranges = list[tuple[str | None, float]]

QUERY = "select * from horsies.walk_keys('default', 100, %s, %s::timestamptz, %s, %s::text[], %s::timestamptz[])"


@pytest.fixture
def filled(db: Session) -> Session:
    """Send two tasks of each of the keys a to d, one minute apart, the first of them at noon."""
    freeze_clock(db)
    declare_queue(db)
    send_keys(db, "abcd")
    move_clock(db, 60)
    send_keys(db, "abcd")
    send_keys(db, "e", priority=1)
    return db


def walk(db: Session, ranges: Ranges, after: str | None = None, most: int = 9) -> str:
    """Return the keys that are found after a key (None: from the beginning), with the minute of each task."""
    uppers = [upper for upper, _ in ranges]
    since = ["-infinity" if minute == -inf else str(NOON + timedelta(minutes=minute)) for _, minute in ranges]
    begin = ("", "-infinity") if after is None else (after, "infinity")
    rows = db.execute(QUERY, (*begin, most, uppers, since)).fetchall()
    return " ".join(f"{key}{(due - NOON) // timedelta(minutes=1)}" for key, due in rows)


def test_without_marks_all_keys_are_found(filled: Session) -> None:
    assert walk(filled, [(None, -inf)]) == "a0 b0 c0 d0"
    assert walk(filled, [(None, -inf)], after="b") == "c0 d0"
    assert walk(filled, [(None, -inf)], most=2) == "a0 b0"
    assert walk(filled, [("b", -inf), (None, -inf)], most=3) == "a0 b0 c0"


@pytest.mark.parametrize(
    ("ranges", "after", "found"),
    [
        ([("b", 1), (None, -inf)], None, "a1 b1 c0 d0"),
        ([("b", 0), (None, 1)], None, "a0 b0 c1 d1"),
        ([("a", 0), ("c", 2), (None, 1)], None, "a0 d1"),
        ([("a", 2), ("aa", -inf), ("c", 2), (None, 2)], None, ""),
        ([("a", 2), ("c", 1), (None, 2)], "a", "b1 c1"),
        ([("a", 2), ("c", 1), (None, 0)], "b", "c1 d0"),
        ([("a", 2), ("c", 1), (None, 0)], "c", "d0"),
        ([("b", 2), ("z", 0), (None, 2)], "bb", "c0 d0"),
    ],
)
def test_tasks_before_the_time_of_their_range_are_not_looked_at(
    filled: Session, ranges: Ranges, after: str | None, found: str
) -> None:
    assert walk(filled, ranges, after) == found
