"""What can be wrong with a value or a type on its way to JSON, and how it is said."""

import re
import reprlib
from collections.abc import Mapping
from typing import Any, ForwardRef, TypeAliasType, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from horsies.plain import escape_surrogates

type Path = tuple[str | int, ...]

_MODULES = re.compile(r"(?:\b[A-Za-z_]\w*\.|<locals>\.)+(?=\w)")
_SPEAKING = {"missing": "is missing", "extra_forbidden": "is not known here"}
_UNKNOWN: Any = object()
_SHOWN_CHARACTERS = 80
_shorten = reprlib.Repr(maxstring=_SHOWN_CHARACTERS, maxother=_SHOWN_CHARACTERS, maxlong=_SHOWN_CHARACTERS)


class UnsupportedType(TypeError):  # noqa: N818 - the name the architecture uses
    """An annotation that JSON has no form for."""


class CodecError(ValueError):
    """A value that does not fit its annotation, or would not come back from JSON as it went in.

    Attributes:
        path: where in the value: keys, attributes and indexes; empty for the value as a whole.
        message: what is wrong there.
    """

    def __init__(self, path: Path, message: str) -> None:
        """Take the place and the problem."""
        super().__init__(path, message)
        self.path = path
        self.message = message

    @property
    def parameter(self) -> str | None:
        """The name of the parameter, if the value is a call's arguments and the problem lies in one of them."""
        return self.path[0] if self.path and isinstance(self.path[0], str) else None

    def __str__(self) -> str:
        """Put the place, if it is not the whole, before the problem."""
        return f"{show_path(self.path)}: {self.message}" if self.path else self.message


class InvalidJson(CodecError):  # noqa: N818
    """Text that is not JSON at all."""


def show_path(path: Path) -> str:
    """Write a path as one would in Python: ``order.items[3].price``."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            name = step if step.isidentifier() else f"[{step!r}]"
            shown += f".{name}" if shown and step.isidentifier() else name
    return escape_surrogates(shown)


def show_value(value: object) -> str:
    """Show the type of a value and the beginning of its repr."""
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
    """Write an annotation as it stands in the source, without module names."""
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
    """Make a `CodecError` of a failed validation.

    Args:
        error: what pydantic says.
        expected: the annotations of the whole, at ``()``, or of its parts.
        value: what was validated, where it is at hand.
    """
    details = error.errors(include_url=False, include_context=False)
    first, loc = details[0], details[0]["loc"]
    if first["type"] == "json_invalid":
        return InvalidJson((), first["msg"])
    owner = next((loc[:end] for end in range(len(loc) + 1) if loc[:end] in expected), None)
    if owner is None or (first["type"] in _SPEAKING and loc == owner):
        return CodecError(loc, _detail(first))
    message = f"expected {show_type(expected[owner])}"
    if loc == owner or _is_union_at(owner, details):
        message += f", got {show_value(first['input'])}"
        return CodecError(owner, message if first["type"].endswith("_type") else f"{message}: {_said(first)}")
    if value is not _UNKNOWN:
        message += f", got {show_value(_at(value, owner))}"
    inner = loc[len(owner) :]
    return CodecError(owner, f"{message}: at {show_path(inner)}: {_detail(first)}")


def _said(detail: ErrorDetails) -> str:
    text = escape_surrogates(detail["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _detail(detail: ErrorDetails) -> str:
    return _SPEAKING.get(detail["type"]) or f"{_said(detail)}, got {show_value(detail['input'])}"


def _is_union_at(owner: Path, details: list[ErrorDetails]) -> bool:
    """Whether no member of a union took the value: each then reports the same input under its own name."""
    found = details[0]["input"]
    return len(details) > 1 and all(
        len(detail["loc"]) == len(owner) + 1 and detail["input"] is found for detail in details
    )


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value
