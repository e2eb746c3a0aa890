"""The checks of the options of a send."""

from datetime import datetime

from horsies.config.queues import LAST_PRIORITY
from horsies.plain import short_repr

LONGEST_DELAY_S = 100 * 365 * 86_400


def wrong_delay(delay: object) -> str | None:
    """Return why a delay is invalid, or None if it is valid."""
    if isinstance(delay, int | float) and not isinstance(delay, bool) and 0 <= delay <= LONGEST_DELAY_S:
        return None
    return f"delay must be a number of seconds from 0 to {LONGEST_DELAY_S:,}, got {short_repr(delay)}"


def wrong_deadline(deadline: object) -> str | None:
    """Return why ``good_until`` is invalid, or None if it is valid."""
    if deadline is None or (isinstance(deadline, datetime) and deadline.utcoffset() is not None):
        return None
    return (
        f"good_until must be an aware datetime, got {short_repr(deadline)}: add a tzinfo, for example datetime.now(UTC)"
    )


def wrong_priority(priority: object) -> str | None:
    """Return why a priority is invalid, or None if it is valid."""
    if priority is None or (type(priority) is int and 1 <= priority <= LAST_PRIORITY):
        return None
    return f"priority must be a whole number from 1 (highest) to {LAST_PRIORITY}, got {short_repr(priority)}"
