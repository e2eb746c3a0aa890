"""Whether a queue empties, from the numbers of waiting tasks that visitors saw."""

import pytest

from horsies.monitoring.trends import Trends


def drain(*points: tuple[float, int]) -> str | None:
    """Return the estimate after these numbers: seconds, and waiting tasks."""
    trends = Trends()
    for at, waiting in points:
        trends.note("mail", waiting, at)
    return trends.drain("mail")


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, 1000), (60, 600)], "90"),  # 400 in a minute
        ([(0, 1000), (30, 5000), (60, 600)], "90"),
        ([(0, 100), (60, 200)], "grows"),
        ([(0, 0), (60, 200)], "grows"),
        ([(0, 1000), (60, 990)], "steady"),
        ([(0, 1000), (60, 0)], None),
        ([(0, 1000)], None),
        ([(0, 1000), (10, 500)], None),
        ([], None),
    ],
)
def test_estimates(points: list[tuple[float, int]], expected: str | None) -> None:
    assert drain(*points) == expected


def test_an_estimate_is_what_happens_at_a_constant_rate() -> None:
    trends = Trends()
    for at in range(0, 301, 5):
        trends.note("mail", 10_000 - 10 * at, at)
    assert float(trends.drain("mail") or "nan") == pytest.approx(700)


def test_numbers_of_more_than_five_minutes_ago_do_not_count() -> None:
    assert drain((0, 10), (400, 1000), (460, 500)) == "60"


def test_numbers_in_quick_succession_count_once_and_queues_are_separate() -> None:
    trends = Trends()
    trends.note("mail", 100, 0)
    trends.note("mail", 1, 1)
    trends.note("other", 7, 30)
    trends.note("mail", 50, 30)
    assert (trends.drain("mail"), trends.drain("other"), trends.drain("unknown")) == ("30", None, None)


def test_the_number_of_queues_is_bounded() -> None:
    trends = Trends()
    for number in range(1001):
        trends.note(f"queue-{number}", 10, 0)
        trends.note(f"queue-{number}", 5, 30)
    assert (trends.drain("queue-0"), trends.drain("queue-1")) == (None, "30")
