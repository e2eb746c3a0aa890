"""Tasks that run in a transaction of the worker: which connections their first parameter may ask for."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_origin

from horsies.codec.problems import show_type
from horsies.codec.signature import function_location, resolve_annotation
from horsies.errors import ErrorCode, TaskDefinitionError


class ConnectionKind(Enum):
    """The connection of a transactional task, by the class that its first parameter is annotated with.

    The classes are recognized by their names, so that SQLAlchemy does not have to be imported.
    """

    PSYCOPG = "psycopg.Connection"
    PSYCOPG_ASYNC = "psycopg.AsyncConnection"
    ALCHEMY = "sqlalchemy.engine.base.Connection"
    ALCHEMY_SESSION = "sqlalchemy.orm.session.Session"
    ALCHEMY_ASYNC = "sqlalchemy.ext.asyncio.engine.AsyncConnection"
    ALCHEMY_ASYNC_SESSION = "sqlalchemy.ext.asyncio.session.AsyncSession"

    @property
    def is_async(self) -> bool:
        """Whether its methods are awaited, so that it belongs in an ``async def`` task."""
        return self in _ASYNC

    @property
    def is_session(self) -> bool:
        """Whether it is an ORM session, which is flushed before the commit."""
        return self in _SESSIONS


_ASYNC = {ConnectionKind.PSYCOPG_ASYNC, ConnectionKind.ALCHEMY_ASYNC, ConnectionKind.ALCHEMY_ASYNC_SESSION}
_SESSIONS = {ConnectionKind.ALCHEMY_SESSION, ConnectionKind.ALCHEMY_ASYNC_SESSION}
_BLOCKING_NAMES = "psycopg.Connection, sqlalchemy.Connection or sqlalchemy.orm.Session"
_ASYNC_NAMES = "psycopg.AsyncConnection, or AsyncConnection or AsyncSession of sqlalchemy.ext.asyncio"


@dataclass(frozen=True, slots=True)
class OwnTransaction:
    """The transaction in which a transactional task runs.

    Attributes:
        kind: The kind of the first parameter of the task.
        cls: The annotated class. For sessions it may be a subclass, such as that of SQLModel.
    """

    kind: ConnectionKind
    cls: type[Any]


def own_transaction_of(
    fn: Callable[..., Any], localns: Mapping[str, Any] | None, *, transactional: bool
) -> OwnTransaction | None:
    """Return the transaction of a task, or None if the task is not transactional.

    Raises:
        TaskDefinitionError: HRS-105: The task is transactional, and its first parameter is missing, is not positional,
            is not annotated with a supported class, or does not fit a ``def`` or ``async def`` function. Or the task is
            not transactional, and its first parameter is a connection.
    """
    if transactional:
        return _find(fn, localns)
    first = next(iter(inspect.signature(fn).parameters.values()), None)
    if first is None or first.annotation is first.empty or first.kind in {first.VAR_POSITIONAL, first.VAR_KEYWORD}:
        return None
    annotation = resolve_annotation(fn, first.name, first.annotation, localns)
    if _transaction_of(get_origin(annotation) or annotation) is None:
        return None
    problem = f"parameter {first.name!r} of {fn.__name__}() is a {show_type(annotation)}, which cannot be sent"
    raise TaskDefinitionError(
        ErrorCode.TASK_UNSUPPORTED_TYPE,
        problem,
        location=function_location(fn),
        help_text="declare the task with transactional=True, so that the worker provides the connection",
    )


def _find(fn: Callable[..., Any], localns: Mapping[str, Any] | None) -> OwnTransaction:
    is_async = inspect.iscoroutinefunction(fn)
    help_text = f"annotate the first parameter with {_ASYNC_NAMES if is_async else _BLOCKING_NAMES}"
    first = next(iter(inspect.signature(fn).parameters.values()), None)
    if first is None or first.kind not in {first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD}:
        problem = "has no positional parameter for the connection of its transaction"
        raise _wrong(fn, problem, help_text)
    if first.annotation is first.empty:
        problem = f"has no annotation on its first parameter {first.name!r}, which must be a connection"
        raise _wrong(fn, problem, help_text)
    annotation = resolve_annotation(fn, first.name, first.annotation, localns)
    found = _transaction_of(get_origin(annotation) or annotation)
    if found is None:
        problem = f"has the first parameter {first.name!r} of type {show_type(annotation)}, which is no connection"
        raise _wrong(fn, f"{problem} that a worker can provide", help_text)
    if found.kind.is_async != is_async:
        kind, other = ("async def", "blocks") if is_async else ("def", "must be awaited")
        problem = f"is defined with {kind}, but its connection of type {show_type(annotation)} {other}"
        raise _wrong(fn, problem, help_text)
    return found


def _transaction_of(annotation: Any) -> OwnTransaction | None:
    if not isinstance(annotation, type):
        return None
    names = [f"{each.__module__}.{each.__qualname__}" for each in annotation.__mro__]
    kind = next((kind for kind in ConnectionKind if kind.value in names), None)
    if kind is None or (kind.value != names[0] and not kind.is_session):  # nobody could make an object of a subclass
        return None
    return OwnTransaction(kind, annotation)


def _wrong(fn: Callable[..., Any], problem: str, help_text: str) -> TaskDefinitionError:
    return TaskDefinitionError(
        ErrorCode.TASK_UNSUPPORTED_TYPE,
        f"{fn.__name__}() is a transactional task and {problem}",
        location=function_location(fn),
        help_text=help_text,
    )
