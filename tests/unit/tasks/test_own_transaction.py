"""Transactional tasks: which first parameters are accepted, and what the others are told."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import DictRow
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as async_alchemy

from horsies import AppConfig, ErrorCode, Horsies, OperationalErrorCode, PostgresConfig, TaskError, TaskResult
from horsies.errors import TaskDefinitionError
from horsies.tasks.own_transaction import ConnectionKind

type Number = TaskResult[int, TaskError]


class OwnSession(orm.Session):
    """A subclass, as SQLModel has one."""


class OwnConnection(psycopg.Connection[Any]):
    """A subclass that a worker cannot make."""


@pytest.fixture
def app() -> Iterator[Horsies]:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nowhere.invalid/jobs")))
    yield app
    app.close()


def function(annotation: object, *, is_async: bool) -> Callable[..., Any]:
    """Return a function whose first parameter has this annotation."""

    def charge(connection: object, order_id: int) -> Number:
        return TaskResult(ok=order_id)

    async def charge_async(connection: object, order_id: int) -> Number:
        return TaskResult(ok=order_id)

    made: Callable[..., Any] = charge_async if is_async else charge
    made.__annotations__["connection"] = annotation
    return made


def define(app: Horsies, fn: Callable[..., Any], **options: Any) -> Any:
    return cast("Any", app.task)("charge", **options)(fn)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (psycopg.Connection, ConnectionKind.PSYCOPG),
        (psycopg.Connection[DictRow], ConnectionKind.PSYCOPG),
        ("psycopg.Connection", ConnectionKind.PSYCOPG),
        (sqlalchemy.Connection, ConnectionKind.ALCHEMY),
        (orm.Session, ConnectionKind.ALCHEMY_SESSION),
        (OwnSession, ConnectionKind.ALCHEMY_SESSION),
        (psycopg.AsyncConnection, ConnectionKind.PSYCOPG_ASYNC),
        (async_alchemy.AsyncConnection, ConnectionKind.ALCHEMY_ASYNC),
        (async_alchemy.AsyncSession, ConnectionKind.ALCHEMY_ASYNC_SESSION),
    ],
    ids=str,
)
def test_the_first_parameter_says_which_connection_is_wanted(
    app: Horsies, annotation: object, kind: ConnectionKind
) -> None:
    task = define(app, function(annotation, is_async=kind.is_async), transactional=True)
    assert task.definition.own_transaction.kind is kind
    assert list(task.definition.signature.parameters) == ["order_id"]


@pytest.mark.parametrize(
    "annotation", [int, OwnConnection, psycopg.Connection | None, list[psycopg.Connection]], ids=str
)
def test_other_first_parameters_are_refused(app: Horsies, annotation: object) -> None:
    with pytest.raises(TaskDefinitionError, match="which is no connection that a worker can provide") as raised:
        define(app, function(annotation, is_async=False), transactional=True)
    assert raised.value.code is ErrorCode.TASK_UNSUPPORTED_TYPE
    assert "psycopg.Connection, sqlalchemy.Connection or sqlalchemy.orm.Session" in str(raised.value.help_text)


@pytest.mark.parametrize(
    ("annotation", "is_async", "problem"),
    [
        (psycopg.Connection, True, "defined with async def, but its connection of type Connection blocks"),
        (
            async_alchemy.AsyncSession,
            False,
            "defined with def, but its connection of type AsyncSession must be awaited",
        ),
    ],
)
def test_the_connection_has_to_fit_the_kind_of_function(
    app: Horsies,
    annotation: object,
    is_async: bool,  # noqa: FBT001 - a parameter of the test
    problem: str,
) -> None:
    with pytest.raises(TaskDefinitionError, match=problem) as raised:
        define(app, function(annotation, is_async=is_async), transactional=True)
    assert ("AsyncConnection" in str(raised.value.help_text)) is is_async


def test_a_connection_must_be_the_first_positional_parameter(app: Horsies) -> None:
    def nothing() -> Number:
        return TaskResult(ok=1)

    def keyword(*, connection: psycopg.Connection) -> Number:
        return TaskResult(ok=1)

    unannotated = function(None, is_async=False)
    del unannotated.__annotations__["connection"]

    for fn, problem in ((nothing, "no positional"), (keyword, "no positional"), (unannotated, "no annotation")):
        with pytest.raises(TaskDefinitionError, match=problem) as raised:
            define(app, fn, transactional=True)
        assert raised.value.code is ErrorCode.TASK_UNSUPPORTED_TYPE


def test_a_connection_without_the_option_names_the_option(app: Horsies) -> None:
    with pytest.raises(TaskDefinitionError, match="is a Connection, which cannot be sent") as raised:
        define(app, function(psycopg.Connection, is_async=False))
    assert raised.value.code is ErrorCode.TASK_UNSUPPORTED_TYPE
    assert "transactional=True" in str(raised.value.help_text)


def test_the_option_is_a_boolean(app: Horsies) -> None:
    with pytest.raises(TaskDefinitionError, match="transactional must be True or False, got str") as raised:
        define(app, function(psycopg.Connection, is_async=False), transactional="yes")
    assert raised.value.code is ErrorCode.TASK_INVALID_OPTIONS


def test_a_direct_call_takes_the_connection_first(app: Horsies) -> None:
    given: list[object] = []

    @app.task("charge", transactional=True)
    def charge(connection: psycopg.Connection, order_id: int) -> Number:
        given.append(connection)
        return TaskResult(ok=order_id)

    connection = cast("psycopg.Connection", object())
    assert charge(connection, 7) == TaskResult(ok=7)
    assert charge(connection, order_id=8) == TaskResult(ok=8)
    assert given == [connection, connection]
    wrong = charge(connection, cast("int", "x")).err_value
    missing = cast("Any", charge)().err_value
    assert [wrong.error_code, missing.error_code] == [OperationalErrorCode.WORKER_SERIALIZATION_ERROR] * 2
    assert "pass the connection as the first argument" in str(missing.message)
    assert len(given) == 2
