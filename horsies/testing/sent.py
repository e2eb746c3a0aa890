"""The tasks that a test has sent, and messages about those that it expected."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, cast

from pydantic import BaseModel

from horsies.codec.problems import CodecError
from horsies.codes import TaskStatus
from horsies.tasks.registry import TaskDefinition

_SHOWN_TASKS = 4
_SHOWN_DIFFERENCES = 6
_SHOWN_CHARACTERS = 64
_CONTEXT = 20
_LEFT_OUT = object()


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
        return shown_call(self.task_name, self.args)


def shown_call(name: str, args: Mapping[str, Any]) -> str:
    """Show a call with its arguments, each of limited length."""
    shown = (f"{parameter}={_shown(value)}" for parameter, value in args.items())
    return f"{name}({', '.join(shown)})"


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
    return not any(_wrong_arguments(definition, sent, expected))


def _wrong_arguments(
    definition: TaskDefinition, sent: SentTask, expected: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name, value in expected.items():
        actual = sent.args.get(name, _default(definition, name))
        if not _is_same(definition, name, value, actual):
            yield name, value, actual


def _default(definition: TaskDefinition, name: str) -> Any:
    parameter = definition.signature.parameters.get(name)
    return _LEFT_OUT if parameter is None or parameter.default is parameter.empty else parameter.default


def _is_same(definition: TaskDefinition, name: str, expected: Any, actual: Any) -> bool:
    """Whether two values are equal, or are the same once they are sent, such as a tuple, which arrives as a list."""
    if bool(expected == actual):
        return True
    if actual is _LEFT_OUT:
        return False
    try:
        encode = definition.signature.encode_argument
        return encode(name, expected) == encode(name, actual)
    except CodecError:
        return False


def explain(
    definition: TaskDefinition, expected: Mapping[str, Any] | None, count: int | None, all_sent: Sequence[SentTask]
) -> str:
    """Describe in one screen how the sent tasks differ from the expected one.

    Args:
        definition: the expected task.
        expected: the expected arguments by name; None: any.
        count: how often it was expected; None: at least once.
        all_sent: all tasks that were sent.
    """
    same_task = [each for each in all_sent if each.task_name == definition.name]
    wanted = "was expected at least once" if count is None else f"was expected {_times(count)}"
    found = sum(expected is None or matches(definition, each, expected) for each in same_task)
    call = definition.name if expected is None else shown_call(definition.name, expected)
    if count == 0:
        wanted = "was expected not to be sent"
    lines = [f"{call} {wanted}, but was {f'sent {_times(found)}' if found else 'never sent'}."]
    lines += list(_nearest(definition, expected or {}, same_task))
    others = Counter(each.task_name for each in all_sent if each.task_name != definition.name)
    if others:
        lines += [
            "",
            "Other tasks that were sent:",
            *(f"  {name}: {_times(times)}" for name, times in others.most_common(5)),
        ]
    elif not same_task:
        lines.append("No task was sent at all.")
    return "\n".join(lines)


def _nearest(definition: TaskDefinition, expected: Mapping[str, Any], same_task: Sequence[SentTask]) -> Iterator[str]:
    wrong = [(list(_wrong_arguments(definition, each, expected)), each) for each in same_task]
    wrong.sort(key=lambda pair: len(pair[0]))
    if not wrong:
        return
    yield ""
    yield f"{definition.name} was sent {_times(len(wrong))}{', the nearest first' if len(wrong) > 1 else ''}:"
    for number, (differences, each) in enumerate(wrong[:_SHOWN_TASKS], 1):
        yield f"  {number}. {each}  [{each.status}]"
        if number == 1 or len(differences) == 1:
            yield from _shown_differences(differences)
        elif differences:
            yield f"       differs in {', '.join(name for name, _, _ in differences)}"
    if len(wrong) > _SHOWN_TASKS:
        yield f"  … and {len(wrong) - _SHOWN_TASKS} more"


def _shown_differences(arguments: Sequence[tuple[str, Any, Any]]) -> Iterator[str]:
    found = [each for name, expected, actual in arguments for each in _differences(name, expected, actual)]
    for path, expected, actual in found[:_SHOWN_DIFFERENCES]:
        wanted, got = _around_difference(expected, actual)
        yield f"       {path}: expected {wanted}"
        yield f"       {' ' * len(path)}  but was  {got}"
    if len(found) > _SHOWN_DIFFERENCES:
        yield f"       … and {len(found) - _SHOWN_DIFFERENCES} more differences"


def _differences(path: str, expected: Any, actual: Any) -> Iterator[tuple[str, Any, Any]]:
    """Find the smallest parts in which two values differ."""
    one, other = _parts(expected), _parts(actual)
    if one is None or other is None or type(expected) is not type(actual):
        yield path, expected, actual
        return
    for key in [*one, *(key for key in other if key not in one)]:
        left, right = one.get(key, _LEFT_OUT), other.get(key, _LEFT_OUT)
        if not bool(left == right):
            yield from _differences(f"{path}{key}", left, right)


def _parts(value: Any) -> dict[str, Any] | None:
    """Return the parts of a composite value by their place; None for other values."""
    if isinstance(value, dict):
        return {f"[{key!r}]": each for key, each in cast("dict[object, Any]", value).items()}
    if isinstance(value, list | tuple):
        return {f"[{place}]": each for place, each in enumerate(cast("Sequence[Any]", value))}
    if isinstance(value, BaseModel):
        return {f".{name}": getattr(value, name) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {f".{field.name}": getattr(value, field.name) for field in fields(value)}
    return None


def _around_difference(expected: Any, actual: Any) -> tuple[str, str]:
    """Show two values; of long ones, the part around the first difference."""
    one, other = _full(expected), _full(actual)
    if max(len(one), len(other)) <= _SHOWN_CHARACTERS:
        return one, other
    first = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(min(one, other)))
    start = max(0, first - _CONTEXT)
    return _cut(one, start), _cut(other, start)


def _shown(value: Any) -> str:
    return _cut(_full(value), 0)


def _full(value: Any) -> str:
    return "(left out)" if value is _LEFT_OUT else repr(value)


def _cut(text: str, start: int) -> str:
    end = start + _SHOWN_CHARACTERS
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
