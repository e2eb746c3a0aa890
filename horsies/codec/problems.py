"""Errors of values and types that cannot be converted to JSON or back, and their messages."""

import re
import reprlib
from collections.abc import Mapping
from typing import Any, ForwardRef, TypeAliasType, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from horsies.plain import escape_surrogates

type Path = tuple[str | int, ...]

_MODULES = re.compile(r"(?:\b[A-Za-z_]\w*\.|<locals>\.)+(?=\w)")
_SELF_EXPLANATORY = {"missing": "is missing", "extra_forbidden": "is not a known field"}
_UNKNOWN: Any = object()
_SHOWN_CHARACTERS = 80
_shorten = reprlib.Repr(maxstring=_SHOWN_CHARACTERS, maxother=_SHOWN_CHARACTERS, maxlong=_SHOWN_CHARACTERS)


class UnsupportedType(TypeError):  # noqa: N818 - the name the architecture uses
    """An annotation that cannot be represented as JSON."""


class CodecError(ValueError):
    """A value that does not have the declared type, or that JSON would change.

    Attributes:
        path: Where in the value the problem is: keys, attributes and indexes; empty for the whole value.
        message: A description of the problem.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    @property
    def parameter(self) -> str | None:
        """The name of the parameter, if the value is the arguments of a call and the problem is in one of them."""
        return self.path[0] if self.path and isinstance(self.path[0], str) else None

    def __str__(self) -> str:
        """Return the message, preceded by the path unless it is empty."""
        return f"{show_path(self.path)}: {self.message}" if self.path else self.message


class InvalidJson(CodecError):  # noqa: N818
    """Text that is not JSON."""


def show_path(path: Path) -> str:
    """Format a path as in Python source: ``order.items[3].price``."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            name = step if step.isidentifier() else f"[{step!r}]"
            shown += f".{name}" if shown and step.isidentifier() else name
    return escape_surrogates(shown)


def show_value(value: object) -> str:
    """Format a value for messages: its type, and the beginning of its repr."""
    kind = type(value).__qualname__
    if value is None:
        return "None"
    try:
        text = escape_surrogates(_shorten.repr(value))
    except Exception:  # noqa: BLE001 - a value that cannot show itself is only named
        return kind
    limit = 2 * _SHOWN_CHARACTERS
    return f"{kind} ({text if len(text) <= limit else text[:limit] + '…'})"


def show_type(annotation: Any) -> str:
    """Format an annotation as in source code, without module names."""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, str | ForwardRef):
        return annotation if isinstance(annotation, str) else annotation.__forward_arg__
    if isinstance(annotation, TypeAliasType):
        return annotation.__name__
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__qualname__
    if get_args(annotation) and hasattr(annotation, "__metadata__"):
        return show_type(get_args(annotation)[0])
    return _MODULES.sub("", repr(annotation))


def explain(error: ValidationError, expected: Mapping[Path, Any], value: Any = _UNKNOWN) -> CodecError:
    """Make a `CodecError` from a failed validation.

    Args:
        error: The error of pydantic.
        expected: The annotation of the whole value at the path ``()``, or the annotations of its parts.
        value: The value that was validated, if it is available.
    """
    details = error.errors(include_url=False, include_context=False)
    first, loc = details[0], details[0]["loc"]
    if first["type"] == "json_invalid":
        return InvalidJson((), first["msg"])
    owner = next((loc[:end] for end in range(len(loc) + 1) if loc[:end] in expected), None)
    if owner is None or (first["type"] in _SELF_EXPLANATORY and loc == owner):
        return CodecError(loc, _detail(first))
    message = f"expected {show_type(expected[owner])}"
    if loc == owner or _is_union_at(owner, details):
        message += f", got {show_value(first['input'])}"
        return CodecError(owner, message if first["type"].endswith("_type") else f"{message}: {_reason(first)}")
    if value is not _UNKNOWN:
        message += f", got {show_value(_at(value, owner))}"
    inner = loc[len(owner) :]
    return CodecError(owner, f"{message}: at {show_path(inner)}: {_detail(first)}")


def _reason(detail: ErrorDetails) -> str:
    text = escape_surrogates(detail["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _detail(detail: ErrorDetails) -> str:
    return _SELF_EXPLANATORY.get(detail["type"]) or f"{_reason(detail)}, got {show_value(detail['input'])}"


def _is_union_at(owner: Path, details: list[ErrorDetails]) -> bool:
    """Whether the value is of a union type, and no member of the union accepted it.

    pydantic then returns one error for each member. All of them have the same input, and a path that ends with the name
    of the member.
    """
    found = details[0]["input"]
    return len(details) > 1 and all(
        len(detail["loc"]) == len(owner) + 1 and detail["input"] is found for detail in details
    )


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value
