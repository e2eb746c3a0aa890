"""The nodes of a workflow. The builders that make them from tasks are in `horsies.workflows.builders`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeIs, TypeVar, cast
from weakref import WeakKeyDictionary

from horsies.codec.adapters import CodecError, InvalidJson
from horsies.codec.signature import SignatureCodec
from horsies.codec.wire import ResultCodec
from horsies.errors import SourceLocation, caller_line, frame_location
from horsies.producer.handle import TaskHandle
from horsies.producer.send import Producer
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.registry import TaskDefinition
from horsies.workflows.summary import SubWorkflowError

if TYPE_CHECKING:
    from horsies.workflows.definition import WorkflowDefinition

CONTEXT_PARAMETER = "workflow_ctx"
META_PARAMETER = "workflow_meta"
FILLED_IN = frozenset({CONTEXT_PARAMETER, META_PARAMETER})
"""Parameters that the worker fills in wherever a task declares them."""
BUILD_TASK = "horsies.build:"

# Nodes are frozen and therefore covariant: a node of int is a node of float. The variance is declared explicitly,
# because type checkers infer invariance from the __replace__ method of a dataclass.
T_co = TypeVar("T_co", covariant=True)
E_co = TypeVar("E_co", covariant=True, bound=TaskError, default=TaskError)

type Join = Literal["all", "any", "quorum"]


class WorkflowContextMissingIdError(ValueError):
    """A node without an id was looked up. Set its ``node_id``, or make it an attribute of a definition."""


class NodeTask[T, E: TaskError = TaskError](Protocol):
    """The interface of a task that nodes use. `TaskFunction` implements it."""

    @property
    def definition(self) -> TaskDefinition:
        """The definition of the task."""
        ...

    @property
    def producer(self) -> Producer:
        """The producer of the app that defines the task."""
        ...

    def handle(self, task_id: str) -> TaskHandle[T, E]:
        """Return the handle of a sent task by its id."""
        ...


@dataclass(frozen=True, slots=True)
class NodeKey[T = Any, E: TaskError = TaskError]:
    """The id of a node, with which its result can be looked up where the node itself is not available."""

    node_id: str


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Node(Generic[T_co, E_co]):
    """A node of a workflow, whose result is a ``TaskResult[T, E]``.

    Nodes are frozen, because several specs may share them.

    Attributes:
        kwargs: The arguments by parameter name.
        waits_for: The nodes on which this node depends.
        args_from: Maps parameters to the nodes whose `TaskResult` they receive. These nodes must be in ``waits_for``.
        workflow_ctx_from: The nodes whose results the parameter ``workflow_ctx`` provides. They must be in
            ``waits_for``.
        node_id: 1 to 128 of the characters ``A-Z a-z 0-9 _ - : .``. Default: the name of the attribute in a
            definition, otherwise the name of the workflow and the index of the node.
        queue: The queue of the task. Default: the queue that the task declares.
        priority: 1 (highest) to 100. Default: the priority of the queue.
        allow_failed_deps: With ``join="all"``, whether the node runs although a dependency failed or was skipped.
        join: When the node becomes ready: with "all" when all dependencies have ended, with "any" when one of them
            completed, with "quorum" when ``min_success`` of them completed.
        min_success: The number of dependencies that must complete, with ``join="quorum"``.
        good_until: An aware datetime. If the task was not started by then, it is EXPIRED and the node FAILED.
        timeout_ms: How long an attempt may run, in milliseconds, at least 100. Default: the timeout of the task.
    """

    kind: ClassVar[str] = "task"

    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    waits_for: Sequence["AnyNode"] = ()
    args_from: Mapping[str, "AnyNode"] = field(default_factory=dict[str, "AnyNode"])
    workflow_ctx_from: Sequence["AnyNode"] | None = None
    node_id: str | None = None
    queue: str | None = None
    priority: int | None = None
    allow_failed_deps: bool = False
    join: Join = "all"
    min_success: int | None = None
    good_until: datetime | None = None
    timeout_ms: int | None = None
    line: tuple[str, int] | None = field(default_factory=caller_line, init=False)

    def __repr__(self) -> str:
        """Show the id, or else the location; never the dependencies, of which there may be many."""
        return f"<{self.kind} node {self.node_id!r}>" if self.node_id else f"<{self.kind} node made at {self.location}>"

    @property
    def location(self) -> SourceLocation | None:
        """The line of source code that made the node; None if it is unknown."""
        return None if self.line is None else frame_location(*self.line)

    @property
    def index(self) -> int | None:
        """The index of the node in its workflow, as in `WorkflowTaskInfo` and ``dependency_index``.

        None before a workflow is made of the node, and if several workflows have it at different indexes; in that case
        use `WorkflowSpec.index_of`.
        """
        return _indexes.get(self)

    @property
    def name(self) -> str:
        """The name of the task or of the workflow that the node runs."""
        return self.task_name

    @property
    def task_name(self) -> str:
        """The name of the task that the node runs."""
        raise NotImplementedError

    @property
    def task(self) -> TaskDefinition | None:
        """The definition of the task that the node runs; None if it runs a workflow."""
        return None

    def signature(self) -> SignatureCodec | None:
        """Return the parameters of the node; None if it takes no arguments."""
        raise NotImplementedError

    def result_codec(self) -> ResultCodec:
        """Return the codec of the node's results."""
        raise NotImplementedError

    def key(self) -> NodeKey[T_co, E_co]:
        """Return the key of the node, with which its result can be looked up elsewhere.

        Raises:
            WorkflowContextMissingIdError: The node has no ``node_id``.
        """
        return NodeKey(required_id(self))


