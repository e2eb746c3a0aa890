"""Suppressed sends: while task modules are imported, and during checks, nothing is sent."""

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum

from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, caller_location
from horsies.events import event


class Suppression(Enum):
    """Why sends are suppressed."""

    IMPORT = "during the import of task modules: move the {} into a function"
    """A worker or a check imports task modules. A program that runs the same module directly would send."""
    CHECK = "by a function that builds workflows, during a check, which sends nothing"
    """A check calls code that is intended to run later. No send is lost, so none is logged."""


class _Suppressed(threading.local):
    """How sends of this thread are suppressed.

    Attributes:
        why: The reason; None if sends are not suppressed.
        found: The list that collects warnings about sends at import; None: they are not collected.
        level: The level at which a suppressed send is logged.
    """

    why: Suppression | None = None
    found: list[HorsiesError] | None = None
    level = logging.WARNING


_suppressed = _Suppressed()


@contextmanager
def sends_suppressed(
    why: Suppression = Suppression.IMPORT, *, found: list[HorsiesError] | None = None, level: int | None = None
) -> Generator[None]:
    """Make every send of this thread fail with SEND_SUPPRESSED within this block.

    Args:
        why: The reason; with `Suppression.CHECK` nothing is collected or logged.
        found: The list that gets a warning with the location of each send (HRS-305); None: the list of the enclosing
            block.
        level: The level at which suppressed sends are logged; None: that of the enclosing block, or WARNING.
    """
    before = (_suppressed.why, _suppressed.found, _suppressed.level)
    _suppressed.why = why
    _suppressed.found = _suppressed.found if found is None else found
    _suppressed.level = _suppressed.level if level is None else level
    try:
        yield
    finally:
        _suppressed.why, _suppressed.found, _suppressed.level = before


def sends_are_suppressed() -> bool:
    """Whether this thread is within a `sends_suppressed` block."""
    return _suppressed.why is not None


def suppression() -> Suppression | None:
    """Return why sends of this thread are suppressed, given by the innermost block; None if they are not suppressed."""
    return _suppressed.why


def note_suppressed(what: str) -> None:
    """Collect a warning about a suppressed send, with the line of user code.

    Args:
        what: The beginning of the message, such as ``task 'mail' is sent``.
    """
    if _suppressed.why is Suppression.IMPORT and _suppressed.found is not None:
        warning = ConfigurationError(
            ErrorCode.SENT_AT_IMPORT,
            f"{what} while its module is imported",
            location=caller_location(),
            notes=["workers and `horsies check` suppress it; any other program that imports the module does it"],
            help_text="move the call into a function that the program calls",
        )
        _suppressed.found.append(warning)


def log_failure(name: str, *, suppressed: bool, **fields: object) -> None:
    """Log a failed send or start. A suppressed one is logged at the level of the suppression, with its location."""
    if suppressed:
        event(name, level=_suppressed.level, **fields, place=caller_location())
    else:
        event(name, level=logging.WARNING, **fields)
