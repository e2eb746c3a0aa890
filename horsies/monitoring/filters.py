"""The filter language of task lists: ``status:failed queue:mail task:send_* since:2h``.

A filter is a list of terms, ``FIELD:VALUE``, separated by spaces. A task matches if it matches every field. Terms of
the same field are alternatives, and a term that begins with ``-`` excludes tasks.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from horsies.codes import TaskStatus
from horsies.plain import short_repr
from horsies.result import Err, Ok, Result
from horsies.suggestions import similar_name

_MAX_CHARACTERS = 2000
_MAX_TERMS = 50
_MAX_DURATION_S = 100 * 366 * 86_400
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(rf"(\d{{1,12}})\s*({'|'.join(sorted(_UNITS, key=len, reverse=True))})")
_WORD = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_PIECE = re.compile(r'"((?:[^"\\]|\\.)*)("?)|[^"]+', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class FilterField(StrEnum):
    """The property of a task that a term of a filter compares.

    Attributes:
        STATUS: the status of the task.
        QUEUE: the queue; ``*`` stands for any characters, as in TASK, ERROR, WORKER and KEY.
        TASK: the name of the task.
        ERROR: the error code of a failed task.
        WORKER: the host or the process name of the worker that runs the task, or that ran its last attempt.
        KEY: the key of the task.
        RUN: the id of a workflow run that the task belongs to, directly or through child runs.
        ID: the id of the task.
        SINCE: a time, or a duration before now. Live tasks were sent, ended tasks have finished, then or later.
        UNTIL: likewise; before that time.
    """

    STATUS = "status"
    QUEUE = "queue"
    TASK = "task"
    ERROR = "error"
    WORKER = "worker"
    KEY = "key"
    RUN = "run"
    ID = "id"
    SINCE = "since"
    UNTIL = "until"


_TIMES = (FilterField.SINCE, FilterField.UNTIL)
_SYNONYMS = {
    "name": FilterField.TASK,
    "code": FilterField.ERROR,
    "state": FilterField.STATUS,
    "host": FilterField.WORKER,
}


@dataclass(frozen=True, slots=True)
class FilterMistake:
    """A mistake in a filter, with its place and the fix.

    Attributes:
        message: A description of the mistake.
        text: The whole filter.
        start: The index of the first character that is wrong.
        length: How many characters are wrong, at least one.
        help_text: How to fix it.
    """

    message: str
    text: str
    start: int
    length: int
    help_text: str

    def marked(self) -> str:
        """Return the filter, with carets below the mistake in a second line."""
        line = "".join(" " if character.isspace() else character for character in self.text)
        return f"{line}\n{' ' * self.start}{'^' * self.length}"

    def __str__(self) -> str:
        """Return the message, the marked filter and the fix."""
        return f"{self.message}\n{self.marked()}\n{self.help_text}"


@dataclass(frozen=True, slots=True)
class FilterTerm:
    """One term of a filter.

    Attributes:
        field: The property that is compared.
        value: A status, an id, or a pattern of the SQL operator LIKE. For SINCE and UNTIL: a time in ISO 8601, or a
            number of seconds before now.
        is_negated: Whether tasks that match are excluded.
    """

    field: FilterField
    value: str
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """The terms of a filter; see `parse_filter`."""

    terms: tuple[FilterTerm, ...] = ()

    def document(self) -> str:
        """Return the terms as the JSON document that the database function `find_tasks` takes."""
        found: dict[str, object] = {}
        for field in FilterField:
            values = [[each.value for each in self.terms if (each.field, each.is_negated) == (field, negated)]
                      for negated in (False, True)]  # fmt: skip
            if field in _TIMES:
                found |= {f"{field}_{'ago' if value.isdecimal() else 'time'}": value for value in values[0]}
            else:
                found |= {field.value: values[0], f"not_{field}": values[1]}
        return json.dumps(found)


class _MistakeError(Exception):
    """A mistake in one term. ``start`` counts from the beginning of the term, or of its value."""

    def __init__(self, message: str, help_text: str, *, in_value: bool = True) -> None:
        super().__init__(message)
        self.help_text = help_text
        self.in_value = in_value


def parse_filter(text: str) -> Result[TaskQuery, FilterMistake]:
    """Parse a filter. An empty one selects all tasks.

    Args:
        text: Terms such as ``status:failed queue:mail task:send_* error:TIMEOUT worker:host since:2h until:10m run:ID
            key:tenant-7 id:ID``. A value in double quotes may contain spaces, and its ``*`` is an ordinary character.

    Returns:
        The query; or the first mistake, with its place and the fix.
    """
    if len(text) > _MAX_CHARACTERS:
        limit = f"{_MAX_CHARACTERS:,}"
        message = f"the filter has {len(text):,} characters; {limit} are allowed"
        return Err(FilterMistake(message, text[:80], 0, 1, "use fewer terms"))
    terms: list[FilterTerm] = []
    for found in _WORD.finditer(text):
        word = found[0]
        try:
            terms.append(_parse_term(word, terms))
        except _MistakeError as mistake:
            skipped = word.index(":") + 1 if mistake.in_value else word.startswith("-")
            start = found.start() + (skipped if skipped < len(word) else 0)
            length = found.end() - start
            if not mistake.in_value and ":" in word:
                length = word.index(":") - skipped
            return Err(FilterMistake(str(mistake), text, start, max(length, 1), mistake.help_text))
    return Ok(TaskQuery(tuple(terms)))


def literal_pattern(text: str) -> str:
    """Return the pattern of LIKE that matches only this text."""
    return re.sub(r"([\\%_])", r"\\\1", text)


def term(field_name: str, value: str) -> str:
    """Return the term of a filter that matches exactly one value."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    is_plain = value.isascii() and value.replace("_", "").replace("-", "").replace(".", "").isalnum()
    return f"{field_name}:{value}" if is_plain else f'{field_name}:"{escaped}"'


