"""Waiting for conditions, instead of sleeping."""

import time
from collections.abc import Callable

_POLL_S = 0.02


def wait_until[T](condition: Callable[[], T], timeout: float = 10, describe: Callable[[], str] | str = "") -> T:
    """Poll until ``condition()`` is truthy, and return what it returned.

    Args:
        condition: The condition, checked every 20 ms.
        timeout: The longest wait, in seconds.
        describe: A description for the failure message, or a function that returns one when the time is over.
    """
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            what = describe() if callable(describe) else describe
            message = f"not within {timeout:g} s: {what or condition}"
            raise AssertionError(message)
        time.sleep(_POLL_S)
    return found
