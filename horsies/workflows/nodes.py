"""The nodes of a workflow, and the typed builders that `TaskFunction.node` and `TaskFunction.map` return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypedDict, TypeIs, TypeVar, cast

from horsies.codec.signature import SignatureCodec
from horsies.codec.wire import ResultCodec
from horsies.errors import SourceLocation, caller_line, frame_location
from horsies.handle import TaskHandle
from horsies.outcome import TaskError, TaskResult
from horsies.registry import TaskDefinition
from horsies.sending import Producer
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

type Join = Literal["all", "any", "quorum"]


class WorkflowContextMissingIdError(ValueError):
    """A node was asked for by its id and has none: give it ``node_id=``, or make it an attribute of a definition."""


class NodeTask[T](Protocol):
    """What a node needs of its task: a `TaskFunction` has it."""

    @property
    def definition(self) -> TaskDefinition:
        """All that is known of the task."""
        ...

    @property
    def producer(self) -> Producer:
        """What its app sends with."""
        ...

    def handle(self, task_id: str) -> TaskHandle[T]:
        """A handle of one of its tasks."""
        ...


@dataclass(frozen=True, slots=True)
class NodeKey[T = Any]:
    """A node by its id, for asking for its result where the node itself is not at hand."""

    node_id: str


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Node(Generic[T_co]):  # noqa: UP046 - its variance is declared
    """A place in a workflow, whose result is of type ``T``. Frozen: specs share nodes and never change them.

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

    def key(self) -> NodeKey[T_co]:
        """Its key.

        Raises:
            WorkflowContextMissingIdError: it has no ``node_id``.
        """
        return NodeKey(required_id(self))


type AnyNode = Node[Any]
"""A node of whatever kind and result."""


def is_node(value: object) -> TypeIs[AnyNode]:
    """Tell whether something is a node at all."""
    return isinstance(value, Node)


def listed(nodes: object) -> Sequence[Any]:
    """What should be a list of nodes; anything else counts as one entry, which then is found to be no node."""
    return cast("Sequence[Any]", nodes) if isinstance(nodes, list | tuple) else [nodes]


def required_id(node: AnyNode | NodeKey[Any]) -> str:
    """The id of a node or key.

    Raises:
        WorkflowContextMissingIdError: the node has none.
    """
    if node.node_id is None:
        msg = f"{node!r} has no node_id: give it one, or make it an attribute of a WorkflowDefinition"
        raise WorkflowContextMissingIdError(msg)
    return node.node_id


@dataclass(frozen=True, eq=False, repr=False)
class _OfTask(Node[T_co]):
    fn: NodeTask[Any]
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
class TaskNode(_OfTask[T_co]):
    """A node that runs a task.

    Attributes:
        fn: the task.
        args: stays empty: arguments are given by name, in ``kwargs``; `TaskFunction.node` takes them by position.
    """

    fn: NodeTask[T_co]

    def result_codec(self) -> ResultCodec:
        """That of its task."""
        return self.task.result


@dataclass(frozen=True, eq=False, repr=False)
class MapNode(_OfTask[list[TaskResult[T_co, TaskError]]], Generic[T_co]):  # noqa: UP046 - its variance is declared
    """A node that runs a task once for each item of the list that another node returned.

    Attributes:
        fn: the task; the one required parameter that is not bound gets the item.
        over: the node that returns the list.
        max_parallel: so many of its tasks are live at once; None: all.
    """

    kind: ClassVar[str] = "map"

    fn: NodeTask[T_co]
    over: "AnyNode" = field(kw_only=True)
    max_parallel: int | None = field(default=None, kw_only=True)

    def result_codec(self) -> ResultCodec:
        """A list of the results of its task."""
        return list_codec(self.task.result)


def is_map(node: AnyNode) -> TypeIs[MapNode[Any]]:
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


@lru_cache(maxsize=1024)
def _output_codec(output: Any) -> ResultCodec:
    return ResultCodec(output, SubWorkflowError)


@dataclass(frozen=True, slots=True)
class Source:
    """What `from_node` really returns: a mark for the builder that gets it."""

    node: AnyNode


def from_node[T](node: Node[T]) -> TaskResult[T, TaskError]:
    """Stand for the result of a node among the arguments of a builder, which wires it and waits for the node.

    A type checker takes it for the result itself, so that it must fit the parameter.
    """
    return cast("TaskResult[T, TaskError]", Source(node))


class NodeOptions(TypedDict, total=False):
    """The options of `TaskFunction.node`, which are those of a `TaskNode`."""

    waits_for: Sequence[AnyNode]
    workflow_ctx_from: Sequence[AnyNode] | None
    node_id: str | None
    queue: str | None
    priority: int | None
    allow_failed_deps: bool
    join: Join
    min_success: int | None
    good_until: datetime | None
    timeout_ms: int | None


class NodeFactory[**P, T]:
    """Takes the arguments of a task and makes a node: ``resize.node(node_id="small")(from_node(load), size=100)``."""

    def __init__(self, fn: NodeTask[T], options: NodeOptions) -> None:
        """Made by `TaskFunction.node`."""
        self._fn = fn
        self._options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskNode[T]:
        """Make a node. Wrong arguments are found when a workflow is made of it."""
        names = [name for name in self._fn.definition.signature.parameters if name not in kwargs]
        named = dict(zip(names, args, strict=False)) | kwargs
        surplus = cast("tuple[()]", args[len(names) :])
        return TaskNode(self._fn, args=surplus, **_wired(named, self._options))


class MapFactory[T]:
    """Takes the arguments that all items share and makes a node: ``resize.map(over=from_node(found))(size=100)``."""

    def __init__(self, fn: NodeTask[T], over: object, max_parallel: int | None, options: NodeOptions) -> None:
        """Made by `TaskFunction.map`."""
        self._fn = fn
        self._over = over.node if isinstance(over, Source) else over
        self._max_parallel = max_parallel
        self._options = options

    def __call__(self, **kwargs: Any) -> MapNode[T]:
        """Make a node; the one required parameter that is left out gets the item."""
        over = cast("AnyNode", self._over)
        wired = _wired(kwargs, self._options, over)
        return MapNode(self._fn, over=over, max_parallel=self._max_parallel, **wired)


def _wired(arguments: Mapping[str, Any], options: NodeOptions, *first: AnyNode) -> dict[str, Any]:
    """Part arguments from sources, which become dependencies."""
    args_from = {name: value.node for name, value in arguments.items() if isinstance(value, Source)}
    kwargs = {
        name: value
        for name, value in arguments.items()
        if name not in args_from and not (value is None and name in FILLED_IN)
    }
    before = (*listed(options.get("waits_for", ())), *first, *args_from.values())
    waits_for = tuple({id(node): node for node in before}.values())
    return {**options, "kwargs": kwargs, "args_from": args_from, "waits_for": waits_for}