def _parse_term(word: str, earlier: list[FilterTerm]) -> FilterTerm:
    name, colon, raw = word.removeprefix("-").partition(":")
    is_negated = word.startswith("-")
    field = _field(name, colon, raw)
    if len(earlier) == _MAX_TERMS:
        message = f"the filter has more than {_MAX_TERMS} terms"
        raise _MistakeError(message, "use fewer terms; '*' in a value stands for any characters", in_value=False)
    if field in _TIMES and any(each.field is field for each in earlier):
        message = f"'{field}' is given twice"
        raise _MistakeError(message, "keep one of them", in_value=False)
    if field in _TIMES and is_negated:
        other = FilterField.UNTIL if field is FilterField.SINCE else FilterField.SINCE
        message = f"'{field}' cannot be negated"
        raise _MistakeError(message, f"write {other}:{raw}", in_value=False)
    value = _PARSERS.get(field, _pattern)(raw)
    return FilterTerm(field, value, is_negated)


def _field(name: str, colon: str, raw: str) -> FilterField:
    if not colon:
        message = f"{short_repr(name)} has no field"
        help_text = f"write FIELD:VALUE, for example task:{name or 'NAME'}; fields: {_listed(FilterField)}"
        raise _MistakeError(message, help_text, in_value=False)
    try:
        field = FilterField(name.lower())
    except ValueError:
        similar = _SYNONYMS.get(name.lower()) or similar_name(name.lower(), [str(each) for each in FilterField])
        question = f"did you mean {str(similar)!r}? " if similar else ""
        message = f"there is no field {short_repr(name)}"
        raise _MistakeError(message, f"{question}fields: {_listed(FilterField)}", in_value=False) from None
    if not raw:
        message = f"'{field}' has no value"
        raise _MistakeError(message, f"write the value directly after the colon: {field}:VALUE", in_value=False)
    return field


def _pieces(raw: str) -> Iterator[tuple[str, bool]]:
    """Return the parts of a value, each with whether it stands in quotes."""
    for found in _PIECE.finditer(raw):
        if found[1] is None:
            yield found[0], False
        elif not found[2]:
            message = "the value has no closing quote"
            raise _MistakeError(message, "add '\"' at its end; write a quote inside of a value as '\\\"'")
        else:
            yield _ESCAPED.sub(r"\1", found[1]), True


def _unquoted(raw: str) -> str:
    return "".join(text for text, _ in _pieces(raw))


def _pattern(raw: str) -> str:
    pattern = "".join(
        literal_pattern(text) if is_quoted else literal_pattern(text).replace("*", "%")
        for text, is_quoted in _pieces(raw)
    )
    if "\0" in pattern:
        message = "a value cannot contain the character NUL"
        raise _MistakeError(message, "remove it")
    return pattern


def _status(raw: str) -> str:
    given = _unquoted(raw)
    known = [status.value.lower() for status in TaskStatus]
    if given.lower() in known:
        return given.upper()
    similar = similar_name(given.lower(), known)
    question = f"did you mean {similar!r}? " if similar else ""
    message = f"there is no status {short_repr(given)}"
    raise _MistakeError(message, f"{question}statuses: {_listed(known)}")


def _uuid(raw: str) -> str:
    given = _unquoted(raw)
    try:
        return str(UUID(given))
    except ValueError:
        message = f"{short_repr(given)} is not an id"
        raise _MistakeError(message, "the ids of tasks and runs are UUIDs; `horsies tasks list` shows them") from None


def _time(raw: str) -> str:
    given = _unquoted(raw)
    found = _DURATION.fullmatch(given)
    if found is not None and (seconds := int(found[1]) * _UNITS[found[2]]) <= _MAX_DURATION_S:
        return str(seconds)
    try:
        time = datetime.fromisoformat(given)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        message = f"{short_repr(given)} is neither a duration nor a time"
        if found is not None:
            message = f"{short_repr(given)} is longer than 100 years"
        fix = "write a duration before now such as 30s, 10m, 2h, 7d or 2w, or a time such as 2026-11-25T20:52 (UTC)"
        raise _MistakeError(message, fix) from None


_PARSERS: dict[FilterField, Callable[[str], str]] = {
    FilterField.STATUS: _status,
    FilterField.RUN: _uuid,
    FilterField.ID: _uuid,
    FilterField.SINCE: _time,
    FilterField.UNTIL: _time,
}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(str(name) for name in names)
