"""`SubWorkflowSummary` and `SubWorkflowError`: how the child run of a sub-workflow node ended."""

from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter

from horsies.codes import WorkflowStatus
from horsies.task_result import TaskError


@dataclass(frozen=True, slots=True)
class SubWorkflowSummary[T]:
    """How the child run of a sub-workflow node ended.

    Attributes:
        status: The status of the child run.
        output: The output of the child run; None if it did not complete or has no output.
        total_tasks: The number of its nodes.
        completed_tasks: The number of nodes that completed.
        failed_tasks: The number of nodes that failed.
        skipped_tasks: The number of nodes that were skipped.
        error_summary: Why the run did not complete, in one line; None if it completed.
    """

    status: WorkflowStatus
    output: T | None
    total_tasks: int
    completed_tasks: int
    failed_tasks: int
    skipped_tasks: int
    error_summary: str | None = None


def read_summary(stored: bytes, output_type: Any) -> SubWorkflowSummary[Any]:
    """Decode a stored summary.

    Raises:
        ValidationError: The output does not fit ``output_type``.
    """
    annotation = cast("Any", SubWorkflowSummary)[output_type]
    return TypeAdapter[SubWorkflowSummary[Any]](annotation).validate_json(stored, strict=True)


class SubWorkflowError(TaskError):
    """The error of a node whose child run did not complete; its code is SUBWORKFLOW_FAILED.

    Attributes:
        sub_workflow_id: The id of the child run.
        sub_workflow_summary: How the child run ended; None if it never started.
    """

    sub_workflow_id: str
    sub_workflow_summary: SubWorkflowSummary[object] | None = None
