"""Retrying when the operating system refuses a process or a thread."""

import logging
import threading
import time
from collections.abc import Callable

from horsies.events import event
from horsies.worker.options import suspend_clock

_INITIAL_PAUSE_S = 0.1
_MAX_PAUSE_S = 5.0


def start_thread(make: Callable[[], threading.Thread], give_up_after_s: float) -> None:
    """Start a thread; if the operating system refuses it, retry with growing pauses.

    Args:
        make: makes the thread. It is called for every attempt, because a refused thread cannot be started again.
        give_up_after_s: how long to retry, in seconds.

    Raises:
        RuntimeError: the operating system still refused the thread after ``give_up_after_s``.
    """
    give_up_at = suspend_clock() + give_up_after_s
    pause_s = _INITIAL_PAUSE_S
    while True:
        try:
            make().start()
        except RuntimeError as error:
            if suspend_clock() >= give_up_at:
                raise
            event("child.thread_refused", level=logging.WARNING, reason=str(error), retry_in_s=pause_s)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _MAX_PAUSE_S)
        else:
            return


class Refusals:
    """Backoff for refused child processes: the refusals since a child was last started.

    Attributes:
        retry_at: when to retry, by `suspend_clock`.
    """

    def __init__(self, give_up_after_s: float) -> None:
        self._give_up_after_s = give_up_after_s
        self._pause_s = _INITIAL_PAUSE_S
        self._childless_since: float | None = None
        self.retry_at = 0.0

    def add(self, error: OSError, *, has_children: bool) -> str | None:
        """Log a refusal, and set `retry_at`.

        Args:
            error: from the operating system: EAGAIN if there are too many processes, ENOMEM if memory is short.
            has_children: whether the worker has running children.

        Returns:
            Why the worker gives up, if it has had no child for too long; None if it retries.
        """
        now = suspend_clock()
        self._childless_since = None if has_children else self._childless_since or now
        if self._childless_since is not None and now - self._childless_since >= self._give_up_after_s:
            return f"no child could be started for {self._give_up_after_s:g} seconds: {error.strerror}"
        event("child.start_refused", level=logging.WARNING, reason=error.strerror, retry_in_s=self._pause_s)
        self.retry_at = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, _MAX_PAUSE_S)
        return None

    def end(self) -> None:
        """Reset the backoff, because a child was started."""
        self._pause_s = _INITIAL_PAUSE_S
        self._childless_since = None
