"""The arguments in the information about a task: they are decoded by the task's annotations, and only on request."""

import asyncio
import json
from datetime import date
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from horsies import Horsies, TaskError, TaskFunction, TaskResult
from tests.producer.shop import Do, Hand, Shop
from tests.support.sessions import Session


class Size(Enum):
    SMALL = "S"
    LARGE = "L"


class Address(BaseModel):
    street: str
    since: date


def ship(order: int, to: Address, *, sizes: set[Size], note: str = "") -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"{order} {to} {sizes} {note}")


HOME = Address(street="Elm Street 1", since=date(2026, 5, 6))
ASKED = {"order": 7, "to": HOME, "sizes": {Size.SMALL}}


@pytest.fixture
def shipping(shop: Shop) -> TaskFunction[..., str]:
    return shop.app.task("ship")(ship)


def listed(app: Horsies, **options: Any) -> Any:
    async def ask() -> Any:
        try:
            return (await app.get_broker().list_tasks(**options)).unwrap()
        finally:
            await app.close_async()

    return asyncio.run(ask())


def test_a_live_task_by_every_way_to_it(do: Do, shop: Shop, shipping: TaskFunction[..., str]) -> None:
    handle = do(shipping.send, 7, HOME, sizes={Size.SMALL}).unwrap()
    ways = [handle.info, shipping.handle(handle.task_id).info, shop.app.handle(handle.task_id).info]
    for ask in ways:
        found = do(ask, include_args=True).unwrap()
        assert found is not None
        assert found.args == ASKED
        plain = do(ask).unwrap()
        assert plain is not None
        assert plain.args is None
    found = do(shop.app.get_broker().get_task_info, handle.task_id, include_args=True).unwrap()
    assert found is not None
    assert found.args == ASKED


def test_the_list(shop: Shop, shipping: TaskFunction[..., str]) -> None:
    shipping.send(7, HOME, sizes={Size.SMALL}).unwrap()
    shop.add.send(1).unwrap()
    assert [each.args for each in listed(shop.app, include_args=True)] == [{"a": 1}, ASKED]
    assert [each.args for each in listed(shop.app)] == [None, None]


def test_an_ended_task_and_its_rerun(do: Do, shop: Shop, hand: Hand) -> None:
    handle = do(shop.order.send, "paper", count=3).unwrap()
    hand.end(UUID(handle.task_id))
    for ask in (handle.info, do(shop.app.rerun, handle.task_id).unwrap().info):
        found = do(ask, include_args=True).unwrap()
        assert found is not None
        assert found.args == {"article": "paper", "count": 3}


def test_a_task_this_app_does_not_have_has_plain_json(do: Do, shop: Shop, shipping: TaskFunction[..., str]) -> None:
    handle = do(shipping.send, 7, HOME, sizes={Size.SMALL}).unwrap()
    stranger = Horsies(shop.app.config)
    found = do(stranger.handle(handle.task_id).info, include_args=True).unwrap()
    assert found is not None
    assert found.args == {"order": 7, "to": {"street": "Elm Street 1", "since": "2026-05-06"}, "sizes": ["S"]}
    do(stranger.close)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ('{"a": "seven"}', {"a": "seven"}),
        ('{"other": 1}', {"other": 1}),
        ("[1, 2]", [1, 2]),
        ("null", None),
        ('{"a": "\\ud800"}', {"a": "\ud800"}),
        ("[" * 1_000 + "]" * 1_000, json.loads("[" * 1_000 + "]" * 1_000)),
    ],
    ids=["type", "name", "list", "null", "surrogate", "depth"],
)
def test_arguments_that_no_longer_fit_are_plain_json(
    do: Do, shop: Shop, db: Session, stored: str, expected: object
) -> None:
    handle = do(shop.add.send, 1).unwrap()
    db.execute("update horsies.tasks set args = %s", (stored,))
    found = do(handle.info, include_args=True).unwrap()
    assert found is not None
    assert found.args == expected
