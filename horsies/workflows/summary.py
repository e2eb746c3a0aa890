"""What a run says of a workflow that ran as one of its nodes."""

from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter

from horsies.codes import WorkflowStatus
from horsies.task_result import TaskError


@dataclass(frozen=True, slots=True)
class SubWorkflowSummary[T]:
    """How the run behind a sub-workflow's node ended.

    Attributes:
        status: of the child run.
        output: its output; None if it did not complete, or has none.
        total_tasks: how many nodes it had; the next three count those that ended so.
        completed_tasks: those that succeeded.
        failed_tasks: those that failed.
        skipped_tasks: those that never ran.
        error_summary: why it did not complete, in one line; None if it did.
    """

    status: WorkflowStatus
    output: T | None
    total_tasks: int
    completed_tasks: int
    failed_tasks: int
    skipped_tasks: int
    error_summary: str | None = None


def read_summary(stored: bytes, output_type: Any) -> SubWorkflowSummary[Any]:
    """Read a stored summary.

    Raises:
        ValidationError: its output does not fit the type.
    """
    annotation = cast("Any", SubWorkflowSummary)[output_type]
    return TypeAdapter[SubWorkflowSummary[Any]](annotation).validate_json(stored, strict=True)


class SubWorkflowError(TaskError):
    """The error of a node whose child run did not complete; its code is SUBWORKFLOW_FAILED.

    Attributes:
        sub_workflow_id: the child run.
        sub_workflow_summary: how it ended; None if it never began.
    """

    sub_workflow_id: str
    sub_workflow_summary: SubWorkflowSummary[object] | None = None
