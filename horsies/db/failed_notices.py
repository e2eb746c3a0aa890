"""Failed notifications of a process: they are hints, so they are only logged, once a minute."""

import logging
import threading

import psycopg

from horsies.db.errors import call_failed
from horsies.events import event
from horsies.process import monotonic

_LOG_EVERY_S = 60.0
_HELP = "workers and waiters poll meanwhile; find the cause with: horsies doctor"


class FailedNotices:
    """Counts failed notifications, and logs ``notice.failed`` at most once a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged_at: float | None = None
        self._count = 0

    def note(self, error: psycopg.Error) -> bool:
        """Count a failure; returns whether it was logged."""
        now = monotonic()
        with self._lock:
            self._count += 1
            if self._logged_at is not None and now - self._logged_at < _LOG_EVERY_S:
                return False
            self._logged_at, failures, self._count = now, self._count, 0
        event("notice.failed", level=logging.WARNING, count=failures, reason=call_failed(error).message, help=_HELP)
        return True
