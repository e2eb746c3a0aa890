"""The nodes of a workflow; what makes them from tasks is in `horsies.workflows.builders`."""

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

# Nodes are frozen, so a node of int is one of float; checkers infer otherwise from the __replace__ of a dataclass.
T_co = TypeVar("T_co", covariant=True)
E_co = TypeVar("E_co", covariant=True, bound=TaskError, default=TaskError)

type Join = Literal["all", "any", "quorum"]


class WorkflowContextMissingIdError(ValueError):
    """A node was asked for by its id and has none: give it ``node_id=``, or make it an attribute of a definition."""


class NodeTask[T, E: TaskError = TaskError](Protocol):
    """What a node needs of its task: a `TaskFunction` has it."""

    @property
    def definition(self) -> TaskDefinition:
        """All that is known of the task."""
        ...

    @property
    def producer(self) -> Producer:
        """What its app sends with."""
        ...

    def handle(self, task_id: str) -> TaskHandle[T, E]:
        """A handle of one of its tasks."""
        ...


@dataclass(frozen=True, slots=True)
class NodeKey[T = Any, E: TaskError = TaskError]:
    """A node by its id, for asking for its result where the node itself is not at hand."""

    node_id: str


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Node(Generic[T_co, E_co]):
    """A place in a workflow, whose result is a ``TaskResult[T, E]``. Frozen: specs share nodes and never change them.

    Attributes:
        kwargs: arguments by parameter.
        waits_for: the nodes that come before it.
        args_from: parameter to the node whose whole `TaskResult` it gets; such nodes are in ``waits_for``, too.
        workflow_ctx_from: nodes whose results the parameter ``workflow_ctx`` gives access to; in ``waits_for``, too.
        node_id: 1 to 128 of ``A-Z a-z 0-9 _ - : .``; default: the attribute's name in a definition, else made of the
            workflow's name and the node's index.
        queue: default: the task's.
        priority: 1 (first) to 100; default: the queue's.
        allow_failed_deps: with ``join="all"``, run although a dependency failed or was skipped.
        join: when it becomes ready: all of its dependencies have ended, any or ``min_success`` of them completed.
        min_success: for ``join="quorum"``.
        good_until: aware; a task not started by then is EXPIRED and its node FAILED.
        timeout_ms: of an attempt, from its start, at least 100; default: the task's.
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
        """Show the id, else where it was made; never its dependencies, which may be many."""
        return f"<{self.kind} node {self.node_id!r}>" if self.node_id else f"<{self.kind} node made at {self.location}>"

    @property
    def location(self) -> SourceLocation | None:
        """Where it was made."""
        return None if self.line is None else frame_location(*self.line)

    @property
    def index(self) -> int | None:
        """Its index in the workflow that it belongs to: that of `WorkflowTaskInfo` and ``dependency_index``.

        None before a workflow is made of it, and while workflows that share it have it at different indexes; then
        `WorkflowSpec.index_of` answers for one of them.
        """
        return _indexes.get(self)

    @property
    def name(self) -> str:
        """The name of its task, or of the workflow that it runs."""
        return self.task_name

    @property
    def task_name(self) -> str:
        """The name of the task that it runs."""
        raise NotImplementedError

    @property
    def task(self) -> TaskDefinition | None:
        """The task of the app that it runs; None: it runs a workflow."""
        return None

    def signature(self) -> SignatureCodec | None:
        """The parameters it takes; None: none at all."""
        raise NotImplementedError

    def result_codec(self) -> ResultCodec:
        """How its results are written and read."""
        raise NotImplementedError

    def key(self) -> NodeKey[T_co, E_co]:
        """Its key.

        Raises:
            WorkflowContextMissingIdError: it has no ``node_id``.
        """
        return NodeKey(required_id(self))


type AnyNode = Node[Any, Any]
"""A node of whatever kind and result."""

_indexes: WeakKeyDictionary[AnyNode, int | None] = WeakKeyDictionary()
"""What `Node.index` answers. It is kept beside the nodes, which are frozen; None: workflows differ."""


def note_indexes(nodes: Sequence[AnyNode]) -> None:
    """Note the indexes of the nodes of a workflow for `Node.index`."""
    for index, node in enumerate(nodes):
        if _indexes.setdefault(node, index) != index:
            _indexes[node] = None


def is_node(value: object) -> TypeIs[AnyNode]:
    """Tell whether something is a node at all."""
    return isinstance(value, Node)


def listed(nodes: object) -> Sequence[Any]:
    """What should be a list of nodes; anything else counts as one entry, which then is found to be no node."""
    return cast("Sequence[Any]", nodes) if isinstance(nodes, list | tuple) else [nodes]


def required_id(node: AnyNode | NodeKey[Any, Any]) -> str:
    """The id of a node or key.

    Raises:
        WorkflowContextMissingIdError: the node has none.
    """
    if node.node_id is None:
        msg = f"{node!r} has no node_id: give it one, or make it an attribute of a WorkflowDefinition"
        raise WorkflowContextMissingIdError(msg)
    return node.node_id


@dataclass(frozen=True, eq=False, repr=False)
class _OfTask(Node[T_co, E_co]):
    fn: NodeTask[Any, Any]
    args: tuple[()] = field(default=(), kw_only=True)

    @property
    def task(self) -> TaskDefinition:
        """What ``fn`` is made of."""
        return self.fn.definition

    @property
    def task_name(self) -> str:
        """The name of its task."""
        return self.task.name

    def signature(self) -> SignatureCodec:
        """The parameters of its task."""
        return self.task.signature


@dataclass(frozen=True, eq=False, repr=False)
class TaskNode(_OfTask[T_co, E_co]):
    """A node that runs a task.

    Attributes:
        fn: the task.
        args: stays empty: arguments are given by name, in ``kwargs``; `TaskFunction.node` takes them by position.
    """

    fn: NodeTask[T_co, E_co]

    def result_codec(self) -> ResultCodec:
        """That of its task."""
        return self.task.result


@dataclass(frozen=True, eq=False, repr=False)
class MapNode(_OfTask[list[TaskResult[T_co, E_co]]], Generic[T_co, E_co]):
    """A node that runs a task once for each item of the list that another node returned.

    Attributes:
        fn: the task; the one required parameter that is not bound gets the item.
        over: the node that returns the list.
        max_parallel: so many of its tasks are live at once; None: all.
    """

    kind: ClassVar[str] = "map"

    fn: NodeTask[T_co, E_co]
    over: "AnyNode" = field(kw_only=True)
    max_parallel: int | None = field(default=None, kw_only=True)

    def result_codec(self) -> ResultCodec:
        """A list of the results of its task."""
        return list_codec(self.task.result)


def is_map(node: AnyNode) -> TypeIs[MapNode[Any, Any]]:
    """Tell whether a node runs over a list."""
    return isinstance(node, MapNode)


@dataclass(frozen=True, eq=False, repr=False)
class SubWorkflowNode(Node[T_co]):
    """A node that runs a whole workflow and has its output for a result.

    Attributes:
        workflow_def: what to build the child run of; ``kwargs`` and ``args_from`` go to its ``build_with``.
    """

    kind: ClassVar[str] = "workflow"

    workflow_def: "type[WorkflowDefinition[T_co]]"

    @property
    def name(self) -> str:
        """The name of the workflow that it runs."""
        return self.workflow_def.name

    @property
    def task_name(self) -> str:
        """The name of the task that builds the child run."""
        return BUILD_TASK + self.workflow_def.definition_key

    def signature(self) -> SignatureCodec | None:
        """The parameters of the definition's own ``build_with``."""
        return self.workflow_def.signature()

    def result_codec(self) -> ResultCodec:
        """The output of the child run, or a `SubWorkflowError`."""
        return _output_codec(self.workflow_def.output_type())


@lru_cache(maxsize=1024)
def list_codec(item: ResultCodec) -> ResultCodec:
    """How the result of a map node is read, its task's codec given."""
    return ResultCodec(cast("Any", list)[item.annotation])


class _OutputCodec(ResultCodec):
    """Reads results of a sub-workflow's node: the error is of the child run, or the output node's own, of any class."""

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
    """What `from_node` really returns: a mark for the builder that gets it."""

    node: AnyNode
