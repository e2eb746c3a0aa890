"""The answers of `horsies.monitoring.broker.Broker` that consist of several parts."""

from dataclasses import dataclass
from datetime import datetime

from horsies.db.queries.rows import RerunnableRow, RerunVerdict
from horsies.producer.info import TaskInfo


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A page of tasks; see `Broker.search_tasks`.

    Attributes:
        tasks: The tasks, the most recently sent first.
        next_before: Pass it as ``before`` to get the next page; None: this is the last one.
        is_cut: Whether the page ends because 100,000 tasks were searched. Further tasks may match then.
    """

    tasks: tuple[TaskInfo, ...]
    next_before: str | None
    is_cut: bool


@dataclass(frozen=True, slots=True)
class RerunCandidate:
    """A task that a bulk rerun is about to send again.

    Attributes:
        task_id: The id of the ended task.
        reruns: The number of its reruns. The task is sent only if this number has not changed.
    """

    task_id: str
    reruns: int


@dataclass(frozen=True, slots=True)
class RerunPreview:
    """The tasks that a bulk rerun is about to send; see `Broker.preview_rerun`.

    Attributes:
        matching: How many tasks match the conditions, without tasks that already have a rerun unless ``again`` is set.
        left_out: How many tasks match the conditions but are left out because they already have a rerun.
        cut_off: The time of the preview by the clock of the database. Tasks that ended later are not included.
        candidates: The tasks to send, in the order in which they ended. A limit may make them fewer than ``matching``.
    """

    matching: int
    left_out: int
    cut_off: datetime
    candidates: tuple[RerunCandidate, ...]

    @classmethod
    def of(cls, row: RerunnableRow) -> "RerunPreview":
        """Make a preview from a row of the database."""
        found = zip(row.ids, row.reruns, strict=True)
        candidates = tuple(RerunCandidate(str(task_id), reruns) for task_id, reruns in found)
        return cls(row.matching, row.left_out, row.cut_off, candidates)


@dataclass(frozen=True, slots=True)
class RerunOutcome:
    """The outcome of a bulk rerun for one task.

    Attributes:
        task_id: The id of the ended task.
        new_task_id: The id of the new task; None if the task was left out.
        verdict: ``sent``, or why it was left out: ``changed`` (it was sent again since the preview), ``live`` (it has
            not ended) or ``unknown`` (its record was pruned).
    """

    task_id: str
    new_task_id: str | None
    verdict: RerunVerdict
