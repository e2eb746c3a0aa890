"""The report of a worker about its child processes: their memory, and the last deaths. Heartbeats carry it."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import psutil

from horsies.rendering import printable

_MOST_DEATHS = 20
_MOST_CHARACTERS = 200


class _Death(NamedTuple):
    at: float
    slot: int
    pid: int | None
    reason: str
    cause: str


class ChildReport:
    """Keeps the last deaths of children, and reads the memory of those that live.

    Args:
        clock: the time of this machine, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._deaths: deque[_Death] = deque(maxlen=_MOST_DEATHS)

    def note_death(self, slot: int, pid: int | None, reason: str, cause: str) -> None:
        """Remember a child that has died unplanned.

        Args:
            slot: its slot.
            pid: its process id; None: unknown.
            reason: the kind of the death.
            cause: the death in words.
        """
        self._deaths.append(_Death(self._clock(), slot, pid, reason, printable(cause)[:_MOST_CHARACTERS]))

    def document(self, children: Iterable[tuple[int, int | None]], slots: int, ahead_s: float) -> str:
        """Return the report as a JSON document, in the format of `heartbeat`.

        Args:
            children: the slot and the process id of each child that is not known to be dead.
            slots: the number of slots.
            ahead_s: by how many seconds the clock of this machine is ahead of that of the database.
        """
        memory: list[int | None] = [None] * slots
        for slot, pid in children:
            used = _resident_mb(pid)
            if used is not None:  # a slot has several children while one of them drains
                memory[slot] = (memory[slot] or 0) + used
        deaths = [each._replace(at=round(each.at - ahead_s, 3)) for each in self._deaths]
        return json.dumps({"memory": memory, "deaths": deaths})


def _resident_mb(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        return psutil.Process(pid).memory_info().rss >> 20
    except psutil.Error:  # it has ended, and this is not known yet
        return None
