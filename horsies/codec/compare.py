"""Comparison of a value with the result of decoding it from JSON, which is stricter than equality."""

from collections import deque
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, cast
from uuid import UUID

from pydantic import BaseModel

from horsies.codec.problems import Path
from horsies.task_result import TaskResult, result_parts

_PLAIN: frozenset[type] = frozenset({type(None), bool, int, str, bytes})
_SCALARS = (int, str, bytes, float, Decimal, date, time, timedelta, UUID)


class Difference(NamedTuple):
    """A difference between a sent value and the value that was read back.

    Attributes:
        path: Where in the value the difference is.
        sent: The part that was sent.
        back: The part that was read back.
    """

    path: Path
    sent: Any
    back: Any


def difference(sent: Any, back: Any, path: Path = ()) -> Difference | None:
    """Return the first difference between ``sent`` and ``back``; None if they are the same.

    Equality is not enough: ``1 == 1.0 == True``, a named tuple equals a tuple, and 0.0 equals -0.0. A number or text of
    a subclass may become an equal value of its base class, which is the declared type: a float of NumPy, or an int
    where a float is declared. A member of an enum may not become its value, because it means more than that.
    """
    if sent is back:
        return None
    kind = cast("Any", type(sent))
    if kind is not type(back):
        found = None if _is_widened(sent, back) else Difference(path, sent, back)
    elif kind in _PLAIN:
        found = None if sent == back else Difference(path, sent, back)
    elif isinstance(sent, dict):
        found = _dict_difference(cast("Any", sent), back, path)
    elif isinstance(sent, set | frozenset):
        found = _dict_difference(dict.fromkeys(cast("set[Any]", sent)), dict.fromkeys(back), path)
    elif isinstance(sent, list | tuple | deque):
        found = _items_difference(cast("list[Any]", sent), back, path)
    else:
        found = _object_difference(sent, back, path)
    return found


def _object_difference(sent: Any, back: Any, path: Path) -> Difference | None:
    parts = _parts(sent)
    if parts is None:
        return None if _is_same(sent, back) else Difference(path, sent, back)
    return _dict_difference(parts, _parts(back) or {}, path)


def _is_widened(sent: Any, back: Any) -> bool:
    if isinstance(sent, bool | Enum) or not isinstance(back, _SCALARS):
        return False
    if isinstance(back, float) and isinstance(sent, int):
        return bool(cast("Any", sent) == back)
    return isinstance(sent, type(back)) and _is_same(sent, back)


def _dict_difference(sent: dict[Any, Any], back: dict[Any, Any], path: Path) -> Difference | None:
    if sent.keys() != back.keys():
        return Difference(path, sent, back)
    twins = dict(zip(back, back, strict=True))
    for key, value in sent.items():
        found = None if type(key) is type(twins[key]) is str else difference(key, twins[key], path)
        if found is None:
            step = key if isinstance(key, str | int) else repr(key)
            found = difference(value, back[key], (*path, step))
        if found is not None:
            return found
    return None


def _items_difference(sent: list[Any], back: list[Any], path: Path) -> Difference | None:
    if len(sent) != len(back) or getattr(sent, "maxlen", None) != getattr(back, "maxlen", None):
        return Difference(path, sent, back)
    for index, (item, other) in enumerate(zip(sent, back, strict=True)):
        if type(item) is type(other) and type(item) in _PLAIN and item == other:
            continue  # avoids a call per item for lists of plain values
        found = difference(item, other, (*path, index))
        if found is not None:
            return found
    return None


def _parts(value: Any) -> dict[Any, Any] | None:
    """Return the fields of an object by name; None for an object that is compared as a whole."""
    kind = cast("Any", type(value))
    if isinstance(value, BaseModel):
        own = {name: getattr(value, name) for name in kind.__pydantic_fields__}
        return own | (value.__pydantic_extra__ or {}) | (value.__pydantic_private__ or {})
    if isinstance(value, TaskResult):
        return result_parts(cast("TaskResult[Any]", value))
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value) if hasattr(value, field.name)}
    if kind.__eq__ is object.__eq__:
        # The class compares by identity, so two objects count as the same if they have the same pickled state.
        return {"made of": value.__reduce_ex__(4)[1:3]}
    return None


def _is_same(sent: Any, back: Any) -> bool:
    if isinstance(sent, float):
        return float.__repr__(sent) == float.__repr__(
            back
        )  # distinguishes -0.0 from 0.0, and treats NaN as equal to NaN
    if isinstance(sent, Decimal):
        return bool(sent.as_tuple() == back.as_tuple())
    if isinstance(sent, datetime | time):
        return _wall_clock(sent) == _wall_clock(back)
    return bool(sent == back)


def _wall_clock(moment: Any) -> tuple[Any, ...]:
    """Return the comparable parts of a time, because ``==`` is False for times in the hour that a zone repeats.

    JSON contains the UTC offset, but not the name of the zone. For a naive time the fold matters, since JSON loses it.
    """
    naive = moment.tzinfo is None
    return moment.replace(tzinfo=None, fold=0), moment.utcoffset(), naive, naive and moment.fold
