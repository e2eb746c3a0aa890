"""`claim_head`: the first waiting row of some queues, from marks on."""

import json
from datetime import timedelta

import pytest

from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import NOON, Session, freeze_clock, move_clock

type Mark = tuple[str, int, float]

QUERY = "select * from horsies.claim_head(%s::text[], %s, %s::jsonb)"


def head(db: Session, queues: list[str], marks: list[Mark], after: int = 0) -> tuple[int, float] | None:
    """Return the priority of the first row, and the seconds from noon to its due time."""
    kept = [[queue, level, (NOON + timedelta(seconds=seconds)).isoformat()] for queue, level, seconds in marks]
    row = db.execute(QUERY, (queues, after, json.dumps({"marks": kept}))).fetchone()
    return row and (row[0], (row[1] - NOON).total_seconds())


@pytest.fixture
def filled(db: Session) -> Session:
    """Send tasks of two queues: at the priorities 20, 40 and 60 of one, and at 40 of the other."""
    freeze_clock(db)
    for queue, priority, delay in [("a", 20, 5), ("a", 40, 1), ("a", 40, 9), ("a", 60, 0), ("b", 40, 3)]:
        send(db, request(queue=queue, priority=priority, delay=delay))
    return db


def test_without_marks_it_is_the_first_of_all(filled: Session) -> None:
    assert head(filled, ["a", "b"], []) == (20, 5)
    assert head(filled, ["b"], []) == (40, 3)
    assert head(filled, ["c"], []) is None
    assert head(filled, ["a", "b"], [], after=20) == (40, 1)
    assert head(filled, ["a", "b"], [], after=60) is None


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        ([("a", 20, 5)], (20, 5)),  # a row at the mark is found
        ([("a", 20, 6), ("a", 21, -1)], (40, 1)),
        ([("a", 20, 6)], (40, 3)),  # a mark holds up to the next one of its queue; this row is of the other queue
        ([("a", 20, 6), ("a", 40, 2)], (40, 3)),
        ([("a", 20, 6), ("a", 40, 2), ("b", 40, 4)], (40, 9)),
        ([("a", 20, 6), ("a", 40, 10), ("b", 40, 4)], None),
        ([("a", 20, 6), ("a", 40, 10), ("a", 60, 0), ("b", 40, 4)], (60, 0)),
        ([("a", 20, 6), ("a", 40, 10), ("a", 60, 1), ("b", 40, 4)], None),
        ([("a", 40, 10), ("b", 40, 4)], (20, 5)),  # a mark says nothing about smaller priorities
        ([("a", 1, 99), ("b", 1, 99)], None),
        ([("a", 1, 4)], (20, 5)),
        ([("c", 20, 99)], (20, 5)),
    ],
)
def test_rows_before_a_mark_are_not_looked_at(
    filled: Session, marks: list[Mark], found: tuple[int, float] | None
) -> None:
    assert head(filled, ["a", "b"], marks) == found


def test_marks_of_searched_priorities_do_not_count(filled: Session) -> None:
    assert head(filled, ["a"], [("a", 20, 99), ("a", 40, 2)], after=20) == (40, 9)
    assert head(filled, ["a"], [("a", 20, 99), ("a", 60, 0)], after=40) == (60, 0)
    assert head(filled, ["a"], [("a", 20, 99)], after=40) is None  # its range goes on


def test_claimed_tasks_are_not_found(filled: Session) -> None:
    move_clock(filled, 10)
    DrivenWorker(filled, queues=["b"]).claim_one()
    assert head(filled, ["b"], []) is None
