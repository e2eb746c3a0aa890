"""Finds children that make no progress although a processor was free for them.

Quick jobs may wait in a child behind the one that runs. If that one takes long after all, the jobs behind it should
move elsewhere. A child may also make no progress because it waits for a processor. Then its jobs stay: on such a busy
machine they would wait as long in any other child, and returning them to the queue and claiming them again makes the
machine busier still.

Linux tells whether a process can run at the moment, and for how long it has run (``stat`` and ``schedstat`` in
``/proc``, see proc(5)). How long it has waited for a processor is of no use here, because Linux adds this time only
when the wait ends. Where the kernel does not report these facts, all time counts.
"""

from dataclasses import dataclass
from pathlib import Path

from horsies.worker.child_process import Child

STALLED_AFTER_S = 0.015
"""How long a child may make no progress while it runs, or while it waits for something else than a processor.

With a distant database more work waits in a child, and the dispatcher waits longer in proportion.
"""
STALLED_IN_ANY_CASE_AFTER_S = 1.0
"""How long a child may make no progress, including the time in which it waits for a processor."""


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The state of a child from which its next progress is awaited.

    Attributes:
        progress: the number of its ended jobs.
        at: the time of the event loop.
        ran_s: for how long it had run on a processor, in seconds; None: unknown.
    """

    progress: int
    at: float
    ran_s: float | None


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

    def is_stalled(self, child: Child, now: float, after_s: float = STALLED_AFTER_S) -> bool:
        """Whether no job of a watched child has ended for too long, by its progress since an earlier check.

        Args:
            child: the child. If it has made progress, or was not watched, it is watched from now on.
            now: the time of the event loop.
            after_s: how long it may make no progress, in seconds.
        """
        baseline = self._baselines.get(child.number)
        if baseline is None or baseline.progress != child.progress:
            self._set_baseline(child, now)
            return False
        elapsed = now - baseline.at
        if elapsed < after_s or elapsed >= STALLED_IN_ANY_CASE_AFTER_S:
            return elapsed >= after_s
        return not self._waits_for_processor(child.pid, baseline.ran_s, after_s)

    def _waits_for_processor(self, pid: int | None, ran_before_s: float | None, after_s: float) -> bool:
        """Whether a process could run now and has run for a short time only."""
        ran_s = self._ran_s(pid)
        if ran_s is None or ran_before_s is None:
            return False
        return ran_s - ran_before_s < after_s and self._can_run(pid)

    def _set_baseline(self, child: Child, now: float) -> None:
        self._baselines[child.number] = _Baseline(child.progress, now, self._ran_s(child.pid))

    def _ran_s(self, pid: int | None) -> float | None:
        """For how long a process has run on a processor since it started, in seconds; None: unknown."""
        try:
            return int((self._proc / str(pid) / "schedstat").read_bytes().split()[0]) / 1e9
        except (OSError, IndexError, ValueError):
            return None

    def _can_run(self, pid: int | None) -> bool:
        """Whether a process runs or waits for a processor; False: it waits for something else, or this is unknown."""
        try:
            after_name = (self._proc / str(pid) / "stat").read_bytes().rpartition(b")")[2]
        except OSError:
            return False
        return after_name.split()[:1] == [b"R"]
