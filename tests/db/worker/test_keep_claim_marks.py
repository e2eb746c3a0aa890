"""`keep_claim_marks`: from where on the next claim of a session has to look."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.support.sessions import NOON, Session, scalar

type Marks = set[tuple[str, int, float]]

QUERY = """
    select horsies.keep_claim_marks(
        %s::text[], %s::text[], %s::jsonb, %s, %s::int[], %s::timestamptz[], %s, %s, 200, %s,
        'horsies.claim_marks')
"""
QUEUES = ["a", "b"]


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def kept(db: Session) -> dict[str, object]:
    text = scalar(db, "select coalesce(current_setting('horsies.claim_marks', true), '')")
    return json.loads(text or "{}")


def validity(db: Session) -> tuple[float, float]:
    """Return from when until when the marks are used, in seconds since noon."""
    begin, end = (datetime.fromisoformat(str(kept(db)[name])) - NOON for name in ("from", "until"))
    return begin.total_seconds(), end.total_seconds()


def keep(
    db: Session,
    found: Sequence[tuple[int, float]],
    last: int,
    *,
    used: bool = False,
    blocks: int = 1_000,
    open_queues: Sequence[str] = tuple(QUEUES),
    clock: float = 100,
) -> Marks:
    """Keep marks after those of the session, and return them with the seconds since noon."""
    marks = json.dumps(kept(db)) if kept(db) else None
    levels, dues = [level for level, _ in found], [at(due) for _, due in found]
    db.execute(QUERY, (QUEUES, list(open_queues), marks, used, levels, dues, last, blocks, at(clock)))
    rows = kept(db).get("marks", [])
    assert isinstance(rows, list)
    return {
        (queue, level, (datetime.fromisoformat(since) - NOON).total_seconds())  # pyright: ignore[reportUnknownArgumentType]
        for queue, level, since in rows  # pyright: ignore[reportUnknownVariableType]
        if since != "-infinity"
    }


def test_each_open_queue_gets_the_due_time_of_the_first_row(db: Session) -> None:
    assert keep(db, [(10, 50)], 10) == {("a", 1, 99), ("a", 10, 50), ("b", 1, 99), ("b", 10, 50)}
    assert keep(db, [(10, 55)], 10, open_queues=["a"]) == {("a", 1, 99), ("a", 10, 55)}


def test_a_queue_in_which_nothing_waits_gets_a_mark_at_the_first_priority(db: Session) -> None:
    assert keep(db, [], 100) == {("a", 1, 99), ("b", 1, 99)}
    assert keep(db, [], 100, used=True, clock=102, open_queues=["a"]) == {("a", 1, 101), ("b", 1, 99)}


def test_the_priorities_behind_the_last_that_was_looked_at_begin_a_range(db: Session) -> None:
    keep(db, [(10, 50)], 10)
    assert ["a", 11, "-infinity"] in kept(db)["marks"]  # pyright: ignore[reportOperatorIssue]


def test_a_mark_is_at_least_one_second_before_the_clock(db: Session) -> None:
    assert keep(db, [(10, 99.5), (20, 130)], 20, open_queues=["a"]) == {("a", 1, 99), ("a", 10, 99), ("a", 20, 99)}


def test_a_known_priority_without_waiting_rows_is_searched_up_to_now(db: Session) -> None:
    keep(db, [(10, 50), (20, 60)], 20, open_queues=["a"])
    assert keep(db, [(20, 70)], 100, used=True, clock=102, open_queues=["a"]) == {
        ("a", 1, 101),
        ("a", 10, 101),
        ("a", 20, 70),
        ("a", 21, 101),
    }
    assert {since for *_, since in keep(db, [], 100, used=True, clock=103, open_queues=["a"])} == {102}


def test_priorities_that_were_not_reached_keep_their_marks(db: Session) -> None:
    keep(db, [(10, 50), (20, 60)], 20, open_queues=["a"])
    assert keep(db, [(10, 55)], 10, used=True, open_queues=["a"]) == {
        ("a", 1, 99),
        ("a", 10, 55),
        ("a", 11, 50),
        ("a", 20, 60),
    }


def test_a_closed_queue_keeps_its_marks(db: Session) -> None:
    keep(db, [(10, 50)], 10)
    assert keep(db, [(10, 70)], 10, used=True, open_queues=["b"]) == {
        ("a", 1, 99),
        ("a", 10, 50),
        ("b", 1, 99),
        ("b", 10, 70),
    }


def test_a_mark_does_not_go_back_while_it_is_used(db: Session) -> None:
    keep(db, [(10, 70)], 10, open_queues=["a"])
    assert keep(db, [(10, 50)], 10, used=True) == {
        ("a", 1, 99),
        ("a", 10, 70),
        ("b", 1, 99),
        ("b", 10, 50),
    }


def test_a_look_at_everything_drops_the_marks_that_it_has_not_renewed(db: Session) -> None:
    keep(db, [(10, 50), (20, 60)], 20)
    assert keep(db, [(10, 30)], 10, open_queues=["a"]) == {("a", 1, 99), ("a", 10, 30)}


def test_they_last_twenty_times_as_long_as_the_look_took(db: Session) -> None:
    keep(db, [(10, 50)], 10, blocks=1_000)
    assert validity(db) == (100, 100.2)
    keep(db, [(10, 60)], 10, used=True, blocks=0, clock=100.1)
    assert validity(db) == (100, 100.2)
    keep(db, [(10, 60)], 10, blocks=1_000_000, clock=101)
    assert validity(db) == (101, 106)


def test_a_quick_look_at_everything_ends_them(db: Session) -> None:
    keep(db, [(10, 50)], 10)
    assert keep(db, [(10, 60)], 10, blocks=200) == set()
    assert kept(db) == {}
