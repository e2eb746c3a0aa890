"""The typed builders that `TaskFunction.node` and `TaskFunction.map` return, and `from_node`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, cast

from horsies.codec.problems import show_value
from horsies.errors import ErrorCode, WorkflowValidationError, caller_location, report
from horsies.suggestions import suggest
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.registry import TaskDefinition
from horsies.workflows.nodes import FILLED_IN, AnyNode, Join, MapNode, Node, NodeTask, Source, TaskNode, is_node, listed


def from_node[T, E: TaskError](node: Node[T, E]) -> TaskResult[T, E]:
    """Pass the result of a node as an argument of another node, which then waits for that node.

    For a type checker the return value is the result itself, so that its type must fit the parameter.

    Raises:
        WorkflowValidationError: HRS-008: ``node`` is not a node.
    """
    if not is_node(node):
        raise WorkflowValidationError(
            ErrorCode.WORKFLOW_INVALID_ARGS_FROM,
            f"from_node() got {show_value(node)}, which is not a node",
            location=caller_location(),
            help_text=_node_help(node),
        )
    return cast("TaskResult[T, E]", Source(node))


def _node_help(given: object) -> str:
    """Return the advice how to get a node from the object that was passed instead of one."""
    if isinstance(given, NodeFactory | MapFactory):
        return "call it with the arguments of the task: task.node(…)(arguments)"
    if isinstance(getattr(given, "definition", None), TaskDefinition):
        return "make a node of the task first: from_node(task.node()(arguments))"
    return "pass the return value of task.node()(…), task.map(…)(…), TaskNode(…) or SubWorkflowNode(…)"


class NodeOptions(TypedDict, total=False):
    """The options of `TaskFunction.node` and `TaskFunction.map`; see `Node` for their meaning.

    Arguments in ``kwargs`` and ``args_from`` are merged with the arguments of the factory. The node waits for the nodes
    in ``args_from``.
    """

    kwargs: Mapping[str, Any]
    args_from: Mapping[str, AnyNode]
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


_OPTIONS = sorted(NodeOptions.__optional_keys__)
_PLAIN_OPTIONS = frozenset(_OPTIONS) - {"kwargs", "args_from"}
"""The options whose values are validated only when a workflow is made."""


class NodeFactory[**P, T, E: TaskError = TaskError]:
    """Makes a node from the arguments of a task: ``resize.node(node_id="small")(from_node(load), size=100)``.

    `TaskFunction.node` makes it.
    """

    def __init__(self, fn: NodeTask[T, E], options: NodeOptions) -> None:
        self._fn = fn
        self._options = _known_options("node", fn.definition, options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskNode[T, E]:
        """Make a node. Other errors in the arguments are found when a workflow is made of the node.

        Raises:
            WorkflowValidationError: HRS-021: A parameter is bound more than once.
        """
        positional = self._fn.definition.signature.positional
        by_position: dict[str, Any] = dict(zip(positional, args, strict=False))
        _reject_duplicates(self._fn.definition, {"by position": by_position, "by name": kwargs})
        surplus = cast("tuple[()]", args[len(positional) :])
        return TaskNode(self._fn, args=surplus, **_wired(self._fn.definition, by_position | kwargs, self._options))


class MapFactory[T, E: TaskError = TaskError]:
    """Makes a map node from the arguments that all items share: ``resize.map(over=from_node(found))(size=100)``.

    `TaskFunction.map` makes it.
    """

    def __init__(self, fn: NodeTask[T, E], over: object, max_parallel: int | None, options: NodeOptions) -> None:
        self._fn = fn
        self._over = over.node if isinstance(over, Source) else over
        self._max_parallel = max_parallel
        self._options = _known_options("map", fn.definition, options)

    def __call__(self, **kwargs: Any) -> MapNode[T, E]:
        """Make a map node. The one required parameter that is omitted gets the item.

        Raises:
            WorkflowValidationError: HRS-021: A parameter is bound more than once.
        """
        over = cast("AnyNode", self._over)
        wired = _wired(self._fn.definition, kwargs, self._options, over)
        return MapNode(self._fn, over=over, max_parallel=self._max_parallel, **wired)


def _known_options(method: str, task: TaskDefinition, options: NodeOptions) -> NodeOptions:
    """Report options that nodes do not have, and return the others."""
    given = cast("Mapping[str, object]", options)
    if given.keys() <= _PLAIN_OPTIONS:
        return options
    wrong = dict(_wrong_options(method, task, given))
    report(
        WorkflowValidationError(
            ErrorCode.TASK_INVALID_OPTIONS, message, location=caller_location(), help_text=help_text
        )
        for message, help_text in wrong.values()
    )
    return cast("NodeOptions", {name: value for name, value in given.items() if name not in wrong})


def _wrong_options(
    method: str, task: TaskDefinition, options: Mapping[str, object]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the name of each invalid option, with the error message and the help text."""
    for name, value in options.items():
        if name in {"kwargs", "args_from"} and not isinstance(value, Mapping):
            message = f"{task.name}.{method}() got {name}={show_value(value)}, which is not a dict of arguments by name"
            yield name, (message, f'write {name}={{"parameter": …}}, or pass the arguments in the call that follows')
        elif name not in _OPTIONS:
            help_text = suggest(name, _OPTIONS) or f"the options are {', '.join(_OPTIONS)}"
            if name in task.signature.parameters:
                help_text = f"pass arguments in the second call: {task.signature.name}.{method}(…)({name}=…)"
            yield name, (f"{task.name}.{method}() has no option {name!r}", help_text)


def _reject_duplicates(task: TaskDefinition, bound: Mapping[str, Mapping[str, Any]]) -> None:
    """Report parameters that are bound more than once.

    Args:
        task: The task.
        bound: The arguments by the way in which they are bound, which the message names.
    """
    places: dict[str, list[str]] = {}
    for place, arguments in bound.items():
        for name in arguments:
            places.setdefault(name, []).append(place)
    report(
        WorkflowValidationError(
            ErrorCode.WORKFLOW_KWARGS_ARGS_FROM_OVERLAP,
            f"a node of task {task.name!r} binds {name!r} more than once: {' and '.join(where)}",
            location=caller_location(),
            help_text=f"bind {name!r} only once",
        )
        for name, where in places.items()
        if len(where) > 1
    )


def _wired(task: TaskDefinition, call: Mapping[str, Any], options: NodeOptions, *first: AnyNode) -> dict[str, Any]:
    """Merge the arguments of the call with those of the options, and separate values from nodes.

    The nodes among the arguments are added to ``waits_for``.
    """
    values, sources = options.get("kwargs", {}), options.get("args_from", {})
    _reject_duplicates(task, {"in the call": call, "in kwargs": values, "in args_from": sources})
    arguments = {**values, **call}
    args_from = {**sources, **{name: value.node for name, value in arguments.items() if isinstance(value, Source)}}
    kwargs = {
        name: value
        for name, value in arguments.items()
        if name not in args_from and not (value is None and name in FILLED_IN)
    }
    before = (*listed(options.get("waits_for", ())), *first, *filter(is_node, args_from.values()))
    waits_for = tuple({id(node): node for node in before}.values())
    return {**options, "kwargs": kwargs, "args_from": args_from, "waits_for": waits_for}
