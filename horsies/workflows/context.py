"""Information about the run for the tasks of a workflow: `WorkflowContext` and `WorkflowMeta`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from horsies.codec.wire import ResultCodec, encode_json
from horsies.codes import RetrievalCode, WorkflowTaskStatus
from horsies.producer.handle import CodecFor
from horsies.task_result import TaskError, TaskResult, failed_with
from horsies.workflows.nodes import AnyNode, Node, NodeKey, SubWorkflowNode, list_codec, required_id
from horsies.workflows.summary import SubWorkflowSummary, read_summary


@dataclass(frozen=True, slots=True)
class WorkflowMeta:
    """The run and the node to which a task belongs. The worker passes it to the parameter ``workflow_meta``.

    Attributes:
        workflow_id: The id of the run, a UUID as text.
        task_index: The index of the node.
        task_name: The name of the task.
    """

    workflow_id: str
    task_index: int
    task_name: str


class WorkflowContext:
    """The results of the nodes in ``workflow_ctx_from``. The worker passes it to the parameter ``workflow_ctx``.

    Results are decoded when they are read. Nodes are looked up by their ids, so each node must have a ``node_id`` or be
    an attribute of a definition.

    Attributes:
        workflow_id: The id of the run, a UUID as text.
        task_index: The index of the running node.
        task_name: The name of its task.
    """

    def __init__(self, inputs: Mapping[str, Any], codec_for: CodecFor) -> None:
        """Make the context of a node.

        Args:
            inputs: The inputs of the node's task from the database, as plain data: ``workflow_id``, ``index``,
                ``task_name``, and in ``ctx`` an entry for each node in ``workflow_ctx_from``.
            codec_for: Returns the result codec of a task by its name.
        """
        self.workflow_id = str(inputs["workflow_id"])
        self.task_index = int(inputs["index"])
        self.task_name = str(inputs["task_name"])
        self._codec_for = codec_for
        self._entries: dict[str, Mapping[str, Any]] = {entry["node_id"]: entry for entry in inputs["ctx"] or ()}

    def result_for[T, E: TaskError](self, node: Node[T, E] | NodeKey[T, E]) -> TaskResult[T, E]:
        """Return the result of a node.

        The result is an error with RESULT_NOT_READY if the node has not ended, which can happen with a ``join`` of
        "any" or "quorum".

        Raises:
            KeyError: The node is not in ``workflow_ctx_from``.
            WorkflowContextMissingIdError: The node has no id.
        """
        entry = self._entry(node)
        if not _has_ended(entry):
            message = f"node {entry['node_id']!r} has not ended"
            return cast("TaskResult[T, E]", failed_with(RetrievalCode.RESULT_NOT_READY, message))
        codec = node.result_codec() if isinstance(node, Node) else self._codec_of(entry)
        result = codec.decode(entry["status"] == WorkflowTaskStatus.COMPLETED, encode_json(entry["result"]))
        return cast("TaskResult[T, E]", result)

    def has_result(self, node: AnyNode | NodeKey[Any, Any]) -> bool:
        """Whether the node is in ``workflow_ctx_from`` and has ended.

        Raises:
            WorkflowContextMissingIdError: The node has no id.
        """
        entry = self._entries.get(required_id(node))
        return entry is not None and _has_ended(entry)

    def summary_for[T](self, node: SubWorkflowNode[T]) -> SubWorkflowSummary[T]:
        """Return the summary of the child run of a sub-workflow node.

        Raises:
            KeyError: The node is not in ``workflow_ctx_from``, or it has no child run that has ended.
            WorkflowContextMissingIdError: The node has no id.
        """
        summary = self._entry(node).get("summary")
        if summary is None:
            msg = f"there is no summary of {node!r}: its child run has not ended, or was never created"
            raise KeyError(msg)
        return read_summary(encode_json(summary), node.workflow_def.output_type())

    def has_summary(self, node: SubWorkflowNode[Any]) -> bool:
        """Whether `summary_for` returns a summary for this node.

        Raises:
            WorkflowContextMissingIdError: The node has no id.
        """
        return self._entries.get(required_id(node), {}).get("summary") is not None

    def _entry(self, node: AnyNode | NodeKey[Any, Any]) -> Mapping[str, Any]:
        entry = self._entries.get(required_id(node))
        if entry is None:
            listed = ", ".join(self._entries) or "no nodes"
            msg = f"{node!r} is not in the workflow_ctx_from of this node, which contains {listed}"
            raise KeyError(msg)
        return entry

    def _codec_of(self, entry: Mapping[str, Any]) -> ResultCodec:
        codec = self._codec_for(entry["task_name"])
        return list_codec(codec) if entry.get("kind") == "map" else codec

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that is null in JSON, because the worker passes the actual context."""
        return core_schema.json_or_python_schema(
            json_schema=core_schema.none_schema(),
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _context: None),
        )


def _has_ended(entry: Mapping[str, Any]) -> bool:
    return WorkflowTaskStatus(entry["status"]).is_terminal
