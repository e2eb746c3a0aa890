"""Counts of the attempts of the last minutes, which heartbeats carry to the database.

The samples of maintenance begin when a minute has ended. Until then, the database knows the counts of the workers: each
heartbeat replaces those of its worker.
"""

import json
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from enum import Enum, auto

from horsies.codes import OutcomeCode
from horsies.db.queries.worker import Outcome, Verdict
from horsies.worker.attempt_log import EndedAttempt

_MINUTE_S = 60
_KEPT_MINUTES = 3


class AttemptEnd(Enum):
    """What became of a task by the end of an attempt."""

    COMPLETED = auto()
    """The task was completed."""
    FAILED = auto()
    """The task has failed."""
    RETRIED = auto()
    """The attempt has failed, and another one follows."""
    NOT_COUNTED = auto()
    """The task was cancelled, or it asked to run again later."""


def attempt_end(outcome: Outcome, verdict: Verdict) -> AttemptEnd:
    """Return what became of a task, from the outcome of its attempt and the answer of the database.

    Args:
        outcome: as the child has reported it.
        verdict: the answer of the database, which is not ``stale``.
    """
    code = verdict.error_code
    if code is None:
        return AttemptEnd.COMPLETED
    is_postponed = outcome.postponed is not None and code == outcome.error_code
    if is_postponed or code == OutcomeCode.TASK_CANCELLED:
        return AttemptEnd.NOT_COUNTED
    return AttemptEnd.FAILED if verdict.due_again is None else AttemptEnd.RETRIED


@dataclass(slots=True)
class _Counts:
    completed: int = 0
    failed: int = 0
    retried: int = 0


class RecentCounts:
    """Counts attempts by minute, queue and task, and forgets those of earlier minutes.

    Args:
        clock: the time of this machine, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minutes: dict[int, dict[tuple[str, str], _Counts]] = {}
        self.ahead_s = 0.0
        """By how many seconds the clock of this machine is ahead of that of the database; written by the supervisor."""

    def count(self, ended: EndedAttempt, end: AttemptEnd) -> None:
        """Count an attempt that the database has confirmed just now."""
        if end is AttemptEnd.NOT_COUNTED:
            return
        counts = self._current().setdefault((ended.queue, ended.task_name), _Counts())
        if end is AttemptEnd.COMPLETED:
            counts.completed += 1
        elif end is AttemptEnd.FAILED:
            counts.failed += 1
        else:
            counts.retried += 1

    def _current(self) -> dict[tuple[str, str], _Counts]:
        minute = self._minute()
        found = self._minutes.get(minute)
        if found is None:
            self._forget(minute)
            found = self._minutes[minute] = {}
        return found

    def _minute(self) -> int:
        return int((self._clock() - self.ahead_s) // _MINUTE_S) * _MINUTE_S

    def _forget(self, minute: int) -> None:
        first = minute - (_KEPT_MINUTES - 1) * _MINUTE_S
        self._minutes = {begin: counts for begin, counts in self._minutes.items() if first <= begin <= minute}

    def document(self) -> str:
        """Return the counts as a JSON array of arrays: begin of the minute, queue, task, completed, failed, retried."""
        self._forget(self._minute())
        rows = [
            [begin, queue, task_name, *astuple(counts)]
            for begin, by_task in self._minutes.items()
            for (queue, task_name), counts in by_task.items()
        ]
        return json.dumps(rows)

    def clear(self) -> None:
        """Forget all counts: the worker continues with another id, and the database keeps those of the former one."""
        self._minutes.clear()
