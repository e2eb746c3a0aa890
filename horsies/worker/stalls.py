"""Finds children that make no progress although a processor was free for them.

Quick jobs may wait in a child behind the one that runs. If that one takes long after all, the jobs behind it should
move elsewhere. A child may also make no progress because it waits for a processor. Then its jobs stay: on such a busy
machine they would wait as long in any other child, and returning them to the queue and claiming them again makes the
machine busier still.

Linux counts how long a process has waited for a processor while it could run (``schedstat`` in ``/proc``, see proc(5)).
This time does not count as a stall. Where the kernel does not report it, all time counts.
"""

from dataclasses import dataclass
from pathlib import Path

from horsies.worker.child_process import Child

STALLED_AFTER_S = 0.015
"""How long a child that could run may make no progress."""
STALLED_IN_ANY_CASE_AFTER_S = 0.25
"""How long a child may make no progress, including the time in which it waited for a processor."""


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The state of a child from which its next progress is awaited.

    Attributes:
        progress: the number of its ended jobs.
        at: the time of the event loop.
        starved_s: how long it had waited for a processor, in seconds.
    """

    progress: int
    at: float
    starved_s: float


class StallDetector:
    """Watches the progress of children in which jobs wait."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._baselines: dict[int, _Baseline] = {}

    def watch(self, child: Child, now: float) -> None:
        """Watch a child in which a job waits; a child that is watched already is left as it is."""
        if child.number not in self._baselines:
            self._set_baseline(child, now)

    def unwatch(self, child: Child) -> None:
        """Stop watching a child."""
        self._baselines.pop(child.number, None)

    def is_stalled(self, child: Child, now: float) -> bool:
        """Whether no job of a watched child has ended for too long, by its progress since an earlier check.

        Args:
            child: the child. If it has made progress, or was not watched, it is watched from now on.
            now: the time of the event loop.
        """
        baseline = self._baselines.get(child.number)
        if baseline is None or baseline.progress != child.progress:
            self._set_baseline(child, now)
            return False
        elapsed = now - baseline.at
        could_run = elapsed - (self._starved_s(child.pid) - baseline.starved_s)
        return could_run >= STALLED_AFTER_S or elapsed >= STALLED_IN_ANY_CASE_AFTER_S

    def _set_baseline(self, child: Child, now: float) -> None:
        self._baselines[child.number] = _Baseline(child.progress, now, self._starved_s(child.pid))

    def _starved_s(self, pid: int | None) -> float:
        """How long a process has waited for a processor since it started, in seconds; 0: unknown."""
        try:
            return int((self._proc / str(pid) / "schedstat").read_bytes().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0
