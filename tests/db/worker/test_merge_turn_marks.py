"""`merge_turn_marks`: the ranges of keys after a walk over some of them."""

from datetime import timedelta
from math import inf

import pytest

from tests.support.sessions import NOON, Session

type Ranges = list[tuple[str | None, float]]

QUERY = """
    select array_to_string(m.merged_uppers, ',', 'end'),
           array(select extract(epoch from s)::float - extract(epoch from %s::timestamptz)::float
                 from unnest(m.merged_since) as s)
    from horsies.merge_turn_marks(%s::text[], %s::timestamptz[], %s, %s::timestamptz, %s::text[], %s::timestamptz[], %s,
                                  %s) as m
"""
UNKNOWN: Ranges = [(None, -inf)]
LATEST = 99


def time(seconds: float) -> object:
    return "-infinity" if seconds == -inf else NOON + timedelta(seconds=seconds)


def merge(db: Session, ranges: Ranges, after: str | None, walked: list[tuple[str, float]], *, end: bool) -> Ranges:
    """Merge a walk after a key (None: from the beginning); times are seconds since noon."""
    uppers, since = [upper for upper, _ in ranges], [time(seconds) for _, seconds in ranges]
    keys, due = [key for key, _ in walked] or None, [time(seconds) for _, seconds in walked] or None
    begin = ("", "-infinity") if after is None else (after, "infinity")
    row = db.execute(QUERY, (NOON, uppers, list(map(str, since)), *begin, keys, due, end, time(LATEST))).fetchone()
    assert row is not None
    return [(None if key == "end" else key, seconds) for key, seconds in zip(row[0].split(","), row[1], strict=True)]


@pytest.mark.parametrize(
    ("ranges", "walk", "merged"),
    [
        (UNKNOWN, (None, [("b", 5), ("d", 200)], False), [("b", 5), ("d", 99), (None, -inf)]),
        (UNKNOWN, (None, [("b", 5)], True), [("b", 5), (None, 99)]),
        (UNKNOWN, (None, [], True), [(None, 99)]),
        (UNKNOWN, ("a", [("b", 5)], False), [("a", -inf), ("b", 5), (None, -inf)]),
        (UNKNOWN, ("a", [], True), [("a", -inf), (None, 99)]),
        ([("b", 5), (None, 50)], ("b", [("c", 60)], False), [("b", 5), ("c", 60), (None, 50)]),
        (
            [("b", 5), ("f", 6), (None, 50)],
            ("c", [("d", 7)], False),
            [("b", 5), ("c", 6), ("d", 7), ("f", 6), (None, 50)],
        ),
        (
            [("b", 5), ("d", 6), ("f", 7), (None, 50)],
            ("a", [("e", 8)], False),
            [("a", 5), ("e", 8), ("f", 7), (None, 50)],
        ),
        ([("b", 5), ("d", 6), (None, 50)], (None, [("d", 8)], False), [("d", 8), (None, 50)]),
        ([("b", 5), ("d", 6), (None, 50)], ("", [("b", 8)], False), [("", 5), ("b", 8), ("d", 6), (None, 50)]),
    ],
)
def test_a_walk_writes_the_ranges_of_its_keys_only(
    db: Session, ranges: Ranges, walk: tuple[str | None, list[tuple[str, float]], bool], merged: Ranges
) -> None:
    after, walked, reaches_end = walk
    assert merge(db, ranges, after, walked, end=reaches_end) == merged
