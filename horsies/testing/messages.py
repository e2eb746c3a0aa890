"""The messages of assertions about sent tasks. Each fits on one screen, however much was sent."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

from pydantic import BaseModel

from horsies.tasks.registry import TaskDefinition
from horsies.testing.sent import LEFT_OUT, SentTask, call_of, cut, matches, text_of, wrong_arguments

_WIDTH = 100
_LINES_OF_TASKS = 12
_SHOWN_DIFFERENCES = 4
_SHOWN_OTHERS = 4
_SHORTEST_VALUE, _LONGEST_VALUE, _LONGEST_PATH = 6, 64, 30
_CONTEXT = 20

type _Difference = tuple[str, Any, Any]


def explain(
    definition: TaskDefinition, expected: Mapping[str, Any], count: int | None, all_sent: Sequence[SentTask]
) -> str:
    """Describe how the sent tasks differ from the expected ones.

    Args:
        definition: the expected task.
        expected: the expected arguments by name.
        count: how often it was expected; None: at least once.
        all_sent: all tasks that were sent.
    """
    same_task = [each for each in all_sent if each.task_name == definition.name]
    matching = [each for each in same_task if matches(definition, each, expected)]
    wanted = "at least once" if count is None else "not to be sent" if count == 0 else times(count)
    but = f"sent {times(len(matching))}" if matching else "never sent"
    lines = _first_lines(definition.name, expected, f"was expected {wanted}, but was {but}.")
    if count is not None and len(matching) > count:
        lines += _too_many(definition.name, expected, matching)
    elif same_task:
        lines += _nearest(definition, expected, same_task)
    others = Counter(each.task_name for each in all_sent if each.task_name != definition.name)
    if others:
        lines += ["", "Other tasks that were sent:", *counted(others, _SHOWN_OTHERS)]
    elif not same_task:
        lines.append("No task was sent at all.")
    return "\n".join(lines)


def counted(counts: "Counter[str]", most: int) -> Iterator[str]:
    """Yield one line for each of the most frequent tasks, and one for the rest."""
    for name, count in counts.most_common(most):
        yield f"  {cut(name, 0, 70)}: {times(count)}"
    if len(counts) > most:
        yield f"  … and {len(counts) - most} more"


def times(count: int) -> str:
    """Say how often something happened."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _too_many(name: str, expected: Mapping[str, Any], matching: Sequence[SentTask]) -> Iterator[str]:
    """Show the tasks that were sent too often. Those with other arguments do not matter."""
    yield ""
    yield f"{name} was sent {times(len(matching))}{' with these arguments' if expected else ''}:"
    yield from _limited([[_numbered(number, each)] for number, each in enumerate(matching, 1)])


def _nearest(definition: TaskDefinition, expected: Mapping[str, Any], same_task: Sequence[SentTask]) -> Iterator[str]:
    wrong = [(list(wrong_arguments(definition, each, expected)), each) for each in same_task]
    wrong.sort(key=lambda pair: len(pair[0]))
    yield ""
    nearest_first = ", the nearest first" if len(wrong) > 1 and expected else ""
    yield f"{definition.name} was sent {times(len(wrong))}{nearest_first}:"
    blocks: list[list[str]] = []
    for number, (differences, each) in enumerate(wrong[:_LINES_OF_TASKS], 1):
        is_shown = number == 1 or len(differences) == 1
        names = ", ".join(name for name, _, _ in differences)
        described = _shown_differences(differences) if is_shown else [f"       differs in {cut(names, 0, 80)}"]
        blocks.append([_numbered(number, each), *described])
    yield from _limited(blocks, len(wrong) - len(blocks))


def _limited(blocks: Sequence[Sequence[str]], further: int = 0) -> Iterator[str]:
    """Yield as many blocks of lines as there is room for, the first one in any case, and the number of the others."""
    room = _LINES_OF_TASKS
    for number, block in enumerate(blocks):
        room -= len(block)
        if number and room < 0:
            further += len(blocks) - number
            break
        yield from block
    if further:
        yield f"  … and {further} more"


def _numbered(number: int, task: SentTask) -> str:
    beginning = f"  {number}. "
    return beginning + _call(task.task_name, task.args, f"  [{task.status}]", _WIDTH - len(beginning))


def _first_lines(name: str, expected: Mapping[str, Any], rest: str) -> list[str]:
    """Say what was expected, on two lines if the arguments are long."""
    if not expected:
        return [f"{name} {rest}"]
    call = _call(name, expected, "")
    return [f"{call} {rest}"] if len(call) + 1 + len(rest) <= _WIDTH else [call, rest]


def _call(name: str, args: Mapping[str, Any], ending: str, width: int = _WIDTH) -> str:
    """Show a call and a text after it on one line.

    The longest arguments are cut, and then the whole call if that is not enough.
    """
    texts = {parameter: text_of(value) for parameter, value in args.items()}
    room = width - len(ending)
    calls = (call_of(name, texts, limit) for limit in range(_LONGEST_VALUE, _SHORTEST_VALUE - 1, -1))
    fitting = next((call for call in calls if len(call) <= room), None)
    return f"{fitting or cut(call_of(name, texts, _SHORTEST_VALUE), 0, room - 2) + ')'}{ending}"


def _shown_differences(arguments: Sequence[_Difference]) -> Iterator[str]:
    found = [each for name, expected, actual in arguments for each in _differences(name, expected, actual)]
    for path, expected, actual in found[:_SHOWN_DIFFERENCES]:
        shown = cut(path, 0, _LONGEST_PATH)
        wanted, got = _around_difference(expected, actual, min(_LONGEST_VALUE, _WIDTH - 20 - len(shown)))
        yield f"       {shown}: expected {wanted}"
        yield f"       {' ' * len(shown)}  but was  {got}"
    if len(found) > _SHOWN_DIFFERENCES:
        yield f"       … and {len(found) - _SHOWN_DIFFERENCES} more differences"


def _differences(path: str, expected: Any, actual: Any) -> Iterator[_Difference]:
    """Find the smallest parts in which two values differ."""
    one, other = _parts(expected), _parts(actual)
    if one is None or other is None or type(expected) is not type(actual):
        yield path, expected, actual
        return
    for key in [*one, *(key for key in other if key not in one)]:
        left, right = one.get(key, LEFT_OUT), other.get(key, LEFT_OUT)
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


def _around_difference(expected: Any, actual: Any, limit: int) -> tuple[str, str]:
    """Show two values; of long ones, the part around the first difference."""
    one, other = text_of(expected), text_of(actual)
    if one == other:
        one, other = f"{type(expected).__name__} {one}", f"{type(actual).__name__} {other}"
    if max(len(one), len(other)) <= limit:
        return one, other
    first = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    start = max(0, first - _CONTEXT)
    return cut(one, start, limit), cut(other, start, limit)
