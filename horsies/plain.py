"""Conversion of any value to plain data that JSON can represent, so that every error can be stored."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

_MAX_CHARACTERS = 1000
_MESSAGE_CHARACTERS = 80
_CONTAINERS = (list, tuple, set, frozenset)
_FIRST_TOO_LONG = 10**sys.int_info.default_max_str_digits  # the limit of Python for converting numbers to text


class Plain(NamedTuple):
    """Plain data, and the names of the types of values that it contains only as text."""

    value: Any
    shown: tuple[str, ...]


def escape_surrogates(text: str) -> str:
    """Return text that UTF-8 can encode: lone surrogates become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def short_repr(value: object) -> str:
    """Return the beginning of the ``repr`` of a value that was refused, for messages. Never fails."""
    text = _repr(value)
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]}…"


def holds_iterator(value: object) -> bool:
    """Whether a value is an iterator, such as a generator, or a container of one. Encoding it would use it up."""
    whole: Any = value
    try:
        if isinstance(value, Mapping):
            return any(map(holds_iterator, whole.values()))
        return isinstance(value, Iterator) or (isinstance(value, _CONTAINERS) and any(map(holds_iterator, whole)))
    except RecursionError:  # a cycle
        return False


def plain_data(value: object) -> Plain:
    """Encode a value as pydantic would, with NaN and infinity as text. Other values become their ``repr``.

    So do iterators, which can be read only once, and mappings of which JSON would lose an item: ``{1: "a", "1": "b"}``.
    """
    shown: dict[str, None] = {}

    def show(part: object) -> str:
        shown[type(part).__qualname__] = None
        return _repr(part)

    try:
        plain = _carried(
            to_jsonable_python(_without_loss(value, show), by_alias=False, bytes_mode="base64", fallback=show), show
        )
        json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()
    except Exception:  # noqa: BLE001 - a cycle, or a serializer of the user that raises
        plain = show(value)
    return Plain(plain, tuple(shown))


def _without_loss(value: Any, show: Callable[[object], str]) -> Any:
    """Replace iterators, and mappings with keys that are equal in JSON, in plain containers."""
    whole: Any = value  # typed Any, so that the types of the parts stay unknown
    if isinstance(value, Iterator):
        return show(whole)
    if type(value) is dict:
        keys: Any = to_jsonable_python(dict.fromkeys(whole), bytes_mode="base64", fallback=repr)
        if len(keys) < len(whole):
            return show(whole)
        return {key: _without_loss(item, show) for key, item in whole.items()}
    return [_without_loss(part, show) for part in whole] if type(value) in {list, tuple} else value


def _carried(value: Any, show: Callable[[object], str]) -> Any:
    """Replace values that JSON text cannot contain: lone surrogates, NaN, infinity, numbers with too many digits."""
    whole: Any = value  # typed Any, so that the types of the parts stay unknown
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
    except Exception as broken:  # noqa: BLE001 - a value whose repr fails is only named
        return f"<{type(value).__qualname__}, whose repr raised {type(broken).__name__}>"
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
