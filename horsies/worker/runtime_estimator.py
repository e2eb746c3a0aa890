"""Estimates of run times, which decide whether quick tasks may wait in a child behind the one that runs.

A task that waits in a child starts without a round trip to the supervisor. This is an advantage only for quick tasks.
Therefore two limits apply:

- A worker claims at most `MAX_AHEAD_S` of work ahead for each child, by the mean of all tasks.
- A claimed task may wait in a child that has at most `MAX_QUEUED_S` of work with it, by the mean of its own name if
  that is longer. This limit is higher, because otherwise each small rise of a mean between the claim and its reply
  would return tasks to the queue.

An outlier must not change a mean for long, so a run counts as eight times the mean at most.
"""

from horsies.worker.ipc import Job

MAX_AHEAD_S = 0.010
MAX_QUEUED_S = 2 * MAX_AHEAD_S
MAX_AHEAD_TASKS = 256
_WEIGHT = 0.1
_MAX_FACTOR = 8
_MIN_MEAN_S = 1e-6


class RuntimeEstimator:
    """Keeps exponentially weighted moving means of run times in seconds: one for each task name, and one overall."""

    def __init__(self) -> None:
        self._by_name: dict[str, float] = {}
        self._overall: float | None = None

    def observe(self, name: str, seconds: float) -> None:
        """Update the means with the run time of a task."""
        self._by_name[name] = _moved(self._by_name.get(name, seconds), seconds)
        self._overall = _moved(seconds if self._overall is None else self._overall, seconds)

    def can_queue(self, job: Job, waiting: int) -> bool:
        """Whether a job may wait in a child behind ``waiting`` others, because all of them are expected to be quick.

        The others include the one that runs, so a child may have ``1 + ahead`` jobs.
        """
        mean = self._by_name.get(job.task_name)
        return (
            mean is not None
            and waiting <= MAX_AHEAD_TASKS
            and (waiting + 1) * max(mean, self._overall or 0) <= MAX_QUEUED_S
        )

    @property
    def ahead(self) -> int:
        """The number of tasks that take `MAX_AHEAD_S` together if each takes the mean of all recent tasks."""
        if self._overall is None:
            return 0
        return min(MAX_AHEAD_TASKS, int(MAX_AHEAD_S / self._overall)) if self._overall > 0 else MAX_AHEAD_TASKS


def _moved(mean: float, seconds: float) -> float:
    return mean + _WEIGHT * (min(seconds, _MAX_FACTOR * max(mean, _MIN_MEAN_S)) - mean)
