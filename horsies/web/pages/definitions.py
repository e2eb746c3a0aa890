"""The registered definitions: tasks and workflows that this app declares, and tasks that workers have."""

from collections.abc import Sequence
from dataclasses import dataclass

from horsies.codec.problems import show_type
from horsies.db.queries.rows import WorkerStats
from horsies.errors import HorsiesError
from horsies.tasks.hooks import name_of
from horsies.tasks.registry import TaskDefinition, WorkflowBuilder
from horsies.web.graph_layout import lay_out
from horsies.web.pages import common
from horsies.web.pages.signatures import Parameter, parameters_of
from horsies.web.run_drawing import Box, Drawing, declared_box
from horsies.web.visit import Visit
from horsies.workflows.definition import AnyDefinition, definitions
from horsies.workflows.nodes import AnyNode, is_map

_MOST = 300
_MOST_NODES = 100
_BUILT_IN = "horsies."


@dataclass(frozen=True, slots=True)
class DeclaredTask:
    """A task that the app declares.

    Attributes:
        name: Its name.
        queue_name: Its queue.
        parameters: Its parameters.
        retries: How often a failed attempt is retried at most.
        retried_codes: The error codes that are retried.
        timeout_ms: How long an attempt may run, in milliseconds; None: no limit.
        is_unique: Whether at most one such task may be live.
        key_by: The parameters whose arguments are its key; empty: it has no key.
        source: The line of source code that defines it.
        workers: How many live workers have it and serve its queue.
    """

    name: str
    queue_name: str
    parameters: tuple[Parameter, ...]
    retries: int
    retried_codes: tuple[str, ...]
    timeout_ms: int | None
    is_unique: bool
    key_by: tuple[str, ...]
    source: str
    workers: int


@dataclass(frozen=True, slots=True)
class DeclaredWorkflow:
    """A workflow that the app declares.

    Attributes:
        title: The name of the workflow or, of a builder, the name of the function.
        key: The key of the definition; None: a function builds it.
        source: The line of source code that defines it.
        arguments: The arguments that build it: the parameters of ``build_with`` or of the function, as source code.
        drawing: Its graph. None: a function builds it, or it has more than 100 nodes.
        nodes: How many nodes it has; None: a function builds them.
        problem: The mistake in its definition; None: there is none.
    """

    title: str
    key: str | None
    source: str
    arguments: str | None
    drawing: Drawing | None
    nodes: int | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Definitions:
    """The data of the page.

    Attributes:
        task: The name of the only task to show; empty: all are shown.
        tasks: The tasks, by name.
        more_tasks: How many of them are not listed.
        workflows: The workflows.
        more_workflows: How many of them are not listed.
        others: Names of tasks that live workers have and the app of this page does not declare, without built-in ones.
        has_workers: Whether a worker is alive.
    """

    task: str
    tasks: tuple[DeclaredTask, ...]
    more_tasks: int
    workflows: tuple[DeclaredWorkflow, ...]
    more_workflows: int
    others: tuple[str, ...]
    has_workers: bool


async def load(visit: Visit) -> Definitions:
    """Read the page."""
    registry, task = visit.registry, visit.parameters.exact("task")
    live = [each for each in await common.workers(visit) if not each.is_stale]
    names = [name for name in registry.names if task in {"", name}]
    workflows = [*map(_defined, definitions().values()), *map(_built, registry.builders)] if not task else []
    others = {name for each in live for name in each.task_names if not name.startswith(_BUILT_IN)}
    others -= set(registry.names)
    return Definitions(
        task=task,
        tasks=tuple(_task(registry.get(name), live) for name in names[:_MOST]),
        more_tasks=max(len(names) - _MOST, 0),
        workflows=tuple(workflows[:_MOST]),
        more_workflows=max(len(workflows) - _MOST, 0),
        others=tuple(sorted(name for name in others if task in {"", name}))[:_MOST],
        has_workers=bool(live),
    )


def _task(definition: TaskDefinition, workers: Sequence[WorkerStats]) -> DeclaredTask:
    policy, keys = definition.retry_policy, definition.key_by
    serving = [each for each in workers if definition.name in each.task_names and definition.queue_name in each.queues]
    return DeclaredTask(
        name=definition.name,
        queue_name=definition.queue_name,
        parameters=parameters_of(definition.signature),
        retries=0 if policy is None else policy.max_retries,
        retried_codes=() if policy is None else tuple(map(str, policy.auto_retry_for)),
        timeout_ms=definition.timeout_ms,
        is_unique=definition.unique is not None,
        key_by=() if keys is None else (keys,) if isinstance(keys, str) else keys,
        source=str(definition.location),
        workers=len(serving),
    )


def _defined(definition: AnyDefinition) -> DeclaredWorkflow:
    nodes = definition.nodes()
    arguments, problem = None, None
    try:
        signature = definition.signature()
    except HorsiesError as error:  # a mistake in one definition must not hide the others
        problem = error.message
    else:
        if signature is not None:
            shown = (f"{name}: {show_type(each.annotation)}" for name, each in signature.parameters.items())
            arguments = ", ".join(shown)
    return DeclaredWorkflow(
        title=definition.name or definition.__name__,
        key=definition.definition_key,
        source=str(definition.location or ""),
        arguments=arguments,
        drawing=_drawing(nodes) if 0 < len(nodes) <= _MOST_NODES else None,
        nodes=len(nodes),
        problem=problem,
    )


def _drawing(nodes: Sequence[AnyNode]) -> Drawing:
    places = {node: index for index, node in enumerate(nodes)}
    layout = lay_out([[places[each] for each in _sources(node) if each in places] for node in nodes])
    boxes: tuple[Box, ...] = tuple(
        declared_box(node.kind, node.node_id or "", node.name, *layout.places[index])
        for index, node in enumerate(nodes)
    )
    return Drawing(layout.width, layout.height, boxes, layout.edges, (), are_groups=False, more_boxes=0, more_edges=0)


def _sources(node: AnyNode) -> list[AnyNode]:
    return [*node.waits_for, *node.args_from.values(), *([node.over] if is_map(node) else [])]


def _built(builder: WorkflowBuilder) -> DeclaredWorkflow:
    function = builder.fn
    hints = [f"{name}: {show_type(hint)}" for name, hint in _annotations(builder).items() if name != "return"]
    return DeclaredWorkflow(
        title=name_of(function),
        key=None,
        source=str(builder.location),
        arguments=", ".join(hints),
        drawing=None,
        nodes=None,
    )


def _annotations(builder: WorkflowBuilder) -> dict[str, object]:
    return dict(getattr(builder.fn, "__annotations__", {}))
