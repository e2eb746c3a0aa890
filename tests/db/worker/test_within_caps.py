"""`within_caps`: selects the claimable tasks for which their queues have room."""

from collections.abc import Mapping, Sequence

import pytest

from tests.support.factories import numbered_id, request, send
from tests.support.sessions import Session


def within_caps(db: Session, candidates: Sequence[int], rooms: Mapping[str, int | None], free: int) -> list[int]:
    ids = [numbered_id(number) for number in candidates]
    row = db.execute(
        "select horsies.within_caps(%s::uuid[], %s::text[], %s::int[], %s)",
        (ids, list(rooms), list(rooms.values()), free),
    ).fetchone()
    assert row is not None
    return [task_id.int & 0xFFFF for task_id in row[0] or []]


@pytest.fixture
def queued(db: Session) -> Session:
    """Send tasks 1 to 3 to queue a, 4 to 6 to b, 7 to 9 to c."""
    for number in range(1, 10):
        send(db, request(numbered_id(number), queue="abc"[(number - 1) // 3]))
    return db


ALL = [1, 4, 7, 2, 5, 8, 3, 6, 9]


@pytest.mark.parametrize(
    ("rooms", "free", "kept"),
    [
        ({"a": None, "b": None, "c": None}, 0, ALL),
        ({"a": 1, "b": 2, "c": None}, 9, [1, 4, 7, 5, 8, 9]),
        ({"a": 3, "b": 3, "c": 3}, 4, [1, 4, 7, 2]),
        ({"a": 1, "b": 3, "c": None}, 3, [1, 4, 7, 8, 9]),  # task 5 would be the fourth, and could not start
        ({"a": 1, "b": 1}, 1, [1]),
        ({"a": 0, "b": None}, 5, [4, 5, 6]),
        ({}, 5, []),
    ],
)
def test_what_fits_is_kept_in_its_order(
    queued: Session, rooms: dict[str, int | None], free: int, kept: list[int]
) -> None:
    assert within_caps(queued, ALL, rooms, free) == kept


def test_the_order_is_that_of_the_candidates(queued: Session) -> None:
    assert within_caps(queued, ALL[::-1], {"a": 1, "c": None}, 9) == [9, 3, 8, 7]


def test_none_of_none_is_kept(queued: Session) -> None:
    assert within_caps(queued, [], {"a": 1}, 9) == []
