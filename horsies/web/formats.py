"""How templates show values: numbers, durations, times, and texts of unknown origin."""

import json
from decimal import Decimal

from markupsafe import Markup

from horsies.monitoring.texts import counted, duration, iso, line, number, rate, utc
from horsies.rendering import printable

__all__ = [
    "MAX_SHOWN",
    "block",
    "counted",
    "document",
    "duration",
    "exact",
    "iso",
    "line",
    "number",
    "rate",
    "seconds",
    "shown",
    "utc",
]

MAX_SHOWN = 64 << 10
"""How many characters of arguments, results and tracebacks are shown."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, indent=2, default=str)


def shown(value: object) -> object:
    """Make a value that a template inserts safe to read. Characters that cannot be seen are escaped.

    The template engine escapes markup afterwards.
    """
    if value is None:
        return ""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def exact(value: str) -> Markup:
    """Return a text for a form that sends it back. Characters that cannot be seen are references, not escaped."""
    return Markup("").join(each if printable(each) == each else Markup("&#{};").format(ord(each)) for each in value)


def seconds(value: float) -> str:
    """Return a number of seconds for the field of a form: ``60``, ``0.5``."""
    return format(Decimal(repr(value)).normalize(), "f")


def block(text: object) -> str:
    """Return the first 64 KiB of a text with its line breaks."""
    whole = str(text)
    if len(whole) <= MAX_SHOWN:
        return whole
    return f"{whole[:MAX_SHOWN]}\n… {len(whole) - MAX_SHOWN:,} more characters"


def document(value: object) -> str:
    """Return a value as indented JSON, its first 64 KiB."""
    parts = list[str]()
    room = MAX_SHOWN
    for part in _ENCODER.iterencode(value):  # a large value is not encoded further than it is shown
        parts.append(part[:room])
        room -= len(part)
        if room < 0:
            return "".join(parts) + "\n… more is left out; the JSON document of this page has all of it"
    return "".join(parts)
