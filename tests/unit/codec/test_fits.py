"""Whether a value of one annotation may be passed where another one is declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NewType, Protocol, TypedDict

import pytest

from horsies import TaskError, TaskResult
from horsies.codec.fits import fits, item_type
from horsies.codec.problems import show_type

type Numbers = list[int]
type Pair[T] = tuple[T, T]
UserId = NewType("UserId", int)


class Base: ...


class Derived(Base): ...


@dataclass
class Box[T]:
    content: T


class ShopError(TaskError): ...


class Named(Protocol):
    name: str


class Row(TypedDict):
    name: str


class OtherRow(TypedDict):
    name: int


GOOD: list[tuple[Any, Any]] = [
    (int, int),
    (int, float),
    (int, Any),
    (Any, int),
    (int, object),
    (int, int | None),
    (None, int | None),
    (int | str, str | int | None),
    (Derived, Base),
    (list[int], list[float]),
    (list[Derived], Sequence[Base]),
    (dict[str, int], Mapping[str, float]),
    (list[int], list),
    (list, list[int]),
    (Numbers, list[int]),
    (list[int], Numbers),
    (Pair[int], tuple[int, int]),
    (tuple[int, str], tuple[int, ...] | tuple[int, str]),
    (tuple[int, int], tuple[int, ...]),
    (tuple[int, ...], tuple[float, ...]),
    (list[Annotated[int, "metres"]], list[int]),
    (Literal["a"], str),
    (Literal["a"], Literal["a", "b"]),
    (Box[int], Box[float]),
    (TaskResult[int, ShopError], TaskResult[int, TaskError]),
    (UserId, int),
    (Box[int], Named),
    (Row, OtherRow),
]
BAD: list[tuple[Any, Any]] = [
    (int, str),
    (float, int),
    (bool, int),
    (None, int),
    (int | None, int),
    (Base, Derived),
    (list[int], list[str]),
    (list[int], int),
    (list[int], set[int]),
    (dict[str, int], dict[str, str]),
    (tuple[int, int], tuple[int, int, int]),
    (tuple[int, str], tuple[int, ...]),
    (Literal["a", "c"], Literal["a", "b"]),
    (Literal[1], str),
    (str, Literal["a"]),
    (Box[int], Box[str]),
    (TaskResult[int, TaskError], TaskResult[str, TaskError]),
    (TaskResult[int, TaskError], TaskResult[int, ShopError]),
    (TaskResult[int, TaskError], int),
]


@pytest.mark.parametrize(("given", "wanted"), GOOD, ids=show_type)
def test_these_fit(given: Any, wanted: Any) -> None:
    assert fits(given, wanted)


@pytest.mark.parametrize(("given", "wanted"), BAD, ids=show_type)
def test_these_do_not(given: Any, wanted: Any) -> None:
    assert not fits(given, wanted)


def test_a_class_of_main_is_that_of_the_module() -> None:
    here, there = (type("Page", (), {"__module__": module}) for module in ("__main__", "shop.pages"))
    other = type("Page", (), {"__module__": "other"})
    assert fits(here, there)
    assert not fits(there, other)


@pytest.mark.parametrize(
    ("annotation", "item"),
    [
        (list[int], int),
        (Numbers, int),
        (set[str], str),
        (tuple[int, ...], int),
        (tuple[int, str], Any),
        (list, Any),
        (Any, Any),
        (str, None),
        (dict[str, int], None),
        (int, None),
    ],
)
def test_items(annotation: Any, item: Any) -> None:
    assert item_type(annotation) == item
