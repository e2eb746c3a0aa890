"""Estimates of run times, which decide how many quick tasks may wait in a child behind those that run.

A task that waits in a child starts without a round trip to the supervisor and to the database. This is an advantage
only for quick tasks. The *window* is the amount of work that may wait in a child: the child works on it while the next
tasks are on the way. It is one and a half times the shortest of the recent exchanges, at least `MIN_WINDOW_S` and at
most `MAX_WINDOW_S`. Three limits apply:

- A worker claims at most one window of work ahead for each child, by the mean of all tasks.
- A claimed task may wait in a child in which up to two windows of work wait, by the mean of its own name if that is
  longer. This limit is higher, because otherwise each small rise of a mean between the claim and its reply would return
  tasks to the queue.
- Nothing waits behind tasks that each run for longer than a window. With a concurrency above 1 many of them could end
  together, one after the other, and nothing would start until then.

A child with a concurrency above 1 runs several tasks at the same time, so the work of a task is not its run time, but
the time between the end of one task and the end of the next one. With a concurrency of 1 both are the same.

An outlier must not change a mean for long, so a run counts as eight times the mean at most.
"""

from horsies.worker.ipc import Job

MIN_WINDOW_S = 0.010
MAX_WINDOW_S = 0.100
MIN_AHEAD_TASKS = 256
"""How many of the quickest tasks may wait in a child if the window is short."""
_QUICKEST_S = 100e-6
"""With a long window, the number of tasks is limited as if each of them took this time, with its share of an exchange.

Larger claims would take tasks away from other workers which can run them sooner.
"""
_EXCHANGES_PER_WINDOW = 1.5
_WEIGHT = 0.1
_MAX_FACTOR = 8
_MIN_MEAN_S = 1e-6
_GROWTH = 1.05


class RuntimeEstimator:
    """Keeps exponentially weighted moving means of run times and of the times between ends, and the window.

    Args:
        concurrency: the number of tasks that a child runs at the same time.
    """

    def __init__(self, concurrency: int = 1) -> None:
        self._concurrency = concurrency
        self._by_name: dict[str, float] = {}
        self._overall: float | None = None
        self._between_ends = 0.0
        self._round_trip_s = 0.0

    def observe(self, name: str, seconds: float, between_ends: float) -> None:
        """Update the means.

        Args:
            name: the task that has ended.
            seconds: how long it ran.
            between_ends: the time since the task before has ended in the same child, or since the child was idle.
        """
        self._by_name[name] = _moved(self._by_name.get(name, seconds), seconds)
        is_first = self._overall is None
        self._overall = _moved(seconds if self._overall is None else self._overall, seconds)
        self._between_ends = _moved(between_ends if is_first else self._between_ends, between_ends)

    def observe_exchange(self, seconds: float) -> None:
        """Update the shortest time of an exchange, which rises only slowly: an exchange may have waited for a lock."""
        self._round_trip_s = min(seconds, self._round_trip_s * _GROWTH) if self._round_trip_s else seconds

    @property
    def round_trip_s(self) -> float:
        """The shortest time of the recent exchanges, in seconds; 0: there was none."""
        return self._round_trip_s

    @property
    def window_s(self) -> float:
        """The amount of work that may wait in a child, in seconds."""
        return min(max(MIN_WINDOW_S, _EXCHANGES_PER_WINDOW * self._round_trip_s), MAX_WINDOW_S)

    @property
    def max_ahead(self) -> int:
        """The number of tasks that may wait in a child, however quick they are."""
        return max(MIN_AHEAD_TASKS, int(self.window_s / _QUICKEST_S))

    def can_queue(self, job: Job, waiting: int) -> bool:
        """Whether a job may wait in a child behind ``waiting`` others, because all of them are expected to be quick.

        The others include one that runs, so ``1 + ahead`` jobs may be in a child besides the other running ones.
        """
        mean = self._by_name.get(job.task_name)
        if mean is None or waiting > self.max_ahead:
            return False
        window, longest = self.window_s, max(mean, self._overall or 0)
        return longest <= window and (waiting + 1) * self._pace(longest) <= 2 * window

    @property
    def ahead(self) -> int:
        """The number of tasks that make up a window of work if each of them is as quick as all recent tasks."""
        if self._overall is None or self._overall > self.window_s:
            return 0
        most, pace = self.max_ahead, self._pace(self._overall)
        return min(most, int(self.window_s / pace)) if pace > 0 else most

    def _pace(self, run_time: float) -> float:
        """The time from the end of a task to that of the next one in a child in which all run for ``run_time`` seconds.

        A child that is not full has longer times between ends, which are used all the same, to be cautious.
        """
        return max(self._between_ends, run_time / self._concurrency)


def _moved(mean: float, seconds: float) -> float:
    return mean + _WEIGHT * (min(seconds, _MAX_FACTOR * max(mean, _MIN_MEAN_S)) - mean)
