"""The geometry of bars and marks."""

from datetime import UTC, datetime, timedelta

import pytest

from horsies.monitoring import Accuracy, Count
from horsies.web.charts import LEAST_SHARE, gauge, marked, shares, visible_widths
from horsies.web.marks import aged

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "numbers", [[1], [406, 1], [1, 0, 10**6, 1], [5, 5], [1] * 60, [0, 3], [10**9, *[1] * 40], [0], []]
)
def test_each_part_of_a_bar_can_be_seen_and_none_lies_outside(numbers: list[int]) -> None:
    widths = visible_widths(numbers)
    assert sum(widths) == pytest.approx(100 if sum(numbers) else 0)
    assert [bool(width) for width in widths] == [bool(number) for number in numbers]
    assert all(width >= min(LEAST_SHARE, 100 / len(numbers)) - 1e-9 for width in widths if width)
    assert sorted(widths) == [width for _, width in sorted(zip(numbers, widths, strict=True))], "more is never narrower"


def test_large_parts_keep_their_proportion() -> None:
    assert visible_widths([300, 100]) == [75, 25]
    assert visible_widths([0, 200, 600]) == [0, 25, 75]


def test_parts_of_a_bar_lie_side_by_side() -> None:
    parts = shares([("completed", "406 completed", 406), ("failed", "1 failed", 1), ("free", "none", 0)])
    assert [(each.kind, each.title) for each in parts] == [("completed", "406 completed"), ("failed", "1 failed")]
    first, second = parts
    assert second.x == pytest.approx(first.x + first.width, abs=0.01)
    assert second.width == pytest.approx(LEAST_SHARE)


def test_a_gauge_of_many_places_shows_the_few_that_are_filled() -> None:
    parts = gauge([("running", "a task", "id")] * 2, 1000)
    assert [(each.kind, each.title) for each in parts] == [
        ("running", "2 of 1000 places: running"),
        ("free", "998 of 1000 places are free"),
    ]
    assert parts[0].width == pytest.approx(LEAST_SHARE)


def test_marks_of_moments() -> None:
    moments = [(NOON - HOUR, "early"), (NOON, "first"), (NOON + HOUR / 4, "v2"), (NOON + 2 * HOUR, "late")]
    assert [(each.x, each.text) for each in marked(moments, NOON, HOUR)] == [(0, "first"), (25, "v2")]


def test_a_count_of_maintenance_has_its_age() -> None:
    now = NOON + timedelta(seconds=20)
    text = aged(Count(1_234_567, Accuracy.COUNTED, NOON), now)
    assert text.startswith("≈ 1,234,567 <small")
    assert "20 s ago" in text
    assert aged(Count(100_000, Accuracy.EXACT, NOON), now) == "100,000"
    assert aged(Count(100_000, Accuracy.AT_LEAST, NOON), now) == "> 100,000"