type AnyNode = Node[Any, Any]
"""A node of any kind, with any result."""

_indexes: WeakKeyDictionary[AnyNode, int | None] = WeakKeyDictionary()
"""The values of `Node.index`, stored outside of the frozen nodes. None: several workflows have different indexes."""


def note_indexes(nodes: Sequence[AnyNode]) -> None:
    """Record the indexes of the nodes of a workflow for `Node.index`."""
    for index, node in enumerate(nodes):
        if _indexes.setdefault(node, index) != index:
            _indexes[node] = None


def is_node(value: object) -> TypeIs[AnyNode]:
    """Whether an object is a node."""
    return isinstance(value, Node)


def listed(nodes: object) -> Sequence[Any]:
    """Return a list of nodes. Any other object becomes a list of one entry, which validation then rejects."""
    return cast("Sequence[Any]", nodes) if isinstance(nodes, list | tuple) else [nodes]


def required_id(node: AnyNode | NodeKey[Any, Any]) -> str:
    """Return the id of a node or key.

    Raises:
        WorkflowContextMissingIdError: The node has no id.
    """
    if node.node_id is None:
        msg = f"{node!r} has no node_id: set node_id=, or make the node an attribute of a WorkflowDefinition"
        raise WorkflowContextMissingIdError(msg)
    return node.node_id


@dataclass(frozen=True, eq=False, repr=False)
class _OfTask(Node[T_co, E_co]):
    fn: NodeTask[Any, Any]
    args: tuple[()] = field(default=(), kw_only=True)

    @property
    def task(self) -> TaskDefinition:
        """The definition of ``fn``."""
        return self.fn.definition

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return self.task.name

    def signature(self) -> SignatureCodec:
        """Return the parameters of the task."""
        return self.task.signature


@dataclass(frozen=True, eq=False, repr=False)
class TaskNode(_OfTask[T_co, E_co]):
    """A node that runs a task.

    Attributes:
        fn: The task.
        args: Must be empty. Pass arguments by name in ``kwargs``, or use `TaskFunction.node` to pass them by position.
    """

    fn: NodeTask[T_co, E_co]

    def result_codec(self) -> ResultCodec:
        """Return the result codec of the task."""
        return self.task.result


@dataclass(frozen=True, eq=False, repr=False)
class MapNode(_OfTask[list[TaskResult[T_co, E_co]]], Generic[T_co, E_co]):
    """A node that runs a task once for each item of the list that another node returned.

    Attributes:
        fn: The task. Its one required parameter that is not bound gets the item.
        over: The node that returns the list.
        max_parallel: The largest number of its tasks that are live at the same time; None: no limit.
    """

    kind: ClassVar[str] = "map"

    fn: NodeTask[T_co, E_co]
    over: "AnyNode" = field(kw_only=True)
    max_parallel: int | None = field(default=None, kw_only=True)

    def result_codec(self) -> ResultCodec:
        """Return the codec for a list of results of the task."""
        return list_codec(self.task.result)


def is_map(node: AnyNode) -> TypeIs[MapNode[Any, Any]]:
    """Whether a node is a map node."""
    return isinstance(node, MapNode)


@dataclass(frozen=True, eq=False, repr=False)
class SubWorkflowNode(Node[T_co]):
    """A node that runs another workflow as a child run. Its result is the output of that workflow.

    Attributes:
        workflow_def: The definition of the child run. ``kwargs`` and ``args_from`` are passed to its ``build_with``.
    """

    kind: ClassVar[str] = "workflow"

    workflow_def: "type[WorkflowDefinition[T_co]]"

    @property
    def name(self) -> str:
        """The name of the workflow that the node runs."""
        return self.workflow_def.name

    @property
    def task_name(self) -> str:
        """The name of the task that builds the child run."""
        return BUILD_TASK + self.workflow_def.definition_key

    def signature(self) -> SignatureCodec | None:
        """Return the parameters of the overridden ``build_with`` of the definition; None if it is not overridden."""
        return self.workflow_def.signature()

    def result_codec(self) -> ResultCodec:
        """Return the codec for the output of the child run, with `SubWorkflowError` as the error type."""
        return _output_codec(self.workflow_def.output_type())


@lru_cache(maxsize=1024)
def list_codec(item: ResultCodec) -> ResultCodec:
    """Return the result codec of a map node for the result codec of its task."""
    return ResultCodec(cast("Any", list)[item.annotation])


class _OutputCodec(ResultCodec):
    """The result codec of a sub-workflow node. Its error is a `SubWorkflowError`, or the error of the output node."""

    def decode_error(self, payload: bytes | str) -> TaskError:
        try:
            return super().decode_error(payload)
        except InvalidJson:
            raise
        except CodecError:
            return _ANY_ERROR.decode_error(payload)


_ANY_ERROR = ResultCodec(object)


@lru_cache(maxsize=1024)
def _output_codec(output: Any) -> ResultCodec:
    return _OutputCodec(output, SubWorkflowError)


@dataclass(frozen=True, slots=True)
class Source:
    """The marker that `from_node` actually returns. The builders replace it by a dependency on the node."""

    node: AnyNode
