"""How long tasks take: the moving mean that says whether a child may be given more than it can run at once."""

from horsies.worker.ipc import Job

AHEAD_S = 0.010
MOST_AHEAD = 256
_WEIGHT = 0.1
_MOST_TIMES = 8
_LEAST_S = 1e-6


class RuntimeEstimator:
    """Exponentially weighted moving means of run times in seconds, one a task name and one of all tasks."""

    def __init__(self) -> None:
        """Know nothing."""
        self._by_name: dict[str, float] = {}
        self._overall: float | None = None

    def observe(self, name: str, seconds: float) -> None:
        """A task of that name has run for so long."""
        self._by_name[name] = _moved(self._by_name.get(name, seconds), seconds)
        self._overall = _moved(seconds if self._overall is None else self._overall, seconds)

    def can_queue(self, job: Job, waiting: int) -> bool:
        """Whether a job may wait in a child behind so many others: it and they are quick, and that is known."""
        mean = self._by_name.get(job.task_name)
        return (
            mean is not None and waiting < MOST_AHEAD and (waiting + 1) * max(mean, self._overall or 0) <= 2 * AHEAD_S
        )

    @property
    def ahead(self) -> int:
        """How many tasks, as they have been of late, make up the time by which a child may be ahead."""
        if self._overall is None:
            return 0
        return min(MOST_AHEAD, int(AHEAD_S / self._overall)) if self._overall > 0 else MOST_AHEAD


def _moved(mean: float, seconds: float) -> float:
    return mean + _WEIGHT * (min(seconds, _MOST_TIMES * max(mean, _LEAST_S)) - mean)
