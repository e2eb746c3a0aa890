"""How limits are written on the command line."""

import pytest
import typer

from horsies.cli.flow import parse_cap, parse_rate, show_rate
from horsies.config.rates import NO_LIMIT, RateLimit
from horsies.db.operations import UNSET


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100/60s", RateLimit(limit=100, per_seconds=60)),
        ("10/s", RateLimit(limit=10, per_seconds=1)),
        ("5/0.5s", RateLimit(limit=5, per_seconds=0.5)),
        ("100/1m,burst=20", RateLimit(limit=100, per_seconds=60, burst=20)),
        ("3 / 2h", RateLimit(limit=3, per_seconds=7200)),
        ("1/d", RateLimit(limit=1, per_seconds=86_400)),
        ("declared", None),
        (None, UNSET),
    ],
)
def test_a_rate(text: str | None, expected: object) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize("text", ["", "100", "100/60", "0/s", "1/0s", "-1/s", "1/32d", "1/s,burst=0", "1e3/s", "½/s"])
def test_what_is_not_a_rate(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a rate"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["100/60s,burst=10", "10/1s,burst=1", "5/0.5s,burst=7"])
def test_a_rate_is_shown_as_it_is_read(text: str) -> None:
    rate = parse_rate(text)
    assert isinstance(rate, RateLimit)
    assert show_rate(rate) == text


def test_a_cap() -> None:
    assert (parse_cap("0"), parse_cap("12"), parse_cap("declared"), parse_cap(None)) == (0, 12, None, UNSET)
    assert (parse_cap("none"), parse_rate("none")) == (NO_LIMIT, NO_LIMIT)
    for wrong in ("", "-1", "2.5", "many", "٢", "1" * 10):
        with pytest.raises(typer.BadParameter, match="is not a number of tasks"):
            parse_cap(wrong)
