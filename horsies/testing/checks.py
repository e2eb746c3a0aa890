"""Checks of the arguments of `TestQueue`, whose messages name what it takes."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, cast

from horsies.task import TaskSender
from horsies.tasks.registry import Registry, TaskDefinition
from horsies.testing.errors import DrainRefusedError
from horsies.workflows.spec import WorkflowSpec

_SHOWN_NAMES = 20


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; None: there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def refuse_in_loop(method: str, instead: str) -> None:
    """Refuse a blocking method while an event loop runs in this thread.

    Raises:
        DrainRefusedError: A loop runs.
    """
    if running_loop() is not None:
        msg = f"{method} blocks, and an event loop runs in this thread: use {instead}"
        raise DrainRefusedError(msg)


def at_least_one(method: str, parameter: str, number: int) -> None:
    """Refuse a number below 1.

    Raises:
        ValueError: It is below 1.
    """
    if number < 1:
        msg = f"{method} takes {parameter}=1 or more, got {number}"
        raise ValueError(msg)


def check_count(count: object) -> None:
    """Check the count of `assert_sent`.

    Raises:
        ValueError: It is no number of tasks.
    """
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        msg = f"assert_sent takes count=0 or more, or None for at least once, got {count!r}"
        raise ValueError(msg)


def check_until(until: Callable[[], bool] | None) -> None:
    """Check the function at which drain stops.

    Raises:
        TypeError: It is no function that can be called here.
    """
    if until is not None and (not callable(until) or iscoroutinefunction(until)):
        msg = f"drain takes until=a def function without parameters that returns a bool, got {until!r}"
        raise TypeError(msg)


def definition_of(method: str, task: object) -> TaskDefinition:
    """Return the definition of a task.

    Raises:
        TypeError: It is no task.
    """
    if not isinstance(task, TaskSender):
        hint = "; queue.start(…) starts a workflow" if method == "run" and hasattr(task, "start") else ""
        msg = f"{method} takes a task, a function that is decorated with @app.task, got {task!r}{hint}"
        raise TypeError(msg)
    return cast("TaskSender[..., Any, Any]", task).definition


def check_spec(spec: object) -> None:
    """Check the workflow that `start` is to start.

    Raises:
        TypeError: It is no workflow.
    """
    if not isinstance(spec, WorkflowSpec):
        hint = "; queue.run(…) runs a task" if isinstance(spec, TaskSender) else ""
        msg = f"start takes a workflow, which app.workflow(…) returns for example, got {spec!r}{hint}"
        raise TypeError(msg)


def check_names(registry: Registry, arguments: Mapping[str, Any]) -> None:
    """Check the arguments by which `sent` selects among all tasks.

    Raises:
        TypeError: No task has a parameter of such a name.
    """
    signatures = [registry.get(task).signature for task in registry.names]
    for name in arguments:
        if not any(each.parameter(name) for each in signatures):
            known = dict.fromkeys(parameter for each in signatures for parameter in each.parameters)
            msg = f"no task of the app has a parameter {name!r}; there are: {_listed(known)}"
            raise TypeError(msg)


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    further = f" and {len(found) - _SHOWN_NAMES} more" if len(found) > _SHOWN_NAMES else ""
    return (", ".join(found[:_SHOWN_NAMES]) or "none") + further
