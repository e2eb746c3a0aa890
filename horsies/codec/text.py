"""Strict JSON text: UTF-8, without NaN, infinities and lone surrogates."""

import json
import math
from typing import Any, Never, cast

from horsies.codec.problems import CodecError, InvalidJson, Path, show_value

_write = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode


def encode_json(value: object) -> bytes:
    """Encode plain data as compact JSON in UTF-8.

    Raises:
        CodecError: A part cannot be represented as JSON: NaN, an infinity, a lone surrogate, an integer with more
            digits than Python converts, an object or a cycle.
    """
    try:
        return _write(value).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise _find_invalid(value, ()) or CodecError((), _reason(error)) from error


def decode_json(data: bytes | str) -> Any:
    """Decode JSON to plain data.

    Raises:
        InvalidJson: The data is not JSON.
    """
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidJson((), f"not JSON: {_reason(error)}") from error


def _refuse(constant: str) -> Never:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _find_invalid(value: object, path: Path) -> CodecError | None:
    """Find the first part that cannot be written; None if the cause is the nesting of the whole."""
    try:
        if isinstance(value, dict):
            return _find_invalid_in_dict(cast("dict[object, object]", value), path)
        if isinstance(value, list | tuple):
            items = enumerate(cast("list[object]", value))
            return next(filter(None, (_find_invalid(item, (*path, index)) for index, item in items)), None)
    except RecursionError:
        return None
    return _find_invalid_scalar(value, path)


def _find_invalid_in_dict(value: dict[object, object], path: Path) -> CodecError | None:
    for key, item in value.items():
        step = key if isinstance(key, str | int) else repr(key)
        found = _find_invalid_scalar(key, path) or _find_invalid(item, (*path, step))
        if found is not None:
            return found
    return None


def _find_invalid_scalar(value: object, path: Path) -> CodecError | None:
    if isinstance(value, float) and not math.isfinite(value):
        return CodecError(path, f"{value} cannot be represented as JSON")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return CodecError(path, f"{show_value(value)} has a lone surrogate, which is not valid Unicode text")
        return None
    try:
        _write(value)
    except (ValueError, TypeError) as error:
        return CodecError(path, str(error))
    return None
