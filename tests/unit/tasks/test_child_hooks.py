"""`ChildHook`: the functions that can run at the start of a child, and their identity."""

import functools
import importlib.util
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from horsies import AppConfig, Horsies, PostgresConfig
from horsies.codec.signature import function_location
from horsies.errors import ConfigurationError, ErrorCode
from horsies.tasks.hooks import ChildHook, Hooks, add_hook

HERE = str(Path(__file__))


def one() -> None:
    """A hook."""


def two() -> int:
    return 2


async def asynchronous() -> None:
    """No hook."""


async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


def generator() -> Iterator[int]:
    yield 1


def with_parameter(child: int) -> int:
    return child


def with_defaults(child: int = 1, *rest: int) -> int:
    return child + sum(rest)


class Warm:
    def __call__(self) -> None:
        """A hook."""

    def method(self) -> None:
        """A hook, when bound."""


class WarmLater:
    async def __call__(self) -> None:
        """No hook."""


def hooks_of(*functions: Callable[[], object]) -> list[Callable[[], object]]:
    hooks = Hooks()
    for fn in functions:
        add_hook(hooks.child_start, ChildHook.of(fn))
    return [hook.fn for hook in hooks.child_start]


def test_the_decorator_needs_no_parentheses_and_gives_the_function_back() -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/none")))
    assert app.on_child_process_start(one) is one
    assert app.on_child_process_start(two) is two
    assert [hook.fn for hook in app.registry.hooks.child_start] == [one, two]


@pytest.mark.parametrize("fn", [one, two, Warm(), Warm().method, Warm, functools.partial(max, 1, 2), dict, lambda: 1])
def test_a_callable_without_arguments_is_a_hook(fn: Callable[[], object]) -> None:
    assert hooks_of(fn) == [fn]


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (asynchronous, "asynchronous"),
        (asynchronous_generator, "asynchronous"),
        (WarmLater(), "asynchronous"),
        (generator, "a generator"),
        (with_parameter, "takes child"),
        (with_defaults, "takes child, rest"),
        (Warm.method, "takes self"),
        (None, "not callable"),
        ("one", "not callable"),
    ],
)
def test_other_objects_are_refused(fn: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        ChildHook.of(fn)
    assert caught.value.code is ErrorCode.WORKER_INVALID_CHILD_HOOK
    assert caught.value.location is not None
    assert caught.value.location.file == HERE
    if hasattr(fn, "__code__"):
        assert caught.value.location == function_location(fn)


def test_a_function_counts_once_and_keeps_its_place() -> None:
    assert hooks_of(one, two, one) == [one, two]


def test_one_file_under_two_module_names_counts_once_and_the_last_one_holds(tmp_path: Path) -> None:
    path = tmp_path / "hooks.py"
    path.write_text("def connect() -> None: ...\ndef close() -> None: ...\n")
    modules: list[Any] = []
    for name in ("hooks_a", "hooks_b"):
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        modules.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(modules[-1])
    first, again = modules
    assert hooks_of(first.connect, one, first.close, again.connect) == [again.connect, one, first.close]


def test_closures_of_one_function_are_different_hooks() -> None:
    def make(name: str) -> Callable[[], str]:
        return lambda: name

    a, b = make("a"), make("b")
    assert hooks_of(a, b, a) == [a, b]


def test_a_hook_says_its_name_and_place() -> None:
    assert str(ChildHook.of(one)) == f"one ({function_location(one)})"
