"""Functions that ``@app.task`` refuses because a worker could not call them, with the suggested fixes."""

import functools
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from horsies import AppConfig, ErrorCode, Horsies, TaskError, TaskResult
from horsies.errors import TaskDefinitionError, collecting, frame_location
from tests.support.problems import problems

app = Horsies(AppConfig())
decorate: Any = app.task

type Number = TaskResult[int, TaskError]


def plain(a: int, b: int = 0) -> Number:
    return TaskResult(ok=a + b)


class Shop:
    def open(self, a: int) -> Number:
        return TaskResult(ok=a)

    @classmethod
    def found(cls, a: int) -> Number:
        return TaskResult(ok=a)

    def __call__(self, a: int) -> Number:
        return TaskResult(ok=a)


def bound(self, a: int) -> Number:  # type: ignore[no-untyped-def] # noqa: ANN001 - as with Celery's bind=True
    return TaskResult(ok=a)


def stream(a: int) -> Iterator[int]:
    yield a


async def stream_async(a: int) -> AsyncIterator[int]:
    yield a


@pytest.mark.parametrize(
    ("fn", "says", "fix"),
    [
        (functools.partial(plain, 5), "is defined on a functools.partial", "define a function"),
        (
            Shop.open,
            "is defined on the method Shop.open(), but a worker has no value for its 'self'",
            "at the top level of the module",
        ),
        (bound, "has the parameter 'self'", "current_task() has the id"),
        (Shop.found, "is defined on a method", "define a function"),
        (Shop().open, "is defined on a method", "define a function"),
        (classmethod(plain), "is defined on a method", "define a function"),
        (staticmethod(plain), "is defined on a staticmethod object", "put @staticmethod above @app.task"),
        (stream, "is defined on a generator function: stream() contains yield", "return the whole result at once"),
        (stream_async, "is defined on a generator function: stream_async() contains yield", "current_task().progress"),
        (Shop, "is defined on a class", "define a function"),
        (Shop(), "is defined on a Shop instead of a function", "define a function"),
        (len, "is defined on a builtin_function_or_method", "define a function"),
    ],
)
def test_a_function_that_a_worker_cannot_call_is_refused(fn: Callable[..., Any], says: str, fix: str) -> None:
    found = problems(lambda: decorate("task")(fn))
    [problem] = [each for each in found if each.code is ErrorCode.TASK_INVALID_FUNCTION]
    assert problem.message.startswith("task 'task' ")
    assert says in problem.message
    assert fix in str(problem.help_text)
    assert problem.location is not None
    assert problem.location.file == __file__
    assert "task" not in app.list_tasks()


def test_a_parameter_that_is_called_self_and_has_a_type_is_an_argument() -> None:
    def patient(self: int) -> Number:
        return TaskResult(ok=self)

    own = Horsies(AppConfig())
    assert own.task("patient")(patient)(3).ok_value == 3


def test_a_static_method_below_its_decorator_is_a_task() -> None:
    own = Horsies(AppConfig())

    class Till:
        @staticmethod
        @own.task("total")
        def total(a: int) -> Number:
            return TaskResult(ok=a)

    assert Till.total.task_name == "total"
    assert Till().total(3).ok_value == 3


@pytest.mark.parametrize("fn", [plain, bound, stream_async])
def test_a_decorator_without_parentheses_is_refused_at_its_function(fn: Callable[..., Any]) -> None:
    [problem] = problems(lambda: decorate(fn))
    assert isinstance(problem, TaskDefinitionError)
    assert problem.code is ErrorCode.TASK_INVALID_OPTIONS
    assert problem.help_text == f'write @app.task("{fn.__name__}")'
    assert problem.location == frame_location(__file__, fn.__code__.co_firstlineno)


def test_a_check_continues_after_a_decorator_without_parentheses() -> None:
    found: list[Any] = []
    source = """
        @decorate
        def first(a: int) -> Number: ...
        @decorate
        def second(a: int) -> Number: ...
        first.with_options(delay=1.0)
    """
    with collecting(found):
        exec(textwrap.dedent(source), globals() | {})  # noqa: S102 - a module of a user
    assert [error.help_text for error in found] == ['write @app.task("first")', 'write @app.task("second")']


@pytest.mark.parametrize("timeout_ms", [99, 2**31, 1000.0, True])
def test_a_time_out_that_cannot_be_stored_is_refused(timeout_ms: Any) -> None:
    def add(a: int) -> TaskResult[int, TaskError]:
        return TaskResult(ok=a)

    with pytest.raises(TaskDefinitionError, match="whole number from 100 to 2,147,483,647") as refused:
        decorate("add", timeout_ms=timeout_ms)(add)
    assert refused.value.code == "HRS-102"
