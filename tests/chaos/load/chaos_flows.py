"""The workflows of the chaos harness, and the tasks of their nodes, which follow a plan."""

from typing import Any

from chaos_effects import effect_step
from chaos_plans import FAILS, child_plan, plan, square_of
from chaos_tasks import AGAIN, app, note, sleep

from horsies import (
    Horsies,
    SubWorkflowNode,
    SuccessCase,
    SuccessPolicy,
    TaskError,
    TaskNode,
    TaskResult,
    WorkflowDefinition,
    WorkflowSpec,
    from_node,
)

type Number = TaskResult[int, TaskError]
type Numbers = TaskResult[list[int], TaskError]


def through[T](result: T | None) -> TaskResult[T, TaskError]:
    """Note the start, wait a moment in which a fault may happen, and note the end. Fail if there is no result."""
    note("begin")
    sleep(0.1)
    note("end")
    return TaskResult(err=TaskError(error_code=FAILS)) if result is None else TaskResult(ok=result)


@app.task("step", queue_name="main", retry_policy=AGAIN)
def step(value: int, fails: bool) -> Number:  # noqa: FBT001
    return through(None if fails else value)


@app.task("sum_up", queue_name="main", retry_policy=AGAIN)
def sum_up(value: int, fails: bool, before: Number) -> Number:  # noqa: FBT001
    return through(None if fails else value + (before.ok or 0))


@app.task("numbers", queue_name="main", retry_policy=AGAIN)
def numbers(value: int) -> Numbers:
    return through(list(range(value)))


@app.task("square", queue_name="main", retry_policy=AGAIN)
def square(value: int) -> Number:
    return through(square_of(value))


@app.task("total", queue_name="main", retry_policy=AGAIN)
def total(parts: TaskResult[list[Number], TaskError]) -> Number:
    return through(sum(part.ok or 0 for part in parts.unwrap()))


TASKS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "step": (step, ("value", "fails")),
    "effect_step": (effect_step, ("value", "fails")),
    "sum_up": (sum_up, ("value", "fails")),
    "numbers": (numbers, ("value",)),
    "total": (total, ()),
}
"""The tasks of nodes, with the parameters that the plan gives them."""


class Child(WorkflowDefinition[int]):
    name = "child"
    definition_key = "chaos.child"

    @classmethod
    def build_with(cls, app: Horsies, value: int) -> WorkflowSpec[int]:
        del app
        return build("child", child_plan(value), cls.definition_key)


@app.workflow_builder(cases=[{"name": f"example-{number}"} for number in range(8)])
def flow(name: str) -> WorkflowSpec[Any]:
    """Return the workflow that is planned under this name."""
    return build(name, plan(name), name)


def build(name: str, document: dict[str, Any], key: str) -> Any:
    """Build the workflow that a document describes."""
    nodes: list[Any] = []
    for planned in document["nodes"]:
        nodes.append(_node(planned, nodes))
    cases = document["cases"]
    policy = cases and SuccessPolicy([SuccessCase([nodes[index] for index in case]) for case in cases])
    output = None if document["output"] is None else nodes[document["output"]]
    return app.workflow(name, nodes, output=output, success_policy=policy, definition_key=key)


def _node(planned: dict[str, Any], nodes: list[Any]) -> Any:
    node_id, waits_for = planned["node_id"], [nodes[index] for index in planned["waits_for"]]
    value = {"value": planned["value"]}
    if planned["kind"] == "map":
        over = from_node(nodes[planned["over"]])
        return square.map(over=over, max_parallel=planned["max_parallel"], node_id=node_id)()
    if planned["kind"] == "workflow":
        return SubWorkflowNode(workflow_def=Child, kwargs=value, waits_for=waits_for, node_id=node_id)
    task, given = TASKS[planned["work"]]
    return TaskNode(
        task,
        kwargs={name: planned[name] for name in given},
        args_from={parameter: nodes[index] for parameter, index in planned["args_from"].items()},
        waits_for=waits_for,
        node_id=node_id,
        join=planned["join"],
        min_success=planned["min_success"],
        allow_failed_deps=planned["allow_failed_deps"],
    )
