"""Processes and threads that the operating system refuses: when to try again, and when to give up."""

import logging
import threading
import time
from collections.abc import Callable

from horsies.events import event
from horsies.worker.options import suspend_clock

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


def start_thread(make: Callable[[], threading.Thread], give_up_after_s: float) -> None:
    """Start a thread; where the system refuses it, try again for some time.

    Args:
        make: makes the thread; Python does not start one a second time that was refused.
        give_up_after_s: seconds.

    Raises:
        RuntimeError: the system refused it until the end.
    """
    give_up_at = suspend_clock() + give_up_after_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            make().start()
        except RuntimeError as error:
            if suspend_clock() >= give_up_at:
                raise
            event("child.thread_refused", level=logging.WARNING, reason=str(error), retry_in_s=pause_s)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        else:
            return


class Refusals:
    """The refusals since a child was last started.

    Attributes:
        retry_at: when to try again, by `suspend_clock`.
    """

    def __init__(self, give_up_after_s: float) -> None:
        self._give_up_after_s = give_up_after_s
        self._pause_s = _FIRST_PAUSE_S
        self._childless_since: float | None = None
        self.retry_at = 0.0

    def add(self, error: OSError, *, has_children: bool) -> str | None:
        """Take a refusal, log it, and set `retry_at`.

        Args:
            error: of the system: EAGAIN if there are too many processes, ENOMEM if memory is short.
            has_children: whether the worker has children that run.

        Returns:
            Why the worker has to give up: it has had no child for too long. None: it tries again.
        """
        now = suspend_clock()
        self._childless_since = None if has_children else self._childless_since or now
        if self._childless_since is not None and now - self._childless_since >= self._give_up_after_s:
            return f"no child could be started for {self._give_up_after_s:g} seconds: {error.strerror}"
        event("child.start_refused", level=logging.WARNING, reason=error.strerror, retry_in_s=self._pause_s)
        self.retry_at = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return None

    def end(self) -> None:
        """A child was started."""
        self._pause_s = _FIRST_PAUSE_S
        self._childless_since = None
