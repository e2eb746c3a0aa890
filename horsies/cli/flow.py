"""Limits of queues and keys on the command line: how they are written."""

import re

import typer

from horsies.config.rates import NO_LIMIT, NoLimit, RateLimit
from horsies.db.operations import UNSET, Unset
from horsies.errors import HorsiesError

DECLARED = "declared"
"""The word that restores the limit that the app declares."""

LIFTED = "none"
"""The word that lifts a limit."""

_RATE = re.compile(r"(?P<limit>\d{1,7})/(?P<count>\d{1,7}(\.\d+)?)?(?P<unit>[smhd])(,burst=(?P<burst>\d{1,7}))?")
_MOST_DIGITS = 9
_WORDS = {DECLARED: None, LIFTED: NO_LIMIT}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_rate(text: str | None) -> RateLimit | NoLimit | Unset | None:
    """Read a rate such as ``100/60s``, ``10/s`` or ``100/1m,burst=20``; None: as declared; `UNSET`: not given."""
    if text is None:
        return UNSET
    if text in _WORDS:
        return _WORDS[text]
    found = _RATE.fullmatch(text.replace(" ", ""))
    if found is None:
        forms = "LIMIT/PERIOD such as 100/60s, 10/s or 100/1m,burst=20, 'none' or 'declared'"
        message = f"{text!r} is not a rate: write {forms}"
        raise typer.BadParameter(message)
    seconds = float(found["count"] or 1) * _SECONDS[found["unit"]]
    burst = None if found["burst"] is None else int(found["burst"])
    try:
        return RateLimit(limit=int(found["limit"]), per_seconds=seconds, burst=burst)
    except HorsiesError as error:
        message = f"{text!r} is not a rate: {error.message}"
        raise typer.BadParameter(message) from error


def parse_cap(text: str | None) -> int | NoLimit | Unset | None:
    """Read a number of tasks; None: as declared; `UNSET`: not given."""
    if text is None:
        return UNSET
    if text in _WORDS:
        return _WORDS[text]
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        message = f"{text!r} is not a number of tasks: write a whole number such as 2, 'none' or 'declared'"
        raise typer.BadParameter(message)
    return int(text)


def show_rate(rate: RateLimit | None) -> str | None:
    """Write a rate as `parse_rate` reads it."""
    return None if rate is None else f"{rate.limit}/{rate.per_seconds:g}s,burst={rate.depth}"
