"""What a task of a workflow is told about the run: `WorkflowContext` and `WorkflowMeta`."""

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
    """Which node of which run a task is; given to the parameter ``workflow_meta`` wherever a task declares it.

    Attributes:
        workflow_id: the run, a UUID as text.
        task_index: the node.
        task_name: the task.
    """

    workflow_id: str
    task_index: int
    task_name: str


class WorkflowContext:
    """Results of the nodes in ``workflow_ctx_from``, given to the parameter ``workflow_ctx``.

    They are decoded when they are asked for. A node is found by its id, so it must have been given one, or be an
    attribute of a definition.

    Attributes:
        workflow_id: the run, a UUID as text.
        task_index: the node that runs.
        task_name: its task.
    """

    def __init__(self, inputs: Mapping[str, Any], codec_for: CodecFor) -> None:
        """Made by the worker.

        Args:
            inputs: what the database gives to a task of a node, as plain data: ``workflow_id``, ``index``,
                ``task_name``, and for each node listed an entry of ``ctx``.
            codec_for: how results of the task of a name are read.
        """
        self.workflow_id = str(inputs["workflow_id"])
        self.task_index = int(inputs["index"])
        self.task_name = str(inputs["task_name"])
        self._codec_for = codec_for
        self._entries: dict[str, Mapping[str, Any]] = {entry["node_id"]: entry for entry in inputs["ctx"] or ()}

    def result_for[T, E: TaskError](self, node: Node[T, E] | NodeKey[T, E]) -> TaskResult[T, E]:
        """The result of a node; RESULT_NOT_READY of one that a ``join`` of "any" or "quorum" did not wait for.

        Raises:
            KeyError: the node is not in ``workflow_ctx_from``.
            WorkflowContextMissingIdError: the node has no id.
        """
        entry = self._entry(node)
        if not _has_ended(entry):
            message = f"node {entry['node_id']!r} has not ended"
            return cast("TaskResult[T, E]", failed_with(RetrievalCode.RESULT_NOT_READY, message))
        codec = node.result_codec() if isinstance(node, Node) else self._codec_of(entry)
        result = codec.decode(entry["status"] == WorkflowTaskStatus.COMPLETED, encode_json(entry["result"]))
        return cast("TaskResult[T, E]", result)

    def has_result(self, node: AnyNode | NodeKey[Any, Any]) -> bool:
        """Whether the node is listed and has ended.

        Raises:
            WorkflowContextMissingIdError: the node has no id.
        """
        entry = self._entries.get(required_id(node))
        return entry is not None and _has_ended(entry)

    def summary_for[T](self, node: SubWorkflowNode[T]) -> SubWorkflowSummary[T]:
        """How the run behind a sub-workflow's node ended.

        Raises:
            KeyError: the node is not in ``workflow_ctx_from``, or there is no such run.
            WorkflowContextMissingIdError: the node has no id.
        """
        summary = self._entry(node).get("summary")
        if summary is None:
            msg = f"there is no summary of {node!r}"
            raise KeyError(msg)
        return read_summary(encode_json(summary), node.workflow_def.output_type())

    def has_summary(self, node: SubWorkflowNode[Any]) -> bool:
        """Whether `summary_for` has an answer.

        Raises:
            WorkflowContextMissingIdError: the node has no id.
        """
        return self._entries.get(required_id(node), {}).get("summary") is not None

    def _entry(self, node: AnyNode | NodeKey[Any, Any]) -> Mapping[str, Any]:
        entry = self._entries.get(required_id(node))
        if entry is None:
            msg = f"{node!r} is not in workflow_ctx_from of this node, which lists {', '.join(self._entries) or 'none'}"
            raise KeyError(msg)
        return entry

    def _codec_of(self, entry: Mapping[str, Any]) -> ResultCodec:
        codec = self._codec_for(entry["task_name"])
        return list_codec(codec) if entry.get("kind") == "map" else codec

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """In JSON it is null: the worker puts the real one in its place."""
        return core_schema.json_or_python_schema(
            json_schema=core_schema.none_schema(),
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _context: None),
        )


def _has_ended(entry: Mapping[str, Any]) -> bool:
    return WorkflowTaskStatus(entry["status"]).is_terminal
