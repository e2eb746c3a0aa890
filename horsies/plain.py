"""Conversion of any value to plain data that JSON can represent, for errors, which must always be stored."""

import json
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

_MOST_CHARACTERS = 1000
_FIRST_TOO_LONG = 10**sys.int_info.default_max_str_digits  # Python does not convert longer integers to text


class Plain(NamedTuple):
    """Plain data.

    Attributes:
        value: The data.
        shown: The names of the types whose values were replaced by their ``repr``.
    """

    value: Any
    shown: tuple[str, ...]


def escape_surrogates(text: str) -> str:
    """Return text that UTF-8 can encode, with lone surrogates replaced by visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain_data(value: object) -> Plain:
    """Convert a value as pydantic does, with NaN and infinity as text. Unsupported values become their ``repr``."""
    shown: dict[str, None] = {}

    def show(part: object) -> str:
        shown[type(part).__qualname__] = None
        return _repr(part)

    try:
        plain = _carried(to_jsonable_python(value, by_alias=False, bytes_mode="base64", fallback=show), show)
        json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()
    except Exception:  # noqa: BLE001 - a cycle, or a custom serializer that raises
        plain = show(value)
    return Plain(plain, tuple(shown))


def _carried(value: Any, show: Callable[[object], str]) -> Any:
    """Replace the values that JSON text cannot contain: lone surrogates, NaN and integers with too many digits."""
    whole: Any = value  # keeps the type of the container's items unknown for the type checker
    if isinstance(value, str):
        return escape_surrogates(value)
    if isinstance(value, dict):
        return {escape_surrogates(str(key)): _carried(item, show) for key, item in whole.items()}
    if isinstance(value, list):
        return [_carried(part, show) for part in whole]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"  # as pydantic writes them
    if isinstance(value, int) and abs(value) >= _FIRST_TOO_LONG:
        return show(value)
    return value


def _repr(value: object) -> str:
    try:
        text = escape_surrogates(repr(value))
    except Exception as broken:  # noqa: BLE001 - a value that cannot show itself is only named
        return f"<{type(value).__qualname__}, whose repr raised {type(broken).__name__}>"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
