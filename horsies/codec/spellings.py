"""The forms in which messages show a text of a JSON document: as JSON, ``str`` and ``repr`` write its value."""

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, time, timedelta

from pydantic import TypeAdapter

from horsies.codec.text import encode_json

_SHORTEN_FROM, _KEPT = 48, 24
"""pydantic shows about 25 characters of the begin and of the end of a value that is longer than about 50."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")
_TIME = re.compile(r"\d\d:\d\d.*")
_DURATION = re.compile(r"-?P[\dT].*")
_UUID = re.compile(r"[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}")
_durations = TypeAdapter(timedelta)


def spellings(text: str) -> Iterator[str]:
    """Yield the forms of a text, of the bytes that it encodes, and of the date, time, duration or UUID that it is."""
    yield from _of_text(text)
    yield from _of_moment(text)
    if _UUID.fullmatch(text):
        yield text.replace("-", "")
    with suppress(binascii.Error, ValueError):  # any text may be base64; then other spellings are harmless
        data = base64.b64decode(text, validate=True)
        yield data.hex()
        yield from _shown_and_shortened(repr(data)[2:-1])
        yield from _of_text(data.decode())


def _of_text(text: str) -> Iterator[str]:
    yield from (text, encode_json(text).decode()[1:-1], ascii(text)[1:-1])
    yield from _shown_and_shortened(repr(text)[1:-1])


def _shown_and_shortened(shown: str) -> Iterator[str]:
    yield shown
    if len(shown) > _SHORTEN_FROM:
        yield from (shown[:_KEPT], shown[-_KEPT:])


def _of_moment(text: str) -> Iterator[str]:
    """Yield the forms of a date, a time or both, without the time zone, whose form depends on its class."""
    with suppress(ValueError):  # the text only looks like one
        if _DATE.fullmatch(text):
            yield repr(date.fromisoformat(text))
        elif _DATETIME.fullmatch(text):
            moment = datetime.fromisoformat(text).replace(tzinfo=None)
            yield from (str(moment), moment.isoformat(), repr(moment)[:-1])
        elif _TIME.fullmatch(text):
            clock = time.fromisoformat(text).replace(tzinfo=None)
            yield from (str(clock), repr(clock)[:-1])
        elif _DURATION.fullmatch(text):
            duration = _durations.validate_python(text)
            yield from (str(duration), repr(duration))
