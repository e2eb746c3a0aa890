"""Direct calls of tasks: arguments and results are checked as in a worker."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel

from horsies import (
    AppConfig,
    ContractCode,
    Horsies,
    OperationalErrorCode,
    OutcomeCode,
    PostgresConfig,
    RateLimited,
    TaskError,
    TaskResult,
    WorkflowContext,
    WorkflowMeta,
)

app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nowhere.invalid/jobs")))
UNSENDABLE = OperationalErrorCode.WORKER_SERIALIZATION_ERROR


class Order(BaseModel):
    number: int
    due: date | None = None


class PaymentError(TaskError):
    amount: int


calls: list[object] = []


@app.task("ship")
def ship(
    order: Order, *, copies: int = 1, note: Annotated[str, AfterValidator(str.strip)] = "", extra: Any = None
) -> TaskResult[str, TaskError]:
    calls.append(order)
    return TaskResult(ok=f"{order.number} x {copies} {note!r} {extra}")


@app.task("ship_async")
async def ship_async(order: Order, *, copies: int = 1) -> TaskResult[str, TaskError]:
    await asyncio.sleep(0)
    return TaskResult(ok=f"{order.number} x {copies}")


@app.task("returns")
def returns(what: str) -> TaskResult[int, PaymentError]:
    given: dict[str, Any] = {
        "text": TaskResult(ok="5"),
        "bare": 5,
        "none": None,
        "error": TaskResult(err=TaskError(error_code="OWN")),
        "payment": TaskResult(err=PaymentError(error_code="REFUSED", amount=3)),
        "unstorable": TaskResult(ok=10**5000),
        "surrogate": TaskResult(err=PaymentError(error_code="REFUSED", amount=3, message="\ud800", data={1j})),
    }
    return given[what]


@app.task("returns_async")
async def returns_async(what: str) -> TaskResult[int, PaymentError]:
    await asyncio.sleep(0)
    return returns.__wrapped__(what)


@app.task("describe")
def describe(
    workflow_ctx: WorkflowContext | None = None, workflow_meta: WorkflowMeta | None = None
) -> TaskResult[str, TaskError]:
    where = None if workflow_meta is None else workflow_meta.task_index
    return TaskResult(ok=f"{workflow_ctx is not None} {where}")


@app.task("raises")
def raises(kind: str) -> TaskResult[None, TaskError]:
    raise {"key": KeyError, "exit": SystemExit}[kind](kind)


@app.task("raises_async")
async def raises_async(kind: str) -> TaskResult[None, TaskError]:
    await asyncio.sleep(0)
    return raises.__wrapped__(kind)


def refused(call: Callable[[], TaskResult[Any, TaskError]]) -> TaskError:
    """Return the error of a call that must not reach the function."""
    before = len(calls)
    error = call().unwrap_err()
    assert len(calls) == before
    return error


def test_valid_arguments_are_passed_on() -> None:
    assert ship(Order(number=3), copies=2).unwrap() == "3 x 2 '' None"
    assert asyncio.run(ship_async(Order(number=3))).unwrap() == "3 x 1"


def test_arguments_reach_the_function_as_validators_leave_them() -> None:
    assert ship(Order(number=3), note=" fragile ").unwrap() == "3 x 1 'fragile' None"


ORDER: Any = Order(number=3)


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((ORDER,), {"copies": "2"}, "copies: expected int, got str ('2')"),
        (({"number": 3},), {}, "order: expected Order, got dict"),
        ((ORDER,), {"extra": float("nan")}, "extra: float (nan) would be read back from JSON as None"),
        ((ORDER,), {"extra": (1, 2)}, "extra: tuple ((1, 2)) would be read back from JSON as list ([1, 2])"),
        ((), {"copies": 2}, "ship() is missing the argument 'order'"),
        ((ORDER, 2), {}, "ship() takes 1 positional arguments, got 2"),
        ((ORDER,), {"speed": 2}, "ship() got an unexpected argument 'speed'"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_arguments_that_do_not_fit_are_the_error_of_a_worker(
    args: tuple[Any, ...], kwargs: dict[str, Any], says: str
) -> None:
    error = refused(lambda: ship(*args, **kwargs))
    assert error.error_code is UNSENDABLE
    assert says in str(error.message)


def test_arguments_of_an_async_task_are_checked_when_it_is_awaited() -> None:
    call: Any = ship_async
    error = asyncio.run(call(ORDER, copies="2")).unwrap_err()
    assert (error.error_code, error.message) == (UNSENDABLE, "copies: expected int, got str ('2')")


@pytest.mark.parametrize("call", [returns, lambda what: asyncio.run(returns_async(what))], ids=["def", "async def"])
@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("text", ContractCode.RETURN_TYPE_MISMATCH, "expected int, got str ('5')"),
        ("error", ContractCode.RETURN_TYPE_MISMATCH, "expected an error of type PaymentError, got TaskError"),
        ("bare", OperationalErrorCode.TASK_EXCEPTION, "returned int instead of a TaskResult"),
        ("none", OperationalErrorCode.TASK_EXCEPTION, "returned NoneType instead of a TaskResult"),
        ("unstorable", UNSENDABLE, "digits"),
    ],
)
def test_a_result_that_does_not_fit_is_the_error_of_a_worker(
    call: Callable[[str], TaskResult[int, TaskError]], what: str, code: object, says: str
) -> None:
    error = call(what).unwrap_err()
    assert error.error_code is code
    assert says in str(error.message)


def test_a_result_that_fits_is_returned_as_it_is() -> None:
    assert returns("payment") == TaskResult(err=PaymentError(error_code="REFUSED", amount=3))


def test_an_error_whose_parts_json_cannot_carry_keeps_its_code() -> None:
    error = returns("surrogate").unwrap_err()
    assert (error.error_code, error.amount) == ("REFUSED", 3)


@pytest.mark.parametrize(("kind", "expected"), [("key", KeyError), ("exit", SystemExit)])
def test_exceptions_propagate(kind: str, expected: type[BaseException]) -> None:
    with pytest.raises(expected):
        raises(kind)
    with pytest.raises(expected):
        asyncio.run(raises_async(kind))


def test_parameters_that_a_worker_fills_in_may_be_passed() -> None:
    inputs = {"workflow_id": "a", "index": 1, "task_name": "describe", "ctx": []}
    context = WorkflowContext(inputs, app.registry.result_codec)
    assert describe(context, WorkflowMeta("a", 1, "describe")).unwrap() == "True 1"
    assert describe().unwrap() == "False None"


def test_the_function_itself_is_not_checked() -> None:
    plain: Any = ship.__wrapped__
    assert plain(Order(number=3), copies="many").unwrap() == "3 x many '' None"


@app.task("call_api")
def call_api(how: str) -> TaskResult[str, PaymentError]:
    if how == "raised":
        raise RateLimited(5)
    return RateLimited(5) if how == "bare" else TaskResult(err=RateLimited(5))  # type: ignore[return-value] # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("how", ["returned", "bare"])
def test_an_answer_that_postpones_the_task_is_returned_as_its_error(how: str) -> None:
    assert call_api(how) == TaskResult(err=RateLimited(5))
    assert call_api(how).err_value.error_code is OutcomeCode.RATE_LIMITED


def test_an_answer_that_is_raised_propagates() -> None:
    with pytest.raises(RateLimited, match="rate limited for 5 s"):
        call_api("raised")
