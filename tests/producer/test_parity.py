"""Every operation exists blocking and awaitable, with the same parameters and the same answers."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from horsies import Horsies, TaskFunction, TaskHandle, TaskSendResult
from horsies.task import TaskSender
from tests.producer.shop import Do, Hand, Shop
from tests.support.sessions import NOON, Session, freeze_clock

CLASSES = (Horsies, TaskFunction, TaskSender, TaskHandle)
SUFFIX = "_async"
ANSWERS = ("TaskSendResult", "BrokerResult", "TaskResult", "HandleResult")


def methods(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            yield name, method


def signature(method: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a method, without the types of inputs, which may also be asynchronous for asyncio."""
    found = inspect.signature(method)
    parameters = [
        each.replace(annotation=Any) if each.name in {"items", "calls"} else each for each in found.parameters.values()
    ]
    return found.replace(parameters=parameters)


def test_twins_have_the_same_signature() -> None:
    twins = 0
    for kind in CLASSES:
        for name, method in methods(kind):
            if name.endswith(SUFFIX):
                assert inspect.iscoroutinefunction(method), name
                assert signature(method) == signature(getattr(kind, name.removesuffix(SUFFIX))), name
                twins += 1
    assert twins > len(CLASSES)


def test_whatever_asks_the_database_has_a_twin() -> None:
    asking: set[str] = set()
    for kind in CLASSES:
        for name, method in methods(kind):
            answer = str(inspect.signature(method).return_annotation)
            if any(f"{each}[" in answer for each in ANSWERS) and not name.endswith(SUFFIX):
                assert hasattr(kind, f"{name}{SUFFIX}"), f"{kind.__name__}.{name}"
                asking.add(name)
    assert asking >= {"send", "schedule", "retry_send", "retry_schedule", "get", "get_result", "info"}


def test_twins_have_a_docstring_each() -> None:
    for kind in CLASSES:
        for name, method in methods(kind):
            assert method.__doc__, f"{kind.__name__}.{name}"


def outline(sent: TaskSendResult[TaskHandle[Any]]) -> object:
    """What has to be the same of two sends: not the ids."""
    if sent.is_ok():
        return "sent"
    error = sent.err_value
    return error.code, error.message, error.retryable, error.task_id, error.payload, type(error.exception)


def test_twins_answer_the_same(shop: Shop, db: Session, hand: Hand) -> None:
    freeze_clock(db)
    add, plain = shop.add, shop.plain
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (add.send, (1, 2)),
        (add.send, ("x",)),
        (add.send, ()),
        (add.schedule, (5, 1)),
        (add.schedule, (-5, 1)),
        (add.schedule, ("5", 1)),
        (plain.send, ({1, 2},)),
        (plain.send, (float("nan"),)),
        (add.with_options(priority=0).send, (1,)),
        (add.send_many, ([(1,), (2, 3)],)),
        (add.send_many, ([(1,), ("2",)],)),
        (add.send_many, (None,)),
        (shop.app.send_many, ([plain.args(1), (2,)],)),
        (add.with_options(good_until=NOON).schedule, (1, 1)),
        (add.with_options(good_until=NOON.replace(tzinfo=None)).send, (1,)),
    ]
    sync, aio = Do("sync"), Do("async")
    for method, args in calls:
        assert outline(sync(method, *args)) == outline(aio(method, *args)), args
    handle = add.send(1).unwrap()
    assert sync(handle.info) == aio(handle.info)
    assert sync(handle.get, timeout_ms=0) == aio(handle.get, timeout_ms=0)
    aio.close()
    assert hand
