"""`RateLimit`: its checks, its default burst, and its stored form."""

from typing import Any

import pytest

from horsies import ConfigurationError
from horsies.config.rates import RateLimit


@pytest.mark.parametrize(("limit", "burst", "depth"), [(100, None, 10), (5, None, 1), (19, None, 1), (100, 100, 100)])
def test_the_default_burst_is_a_tenth_of_the_limit(limit: int, burst: int | None, depth: int) -> None:
    assert RateLimit(limit=limit, per_seconds=60, burst=burst).depth == depth


def test_the_stored_form_is_read_back_with_the_burst() -> None:
    rate = RateLimit(limit=7, per_seconds=0.5)
    assert RateLimit.from_json(rate.to_json()) == RateLimit(limit=7, per_seconds=0.5, burst=1)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"limit": 0, "per_seconds": 1}, "RateLimit.limit must be a whole number from 1 to 1,000,000, got 0"),
        ({"limit": 1, "per_seconds": 0}, "RateLimit.per_seconds must be a number above 0, got 0"),
        ({"limit": 1, "per_seconds": float("nan")}, "RateLimit.per_seconds must be a number above 0"),
        ({"limit": 1, "per_seconds": 1e9}, "RateLimit.per_seconds must be a number above 0"),
        ({"limit": 1, "per_seconds": 1, "burst": 0}, "RateLimit.burst must be a whole number from 1 to 1,000,000"),
        ({"per_seconds": 1}, "RateLimit is missing the required field limit"),
    ],
)
def test_an_invalid_field_is_named(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        RateLimit(**fields)
    assert problem in str(raised.value)
