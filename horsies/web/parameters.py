"""The parameters of a request: each is declared, given once, and bounded."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode

from starlette.exceptions import HTTPException

from horsies.plain import short_repr
from horsies.rendering import printable_line

JSON_SUFFIX = ".json"
"""The end of the name of a parameter whose value is a JSON string."""

_MOST = 40
_MAX_CHARACTERS = 2000
_MAX_GROUPED_CHARACTERS = 12_000
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


class Parameters:
    """The parameters of a URL or of a form.

    Args:
        encoded: The query of the URL, or the body of the form.
        allowed: The names of the parameters that the page has.
        group: The beginning of the names of further parameters, which depend on the others; empty: there are none.

    The value of a parameter whose name is followed by ``.json`` is the text that a JSON string stands for.

    Raises:
        HTTPException: 400: a parameter is unknown, repeated, too long or not valid text.
    """

    def __init__(self, encoded: bytes, allowed: Iterable[str], group: str = "") -> None:
        known = set(allowed)
        self._values: dict[str, str] = {}
        for name, value in _decode(encoded):
            if name.endswith(JSON_SUFFIX) and name.removesuffix(JSON_SUFFIX) in known:
                name, value = name.removesuffix(JSON_SUFFIX), _text_of_json(name, value)  # noqa: PLW2901
            is_grouped = bool(group) and name.startswith(group)
            if name not in known and not is_grouped:
                refuse(f"there is no parameter {short_repr(name)}; known: {', '.join(sorted(known)) or 'none'}")
            if name in self._values:
                refuse(f"the parameter {name} is given twice")
            most = _MAX_GROUPED_CHARACTERS if is_grouped else _MAX_CHARACTERS
            if len(value) > most or "\0" in value:
                refuse(f"the parameter {short_repr(name)} is longer than {most:,} characters, or contains NUL")
            self._values[name] = value

    def text(self, name: str, default: str = "") -> str:
        """Return a text, without space around it."""
        return self._values.get(name, default).strip()

    def exact(self, name: str) -> str:
        """Return a text as it was given. Names and keys may have space around them."""
        return self._values.get(name, "")

    def group(self, beginning: str) -> dict[str, str]:
        """Return the parameters whose names begin with a text, by the rest of their names, as they were given."""
        return {
            name.removeprefix(beginning): value for name, value in self._values.items() if name.startswith(beginning)
        }

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number in a range."""
        given = self._values.get(name, "").strip()
        if not given:
            return default
        found = int(given) if given.isascii() and given.isdigit() and len(given) <= len(str(most)) else -1
        if not least <= found <= most:
            refuse(f"{name} must be a whole number from {least} to {most:,}, got {short_repr(given)}")
        return found

    def decimal(self, name: str, most: int) -> float:
        """Return a number above 0, up to ``most``, written with digits and at most one point."""
        given = self._values.get(name, "").strip()
        found = float(given) if _DECIMAL.fullmatch(given) else 0.0
        if not 0 < found <= most:
            refuse(f"{name} must be a number above 0, at most {most:,}, got {short_repr(given)}")
        return found

    def choice[T](self, name: str, choices: Mapping[str, T], default: T) -> T:
        """Return one of several values, by its name."""
        given = self._values.get(name, "").strip()
        if not given:
            return default
        if given not in choices:
            refuse(f"{name} must be one of {', '.join(choices)}, got {short_repr(given)}")
        return choices[given]

    def replaced(self, **changes: str | int | None) -> str:
        """Return the parameters as the query of a URL, with some of them changed; None removes one."""
        merged: dict[str, object] = {**self._values, **changes}
        kept = {name: value for name, value in merged.items() if value not in {None, ""}}
        return f"?{urlencode(kept)}" if kept else ""


def refuse(message: str) -> NoReturn:
    """Refuse a request that is not valid.

    Raises:
        HTTPException: always, with the status 400.
    """
    raise HTTPException(HTTPStatus.BAD_REQUEST, printable_line(message))


def _text_of_json(name: str, value: str) -> str:
    with suppress(ValueError, RecursionError):  # not JSON, nested too deep, or with a lone surrogate
        found = json.loads(value)
        if isinstance(found, str) and found.encode():
            return found
    refuse(f"{name} must be a JSON string that is not empty, got {short_repr(value)}")


def _decode(encoded: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST)
    except ValueError:
        refuse(f"the parameters are not valid: there may be at most {_MOST}, in UTF-8")
