"""What type checkers infer for tasks, sends and results. Checked by pyright and mypy, never run."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Never, TypedDict, assert_type

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from horsies import (
    AppConfig,
    Err,
    Horsies,
    NodeKey,
    Ok,
    RateLimited,
    Snooze,
    TaskCall,
    TaskError,
    TaskFunction,
    TaskHandle,
    TaskInfo,
    TaskResult,
    TaskSendError,
    is_err,
    is_ok,
)

app = Horsies(AppConfig())


class ShopError(TaskError):
    shop: str = "main"


@app.task("add")
def add(a: int, b: int = 1) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


@app.task("greet")
async def greet(name: str, *, loud: bool = False) -> TaskResult[str, ShopError]:
    return TaskResult(err=ShopError(error_code="MUTE")) if loud else TaskResult(ok=name)


@app.task("call_api")
def call_api(answer: str) -> TaskResult[int, ShopError]:
    if answer == "snooze":
        return TaskResult(err=Snooze(60))
    if answer == "raise":
        raise RateLimited(retry_after=2.5, scope="task")
    return TaskResult(err=RateLimited(30, "queue")) if answer else TaskResult(ok=1)


@app.task("call_api_async")
async def call_api_async() -> TaskResult[dict[str, int], TaskError]:
    return TaskResult(err=RateLimited(retry_after=30))


def an_answer_fits_every_error_class() -> None:
    assert_type(call_api("429"), TaskResult[int, ShopError])
    assert_type(call_api("429").err_value.shop, str)
    assert_type(TaskResult(err=Snooze(1)), TaskResult[Never, Never])


def a_call_is_the_function_itself() -> None:
    assert_type(add(1, 2), TaskResult[int, TaskError])
    assert_type(greet("Ada"), Coroutine[Any, Any, TaskResult[str, ShopError]]).close()


def a_send_takes_the_parameters_and_gives_a_typed_handle() -> None:
    match add.send(5, b=3):
        case Ok(handle):
            assert_type(handle, TaskHandle[int])
            assert_type(handle.get(timeout_ms=5), TaskResult[int, TaskError])
            assert_type(handle.get().ok_value, int)
        case Err(error):
            assert_type(error, TaskSendError)
    sent = greet.with_options(priority=3).schedule(2.5, "Ada", loud=True)
    if is_ok(sent):
        assert_type(sent.value, TaskHandle[str, ShopError])
    if is_err(sent):
        assert_type(sent.error, TaskSendError)
        assert_type(greet.retry_schedule(sent.error).unwrap(), TaskHandle[str, ShopError])
        assert_type(greet.retry_send(sent.error).unwrap(), TaskHandle[str, ShopError])


class Arguments(TypedDict):
    a: int
    b: int


def many_sends_give_typed_handles(pairs: list[tuple[int, int]], named: list[Arguments]) -> None:
    assert_type(add.args(5, b=3), TaskCall[int])
    assert_type(greet.with_options(priority=3).args("Ada").with_options(delay=1), TaskCall[str, ShopError])
    assert_type(add.send_many(pairs).unwrap(), list[TaskHandle[int]])
    assert_type(add.send_many(named).unwrap(), list[TaskHandle[int]])
    assert_type(add.send_many(add.args(number) for number in range(3)).unwrap(), list[TaskHandle[int]])
    mixed = add.send_many([(1, 2), {"a": 1}, add.args(5)])
    if is_err(mixed):
        assert_type(add.retry_send_many(mixed.error).unwrap(), list[TaskHandle[int]])
        assert_type(mixed.error.item_index, int | None)
    assert_type(greet.with_options(delay=1).send_many([("Ada",)]).unwrap(), list[TaskHandle[str, ShopError]])
    assert_type(app.send_many([add.args(1), greet.args("Ada")]).unwrap(), list[TaskHandle[Any, Any]])


async def many_awaited_sends(items: AsyncIterator[tuple[int, int]]) -> None:
    assert_type((await add.send_many_async(items)).unwrap(), list[TaskHandle[int]])
    assert_type((await add.send_many_async([(1, 2)])).unwrap(), list[TaskHandle[int]])
    assert_type(
        (await app.send_many_async(add.args(*each) async for each in items)).unwrap(), list[TaskHandle[Any, Any]]
    )


async def the_same_awaited() -> None:
    handle = (await greet.send_async("Ada")).unwrap()
    assert_type(handle, TaskHandle[str, ShopError])
    assert_type(await handle.get_async(), TaskResult[str, ShopError])
    assert_type((await handle.get_async()).err_value.shop, str)
    assert_type(handle.get(), TaskResult[str, ShopError])
    info = await handle.info_async(include_result=True)
    if is_ok(info):
        assert_type(info.value, TaskInfo | None)


async def a_send_may_be_part_of_a_transaction(
    connection: psycopg.Connection,
    aio: psycopg.AsyncConnection,
    session: Session,
    async_session: AsyncSession,
) -> None:
    for blocking in (connection, session, session.connection()):
        assert_type(add.with_options(connection=blocking).send(1).unwrap(), TaskHandle[int])
    for awaited in (aio, async_session, await async_session.connection()):
        assert_type((await add.with_options(connection=awaited).schedule_async(1, 2)).unwrap(), TaskHandle[int])


@app.task("charge", transactional=True)
def charge(connection: psycopg.Connection, order_id: int, *, note: str = "") -> TaskResult[int, ShopError]:
    return TaskResult(ok=order_id)


@app.task("charge_async", transactional=True)
async def charge_async(session: AsyncSession, order_id: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=order_id)


def a_transactional_task_is_sent_without_its_connection(connection: psycopg.Connection, session: AsyncSession) -> None:
    assert_type(charge.send(7, note="x").unwrap(), TaskHandle[int, ShopError])
    assert_type(charge.schedule(1, 7).unwrap(), TaskHandle[int, ShopError])
    assert_type(charge.node()(7).key(), NodeKey[int, ShopError])
    assert_type(charge(connection, 7), TaskResult[int, ShopError])
    assert_type(charge_async(session, 7), Coroutine[Any, Any, TaskResult[int, TaskError]]).close()
    assert_type(charge_async.send(7).unwrap(), TaskHandle[int])


def a_task_can_be_annotated(
    task: TaskFunction[[int, int], str], own: TaskFunction[[int], str, ShopError], handle: TaskHandle[str, ShopError]
) -> None:
    assert_type(task.send(1, 2).unwrap(), TaskHandle[str])
    assert_type(task(1, 2), TaskResult[str, TaskError])
    assert_type(own(1), TaskResult[str, ShopError])
    assert_type(own.send(1).unwrap().get().err, ShopError | None)
    assert_type(handle.get().err_value, ShopError)


def a_handle_of_an_id() -> None:
    assert_type(add.handle("id"), TaskHandle[int])
    assert_type(app.handle("id"), TaskHandle[Any])
    assert_type(greet.handle("id"), TaskHandle[str, ShopError])
