"""The forms in which the value of a secret text occurs in messages."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from horsies.codec.adapters import TypeCodec
from horsies.codec.secrets import REDACTED, Scrubber
from horsies.codec.text import decode_json


class Suit(Enum):
    """An Enum whose values are texts."""

    HEARTS = "red hearts"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime, datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (datetime, datetime(2024, 1, 2, 3, 4, 5, 100, tzinfo=timezone(timedelta(hours=2)))),
        (datetime, datetime(2024, 1, 2)),  # noqa: DTZ001 - without a time zone
        (date, date(2024, 1, 2)),
        (time, time(3, 4)),
        (time, time(3, 4, 5, 100, tzinfo=UTC)),
        (timedelta, timedelta(days=1, hours=2)),
        (timedelta, timedelta(seconds=-5, microseconds=3)),
        (timedelta, timedelta(days=400)),
        (Decimal, Decimal("12345.50")),
        (UUID, UUID(int=2**127 + 5)),
    ],
)
def test_a_secret_is_replaced_as_str_and_repr_show_it(annotation: Any, value: Any) -> None:
    codec = TypeCodec(annotation)
    encoded = codec.encode(value)
    scrub = Scrubber([([decode_json(encoded)], [("*",)])])
    for shown in (value, codec.decode(encoded)):
        assert REDACTED in scrub(f"no {shown} here")
        assert REDACTED in scrub(f"no {shown!r} here")
        assert not re.search(r"3, 4|03:04|2024|days=1, seconds|12345", scrub(f"{shown} {shown!r}"))


def test_the_hexadecimal_digits_of_a_secret_uuid_are_replaced() -> None:
    secret = UUID(int=2**127 + 5)
    assert Scrubber([([str(secret)], [("*",)])])(f"no {secret.hex}") == f"no {REDACTED}"


@pytest.mark.parametrize("text", ["2024-13-45", "2024-01-02T99:00", "99:99:99", "PT", "-P1X", "P" + "9" * 30 + "D"])
def test_a_text_that_only_looks_like_a_date_is_replaced_as_it_is(text: str) -> None:
    longer = f"{text} or so"
    assert Scrubber([([text, longer], [("*",)])])(f"no {longer}") == f"no {REDACTED}"


def test_an_enum_is_replaced_where_its_value_is_shown() -> None:
    scrub = Scrubber([([Suit.HEARTS.value], [("*",)])])
    assert scrub(f"no {Suit.HEARTS!r}") == f"no <Suit.HEARTS: '{REDACTED}'>"
