"""The form that sends a task. It is made from the signature of the task."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.exceptions import HTTPException

from horsies.config.queues import LAST_PRIORITY
from horsies.tasks.registry import Registry, TaskDefinition
from horsies.web.pages.signatures import Parameter, parameters_of
from horsies.web.visit import Visit

ARGUMENT = "arg."
"""The beginning of the names of form fields that are arguments of the task."""

OPTIONS = ("delay", "priority", "key")
"""The form fields that are options of the send."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form for an argument.

    Attributes:
        parameter: The parameter.
        value: The text to show in it. Secret ones are never shown again.
        problem: The mistake in it; None: there is none, or it was not sent yet.
    """

    parameter: Parameter
    value: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Form:
    """The form for a task.

    Attributes:
        task_name: The task.
        queue_name: Its queue.
        source: The line of source code that defines it.
        token: Identifies this form, so that the task is sent once if the form is sent twice.
        fields: The arguments.
        options: The texts of the options.
        option_problems: The mistakes in options, by option.
        problem: The mistake of the form as a whole; None: there is none, or it was not sent yet.
        last_priority: The largest priority.
    """

    task_name: str
    queue_name: str
    source: str
    token: str
    fields: tuple[Field, ...]
    options: dict[str, str]
    option_problems: dict[str, str]
    problem: str | None
    last_priority: int = LAST_PRIORITY


@dataclass(frozen=True, slots=True)
class Send:
    """The data of the page.

    Attributes:
        names: The tasks that can be sent.
        form: The form for the chosen task; None: none is chosen.
    """

    names: tuple[str, ...]
    form: Form | None


@dataclass(frozen=True, slots=True)
class Problems:
    """The mistakes in a form that was sent.

    Attributes:
        arguments: By parameter.
        options: By option.
        whole: The mistake of the form as a whole; None: there is none.
    """

    arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    whole: str | None = None


async def load(visit: Visit) -> Send:
    """Read the page. It sends nothing."""
    name = visit.parameters.exact("task")
    names = tuple(visit.registry.names)
    return Send(names, make_form(task_of(visit.registry, name)) if name else None)


def task_of(registry: Registry, name: str) -> TaskDefinition:
    """Return the task of a name.

    Raises:
        HTTPException: 404: the app does not declare it.
    """
    if name not in registry:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The app of this page declares no task of this name.")
    return registry.get(name)


def make_form(
    definition: TaskDefinition,
    arguments: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    problems: Problems | None = None,
) -> Form:
    """Make the form for a task, also again with what was sent and what is wrong with it."""
    given, found = arguments or {}, problems or Problems()
    return Form(
        task_name=definition.name,
        queue_name=definition.queue_name,
        source=str(definition.location),
        token=secrets.token_urlsafe(18),
        fields=tuple(
            Field(each, "" if each.is_secret else given.get(each.name, ""), found.arguments.get(each.name))
            for each in parameters_of(definition.signature)
        ),
        options={name: (options or {}).get(name, "") for name in OPTIONS},
        option_problems=dict(found.options),
        problem=found.whole,
    )
