"""The tasks that a test has sent, and the comparison with those that it expected."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from horsies.codec.problems import CodecError
from horsies.codes import TaskStatus
from horsies.tasks.registry import TaskDefinition

_SHOWN_CHARACTERS = 64
LEFT_OUT = object()
"""Stands for an argument that was left out and has no default."""


@dataclass(frozen=True, slots=True)
class SentTask:
    """A task that was sent.

    Attributes:
        task_id: The id of the task.
        task_name: The name of the task.
        queue: The queue.
        priority: The priority.
        status: The present status.
        args: The arguments by parameter name, decoded with the annotations of the task. Defaults are not included.
        sent_at: When it was sent, by the clock of the database.
        run_at: When it is due, or was due: later than ``sent_at`` for a delayed task. A retry changes it.
        good_until: Until when it must have started; None: at any time.
    """

    task_id: str
    task_name: str
    queue: str
    priority: int
    status: TaskStatus
    args: Mapping[str, Any]
    sent_at: datetime
    run_at: datetime
    good_until: datetime | None

    def __str__(self) -> str:
        """Show the task as a call."""
        texts = {parameter: text_of(value) for parameter, value in self.args.items()}
        return call_of(self.task_name, texts, _SHOWN_CHARACTERS)


def call_of(name: str, texts: Mapping[str, str], limit: int) -> str:
    """Show a call, with the text of each argument cut to ``limit`` characters."""
    return f"{name}({', '.join(f'{parameter}={cut(text, 0, limit)}' for parameter, text in texts.items())})"


def text_of(value: Any) -> str:
    """Return the representation of an argument on one line."""
    return "(left out)" if value is LEFT_OUT else repr(value).replace("\n", " ")


def cut(text: str, start: int, limit: int) -> str:
    """Return a part of a text, with an ellipsis where something is missing."""
    end = start + limit
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def expected_arguments(definition: TaskDefinition, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the expected arguments by parameter name.

    Raises:
        TypeError: the task has no such parameters.
    """
    positional = definition.signature.positional
    if len(args) > len(positional):
        msg = f"{definition.name} takes {len(positional)} positional arguments, and {len(args)} are expected"
        raise TypeError(msg)
    expected = dict(zip(positional, args, strict=False))
    for name, value in kwargs.items():
        if definition.signature.parameter(name) is None:
            known = ", ".join(definition.signature.parameters) or "none"
            msg = f"{definition.name} has no parameter {name!r}; its parameters: {known}"
            raise TypeError(msg)
        if name in expected:
            msg = f"{definition.name}: the argument {name!r} is expected twice"
            raise TypeError(msg)
        expected[name] = value
    return expected


def matches(definition: TaskDefinition, sent: SentTask, expected: Mapping[str, Any]) -> bool:
    """Whether a task was sent with the expected arguments. Arguments that are not expected are not compared."""
    return not any(wrong_arguments(definition, sent, expected))


def wrong_arguments(
    definition: TaskDefinition, sent: SentTask, expected: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the expected and the actual value of the arguments that differ."""
    for name, value in expected.items():
        actual = sent.args.get(name, _default(definition, name))
        if not _is_same(definition, name, value, actual):
            yield name, value, actual


def _default(definition: TaskDefinition, name: str) -> Any:
    parameter = definition.signature.parameters.get(name)
    return LEFT_OUT if parameter is None or parameter.default is parameter.empty else parameter.default


def _is_same(definition: TaskDefinition, name: str, expected: Any, actual: Any) -> bool:
    """Whether two values are equal, or are the same once they are sent, such as a tuple, which arrives as a list."""
    if bool(expected == actual):
        return True
    if actual is LEFT_OUT:
        return False
    try:
        encode = definition.signature.encode_argument
        return encode(name, expected) == encode(name, actual)
    except CodecError:
        return False
