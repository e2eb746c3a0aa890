"""The metrics of a worker: its counters and gauges.

The counters cover the attempts that this worker has run, from its start. The supervisor counts; children export
nothing. An attempt is counted when the database has confirmed its outcome, because the database decides on retries.
Cancelled and expired tasks are not counted here, because no worker may be involved: the samples of the cluster have
them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from horsies.codes import BUILT_IN_CODES, TaskStatus
from horsies.db.queries.worker import Outcome, Verdict
from horsies.metrics.values import OTHER, Histogram, Metric, Reading, Samples, Type
from horsies.version import __version__
from horsies.worker.attempt_log import EndedAttempt
from horsies.worker.recent_counts import AttemptEnd, attempt_end

_MAX_OTHER_CODES = 50

TASKS_FINISHED = Metric(
    "horsies_tasks_finished_total",
    Type.COUNTER,
    "Tasks that this worker has ended, as COMPLETED or FAILED.",
    ("task", "queue", "status"),
)
TASK_ERRORS = Metric(
    "horsies_task_errors_total",
    Type.COUNTER,
    "Failed attempts by error code, whether they were retried or not.",
    ("task", "error_code"),
)
TASK_RETRIES = Metric("horsies_task_retries_total", Type.COUNTER, "Failed attempts that are retried.", ("task",))
OUTCOMES_REJECTED = Metric(
    "horsies_outcomes_rejected_total",
    Type.COUNTER,
    "Outcomes that the database has rejected, because the task was cancelled or recovered meanwhile.",
)
CHILD_DEATHS = Metric(
    "horsies_child_deaths_total", Type.COUNTER, "Child processes that have not ended by a planned exit.", ("reason",)
)
TASK_RUN = Metric("horsies_task_run_seconds", Type.HISTOGRAM, "How long attempts ran.", ("task",))
TASK_WAIT = Metric(
    "horsies_task_wait_seconds",
    Type.HISTOGRAM,
    "How long tasks waited from their due time to their start, counted when the attempt has ended.",
    ("queue",),
)
SLOTS = Metric("horsies_worker_slots", Type.GAUGE, "Tasks that the worker can run at the same time.")
SLOTS_BUSY = Metric("horsies_worker_slots_busy", Type.GAUGE, "Slots in which a task runs.")
CLAIM = Metric(
    "horsies_claim_seconds", Type.HISTOGRAM, "How long exchanges with the database took that asked for tasks."
)
DATABASE_UP = Metric("horsies_database_up", Type.GAUGE, "1: the last heartbeat reached the database; 0: it did not.")
HEARTBEAT_AGE = Metric(
    "horsies_heartbeat_age_seconds", Type.GAUGE, "The age of the last heartbeat that the database has confirmed."
)
BUILD_INFO = Metric("horsies_build_info", Type.GAUGE, "Always 1; the label is the version of horsies.", ("version",))

WORKER_METRICS: Final = (
    TASKS_FINISHED,
    TASK_ERRORS,
    TASK_RETRIES,
    OUTCOMES_REJECTED,
    CHILD_DEATHS,
    TASK_RUN,
    TASK_WAIT,
    SLOTS,
    SLOTS_BUSY,
    CLAIM,
    DATABASE_UP,
    HEARTBEAT_AGE,
    BUILD_INFO,
)
"""All metrics of a worker."""


class DeathReason(StrEnum):
    """Why a child process has died."""

    KILLED = "killed"
    """The worker killed it: an attempt did not stop, it did not respond, or it did not exit."""
    SIGNAL = "signal"
    """A signal killed it that the worker has not sent, for instance from the kernel when memory was short."""
    EXIT = "exit"
    """It exited by itself."""


@dataclass(slots=True)
class _Ended:
    """The attempts of a task in a queue that have ended.

    Attributes:
        task: the label of the task.
        run: how long they ran; shared by all queues of the task.
        wait: how long they waited; shared by all tasks of the queue.
        completed: how many have completed the task.
        failed: how many have failed the task.
    """

    task: str
    run: Histogram
    wait: Histogram
    completed: int = 0
    failed: int = 0


class WorkerCounters:
    """Counts what happens to the attempts of a worker.

    Args:
        tasks: the names of its tasks; all others count as ``other``.
        queues: the names of its queues; likewise.
    """

    def __init__(self, tasks: Iterable[str], queues: Iterable[str]) -> None:
        self._tasks = frozenset(tasks)
        self._queues = frozenset(queues)
        self._other_codes: set[str] = set()
        self._ended: dict[tuple[str, str], _Ended] = {}  # by the labels for task and queue
        self._errors: dict[tuple[str, ...], int] = {}
        self._retries: dict[tuple[str, ...], int] = {}
        self._rejected = 0
        self._deaths: dict[tuple[str, ...], int] = {(reason.value,): 0 for reason in DeathReason}
        self._run: dict[tuple[str, ...], Histogram] = {}
        self._wait: dict[tuple[str, ...], Histogram] = {}
        self._claim = Histogram()

    def count_attempt(self, ended: EndedAttempt, outcome: Outcome, verdict: Verdict) -> None:
        """Count an attempt whose outcome the database has confirmed.

        Args:
            ended: the attempt.
            outcome: as the child has reported it.
            verdict: the answer of the database, which is not ``stale``.
        """
        ended_here = self._ended.get((ended.task_name, ended.queue)) or self._first(ended.task_name, ended.queue)
        ended_here.run.observe(ended.seconds)
        ended_here.wait.observe(ended.waited_s)
        end = attempt_end(outcome, verdict)
        if end is AttemptEnd.COMPLETED:
            ended_here.completed += 1
            return
        if end is AttemptEnd.NOT_COUNTED or verdict.error_code is None:
            return
        _increment(self._errors, (ended_here.task, self._code(verdict.error_code)))
        if end is AttemptEnd.FAILED:
            ended_here.failed += 1
        else:
            _increment(self._retries, (ended_here.task,))

    def _first(self, task_name: str, queue: str) -> "_Ended":
        """Return the counts for the first attempt of a task in a queue."""
        task = task_name if task_name in self._tasks else OTHER
        queue = queue if queue in self._queues else OTHER
        found = self._ended.get((task, queue))
        if found is None:
            run, wait = self._run.setdefault((task,), Histogram()), self._wait.setdefault((queue,), Histogram())
            found = self._ended[task, queue] = _Ended(task, run, wait)
        return found

    def _code(self, code: str) -> str:
        """The label for an error code: programs can make any number of them."""
        if code in BUILT_IN_CODES or code in self._other_codes:
            return code
        if len(self._other_codes) == _MAX_OTHER_CODES:
            return OTHER
        self._other_codes.add(code)
        return code

    def count_rejected(self, number: int) -> None:
        """Count outcomes that the database has rejected as stale."""
        self._rejected += number

    def count_death(self, reason: DeathReason) -> None:
        """Count a child that has died."""
        self._deaths[reason.value,] += 1

    def observe_claim(self, seconds: float) -> None:
        """Count how long an exchange took that asked for tasks."""
        self._claim.observe(seconds)

    def _finished(self) -> Iterator[tuple[tuple[str, ...], int]]:
        for (task, queue), ended in self._ended.items():
            for status, number in ((TaskStatus.COMPLETED, ended.completed), (TaskStatus.FAILED, ended.failed)):
                if number:
                    yield (task, queue, status.value), number

    def read(self) -> Reading:
        """Return what was counted so far. Later counting does not change it."""
        return [
            (TASKS_FINISHED, dict(self._finished())),
            (TASK_ERRORS, self._errors.copy()),
            (TASK_RETRIES, self._retries.copy()),
            (OUTCOMES_REJECTED, _single(self._rejected)),
            (CHILD_DEATHS, self._deaths.copy()),
            (TASK_RUN, {labels: histogram.copy() for labels, histogram in self._run.items()}),
            (TASK_WAIT, {labels: histogram.copy() for labels, histogram in self._wait.items()}),
            (CLAIM, _single(self._claim.copy())),
        ]


def gauges(*, slots: int, busy: int, is_database_up: bool, heartbeat_age_s: float | None) -> Reading:
    """Return the state of a worker as metrics.

    Args:
        slots: the number of tasks that it can run at the same time.
        busy: the number of slots in which a task runs.
        is_database_up: whether the last heartbeat reached the database.
        heartbeat_age_s: seconds since the last confirmed heartbeat; None: there was none yet, so it is not shown.
    """
    return [
        (SLOTS, _single(slots)),
        (SLOTS_BUSY, _single(busy)),
        (DATABASE_UP, _single(int(is_database_up))),
        (HEARTBEAT_AGE, {} if heartbeat_age_s is None else _single(heartbeat_age_s)),
        (BUILD_INFO, {(__version__,): 1}),
    ]


def _single(value: float | Histogram) -> Samples:
    return {(): value}


def _increment(counts: dict[tuple[str, ...], int], labels: tuple[str, ...]) -> None:
    counts[labels] = counts.get(labels, 0) + 1
