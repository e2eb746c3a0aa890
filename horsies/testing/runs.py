"""Workflow runs in tests."""

from typing import TYPE_CHECKING, Any

from horsies.testing.errors import QueueTestError

if TYPE_CHECKING:
    from horsies.codes import WorkflowStatus
    from horsies.task_result import TaskError, TaskResult
    from horsies.testing.reports import DrainReport
    from horsies.workflows.handle import WorkflowHandle, WorkflowTaskInfo


class TestRun[T]:
    """A workflow run that a test has started, after everything that was due has run.

    Attributes:
        handle: The handle of the run.
        report: The attempts that `drain` ran.
    """

    __test__ = False

    def __init__(self, handle: "WorkflowHandle[T]", report: "DrainReport") -> None:
        self.handle = handle
        self.report = report

    @property
    def status(self) -> "WorkflowStatus":
        """The present status of the run."""
        return self.handle.status().unwrap()

    @property
    def result(self) -> "TaskResult[T, TaskError]":
        """The result of the run, which must have ended; else an error with WAIT_TIMEOUT."""
        return self.handle.get(timeout_ms=0)

    @property
    def nodes(self) -> "list[WorkflowTaskInfo]":
        """The present state of all nodes, in the order of the spec."""
        return self.handle.tasks().unwrap()

    def node(self, node_id: str) -> "WorkflowTaskInfo":
        """Return the present state of a node.

        Raises:
            QueueTestError: The run has no such node; the message lists its nodes.
        """
        nodes: dict[str, Any] = {node.node_id: node for node in self.nodes}
        if node_id not in nodes:
            msg = f"the run has no node {node_id!r}; its nodes: {', '.join(nodes)}"
            raise QueueTestError(msg)
        return nodes[node_id]
