"""Sends the task of a form, or says what is wrong with the form."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from horsies.codec.problems import CodecError
from horsies.codec.typed_texts import choose_meanings, meanings
from horsies.db.operations import UNSET
from horsies.events import without_event
from horsies.plain import short_repr
from horsies.producer.keys import wrong_task_key
from horsies.producer.options import wrong_delay, wrong_priority
from horsies.producer.send import Producer, TaskSendOptions
from horsies.rendering import printable_line
from horsies.result import Err
from horsies.task import TaskSender
from horsies.tasks.registry import Registry, TaskDefinition
from horsies.web.pages.send import ARGUMENT, OPTIONS, Form, Problems, make_form, task_of
from horsies.web.parameters import Parameters, refuse

_LEAST_TOKEN = 8
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Sent:
    """A task that was sent, or that an earlier sending of the same form has sent."""

    task_id: str


async def send_form(registry: Registry, producer: Producer, fields: Parameters, *, who: str) -> Sent | Form:
    """Send the task of a form, and record it in the name of the user.

    Returns:
        The id of the task; or the form again, with what is wrong with it. In that case nothing was sent.
    """
    definition = task_of(registry, fields.exact("task"))
    token = fields.exact("token")
    if len(token) < _LEAST_TOKEN:
        refuse(f"token must have at least {_LEAST_TOKEN} characters: a new one for each task that is to be sent")
    # Browsers send each line break of a field as CR LF.
    arguments = {name: value.replace("\r\n", "\n") for name, value in fields.group(ARGUMENT).items()}
    options = {name: fields.text(name) if name != "key" else fields.exact(name) for name in OPTIONS}
    chosen, wrong_options = _read_options(options, token, who)
    call, wrong_arguments = _read_arguments(definition, arguments)
    if wrong_arguments or wrong_options:
        return make_form(definition, arguments, options, Problems(wrong_arguments, wrong_options))
    args, kwargs = call
    with without_event("task.send_failed"):  # the form says why the task was not sent
        sent = await TaskSender[..., Any](definition, producer, chosen).send_async(*args, **kwargs)
    if isinstance(sent, Err):
        problem = f"The task was not sent: {sent.err_value.code}: {printable_line(sent.err_value.message)}"
        return make_form(definition, arguments, options, Problems(whole=problem))
    return Sent(sent.ok_value.task_id)


def _read_arguments(
    definition: TaskDefinition, texts: Mapping[str, str]
) -> tuple[tuple[tuple[Any, ...], dict[str, Any]], dict[str, str]]:
    """Return the arguments of the call, and what is wrong with each text. An empty text stands for a default."""
    signature = definition.signature
    unknown = [name for name in texts if name not in signature.parameters]
    if unknown:
        refuse(f"the task has no parameter {printable_line(unknown[0][:100])}")
    given = {name: meanings(text) for name, text in texts.items() if text or name in signature.required}
    wrong: dict[str, str] = {}
    for name, each in given.items():
        problem = _wrong_argument(definition, name, each)
        if problem is not None:
            wrong[name] = "an argument is required" if not texts[name] else problem
    wrong |= {name: "an argument is required" for name in signature.required if name not in given}
    if wrong:
        return ((), {}), wrong
    try:
        return choose_meanings(signature, given), {}
    except CodecError as error:
        return ((), {}), {error.parameter or next(iter(given), ""): error.message}


def _wrong_argument(definition: TaskDefinition, name: str, possible: list[str]) -> str | None:
    """Return why an argument does not fit its parameter; None: one of its meanings fits."""
    problems: list[str] = []
    for each in possible:
        try:
            definition.signature.decode_argument(name, each)
        except CodecError as error:
            problems.append(printable_line(str(CodecError(error.path[1:], error.message))))
        else:
            return None
    return problems[0]


def _read_options(texts: Mapping[str, str], token: str, who: str) -> tuple[TaskSendOptions, dict[str, str]]:
    found: dict[str, object] = {name: _number(texts[name]) for name in ("delay", "priority") if texts[name]}
    wrong = {
        "delay": wrong_delay(found.get("delay", 0)),
        "priority": wrong_priority(found.get("priority")),
        "key": _wrong_key(texts["key"]),
    }
    problems = {name: problem for name, problem in wrong.items() if problem is not None}
    if problems:
        return TaskSendOptions(), problems
    delay, priority = found.get("delay", 0), found.get("priority")
    options = TaskSendOptions(
        delay=delay if isinstance(delay, int | float) else 0.0,
        priority=priority if isinstance(priority, int) else None,
        key=texts["key"] or UNSET,
        idempotency_key=f"web:{token}",
        who=who,
    )
    return options, {}


def _wrong_key(key: str) -> str | None:
    """Return why a key is invalid, or None if it is valid. The field of a form has one line."""
    if "\n" in key or "\r" in key:
        return f"key must not have line breaks here: send such a task from code, got {short_repr(key)}"
    return wrong_task_key(key or None)


def _number(text: str) -> object:
    """Return a number as such. Another text is returned as it is, and refused with the name of the option.

    Python's own ``int`` and ``float`` would also accept ``1_0``, ``nan`` and digits of other scripts.
    """
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
