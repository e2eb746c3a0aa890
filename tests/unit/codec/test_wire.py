"""`ResultCodec`: the stored form of results, and their decoding after their types have changed."""

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from horsies.codec.adapters import CodecError, UnsupportedType
from horsies.codec.signature import SignatureCodec
from horsies.codec.wire import EncodedResult, ResultCodec, TypeMismatch, result_types
from horsies.codes import BUILT_IN_CODES, ContractCode, OperationalErrorCode
from horsies.errors import ErrorCode, TaskDefinitionError
from horsies.task_result import TaskError, TaskResult


class Page(BaseModel):
    title: str
    published: date


class PaymentError(TaskError):
    amount: int
    due: date | None = None


class RefundError(PaymentError):
    """A subclass of the declared class."""


type Outcome = TaskResult[int, PaymentError]
type OutcomeOf[T] = TaskResult[T, TaskError]

PAYMENT = PaymentError(error_code="CARD_EXPIRED", amount=3, due=date(2026, 1, 1))


def test_a_value_is_stored_alone() -> None:
    codec = ResultCodec(Page)
    result = TaskResult(ok=Page(title="a", published=date(2026, 1, 1)))
    encoded = codec.encode(result)
    assert encoded == EncodedResult(is_ok=True, payload=b'{"title":"a","published":"2026-01-01"}', error_code=None)
    assert codec.decode(encoded.is_ok, encoded.payload) == result


def test_an_error_is_decoded_as_its_declared_class() -> None:
    codec = ResultCodec(int, PaymentError)
    encoded = codec.encode(TaskResult(err=PAYMENT))
    assert (encoded.is_ok, encoded.error_code) == (False, "CARD_EXPIRED")
    assert codec.decode(encoded.is_ok, encoded.payload) == TaskResult(err=PAYMENT)


def test_an_undeclared_class_comes_back_as_task_error_though_all_of_it_is_stored() -> None:
    codec = ResultCodec(int)
    encoded = codec.encode(TaskResult(err=PAYMENT))
    assert b'"amount":3' in encoded.payload
    assert codec.decode(encoded.is_ok, encoded.payload) == TaskResult(err=TaskError(error_code="CARD_EXPIRED"))


@pytest.mark.parametrize("code", BUILT_IN_CODES.values())
def test_members_are_decoded_as_members(code: Any) -> None:
    codec = ResultCodec(None)
    encoded = codec.encode(TaskResult(err=TaskError(error_code=code, message="m", exception=ValueError("x"))))
    assert encoded.error_code == code
    assert codec.decode(encoded.is_ok, encoded.payload).err_value.error_code is code


@given(
    st.text().filter(lambda code: code not in BUILT_IN_CODES),
    st.none() | st.text(),
    st.none() | st.dictionaries(st.text(), st.integers()),
)
def test_any_error_travels(code: str, message: str | None, data: dict[str, int] | None) -> None:
    codec = ResultCodec(int)
    result = TaskResult(err=TaskError(error_code=code, message=message, data=data))
    encoded = codec.encode(result)
    assert codec.decode(encoded.is_ok, encoded.payload) == result


@pytest.mark.parametrize(
    ("ok_type", "value", "said"),
    [
        (int, "x", "expected int, got str ('x')"),
        (None, 0, "expected None, got int (0)"),
        (list[int], [1, "x"], "expected list[int], got list ([1, 'x']): at [1]: input should be a valid integer"),
        (Page, {"title": "a"}, "expected Page, got dict ({'title': 'a'}): at published: is missing"),
        (Page, {"title": "a", "published": date(2026, 1, 1)}, "expected Page, got dict ("),
        (int | None, "x", "expected int | None, got str ('x')"),
    ],
    ids=str,
)
def test_a_type_mismatch_names_expected_and_actual_type(ok_type: Any, value: object, said: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        ResultCodec(ok_type).encode(TaskResult(ok=value))
    assert str(caught.value).startswith(said)


def test_a_value_that_json_would_change_is_no_type_mismatch() -> None:
    with pytest.raises(CodecError, match="NaN|nan") as caught:
        ResultCodec(float).encode(TaskResult(ok=math.nan))
    assert not isinstance(caught.value, TypeMismatch)
    assert not ResultCodec(int, PaymentError).encode(TaskResult(err=RefundError(amount=1))).is_ok


def test_an_error_of_another_class_is_a_type_mismatch() -> None:
    with pytest.raises(TypeMismatch, match=r"expected an error of type PaymentError, got TaskError \("):
        ResultCodec(int, PaymentError).encode(TaskResult(err=TaskError(error_code="X")))


@pytest.mark.parametrize(
    "result",
    [
        TaskResult(ok={"a": (1, 2)}),
        TaskResult(ok="\ud800"),
        TaskResult(ok=float("nan")),
    ],
    ids=["tuple", "surrogate", "nan"],
)
def test_a_result_that_json_would_change_is_refused(result: TaskResult[Any]) -> None:
    with pytest.raises(CodecError):
        ResultCodec(Any).encode(result)


class Customer(BaseModel):
    name: str
    since: date
    key: SecretStr


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no words")


class Color(Enum):
    RED = "red"


LIMITLESS = count()
CYCLE: list[object] = [1]
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("data", "stored", "note"),
    [
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00Z", None),
        ({"price": Decimal("1.20"), "id": UUID(int=5)}, {"price": "1.20", "id": str(UUID(int=5))}, None),
        (
            Customer(name="Ada", since=date(2026, 1, 2), key=SecretStr("hunter2")),
            {"name": "Ada", "since": "2026-01-02", "key": "**********"},
            None,
        ),
        (
            [{3}, (1, 2), Color.RED, b"\xff", Path("a/b"), timedelta(seconds=3)],
            [[3], [1, 2], "red", "_w==", "a/b", "PT3S"],
            None,
        ),
        ({"ratio": math.nan, "most": [math.inf, -math.inf]}, {"ratio": "NaN", "most": ["Infinity", "-Infinity"]}, None),
        ({1: "one", None: 2, date(2026, 1, 2): 3}, {"1": "one", "None": 2, "2026-01-02": 3}, None),
        ("\ud800", "\\ud800", None),
        ({"cause": ValueError("x"), "fine": 1}, {"cause": "ValueError('x')", "fine": 1}, "data holds ValueError"),
        ([Broken()], ["<Broken, whose repr raised ValueError>"], "data holds Broken"),
        (CYCLE, "[1, [...]]", "data holds list"),
        ({"big": 10**5000}, {"big": "<int, whose repr raised ValueError>"}, "data holds int"),
        ("x" * 3000, "x" * 3000, None),
        ({1: "one", "1": "uno"}, "{1: 'one', '1': 'uno'}", "data holds dict"),
        ({"rows": [{True: 1, "true": 2}]}, {"rows": ["{True: 1, 'true': 2}"]}, "data holds dict"),
        ({"rows": LIMITLESS}, {"rows": "count(0)"}, "data holds count"),
        ([{"rows": (LIMITLESS,)}], [{"rows": ["count(0)"]}], "data holds count"),
    ],
    ids=[
        "datetime",
        "scalars",
        "model",
        "list",
        "not finite",
        "keys",
        "surrogate",
        "exception",
        "broken repr",
        "cycle",
        "long int",
        "long text",
        "equal keys",
        "equal keys below",
        "iterator",
        "iterator below",
    ],
)
def test_the_code_and_message_of_an_error_are_kept_with_any_data(
    data: object, stored: object, note: str | None
) -> None:
    codec = ResultCodec(int)
    encoded = codec.encode(TaskResult(err=TaskError(error_code="CARD_EXPIRED", message="no card", data=data)))
    assert encoded.error_code == "CARD_EXPIRED"
    back = codec.decode(False, encoded.payload).err_value
    assert (back.error_code, back.data) == ("CARD_EXPIRED", stored)
    expected = "no card" if note is None else f"no card ({note}, which JSON cannot represent: it is stored as its repr)"
    assert back.message == expected
    assert json.loads(TaskError(data=data).to_json())["data"] == stored


def test_a_generator_in_an_error_is_named_and_not_used_up() -> None:
    rows = (number for number in range(3))
    encoded = ResultCodec(int).encode(TaskResult(err=TaskError(error_code="BAD_ROWS", data={"rows": rows})))
    back = ResultCodec(int).decode(False, encoded.payload).err_value
    assert "<generator object" in back.data["rows"]
    assert back.message == "data holds generator, which JSON cannot represent: it is stored as its repr"
    assert list(rows) == [0, 1, 2]


class OrderError(TaskError):
    when: datetime
    extra: Any = None


def test_other_fields_of_an_error_that_json_cannot_carry_are_shown_too() -> None:
    error = OrderError(error_code="NO_ORDER", when=datetime(2026, 3, 1, tzinfo=UTC), extra=CYCLE, data={4})
    encoded = ResultCodec(int, OrderError).encode(TaskResult(err=error))
    assert encoded.error_code == "NO_ORDER"
    back = ResultCodec(int, OrderError).decode(False, encoded.payload).err_value
    assert isinstance(back, OrderError)
    assert (back.when, back.extra, back.data) == (error.when, "[1, [...]]", [4])
    assert back.message == "extra holds list, which JSON cannot represent: it is stored as its repr"

    lone = TaskError(error_code="LONE_\ud800", message="lone \ud800", exception={"type": object()})
    encoded = ResultCodec(int).encode(TaskResult(err=lone))
    assert encoded.error_code == "LONE_\\ud800"
    back = ResultCodec(int).decode(False, encoded.payload).err_value
    assert back.message is not None
    assert back.message.startswith("lone \\ud800 (exception holds object")


@pytest.mark.parametrize("is_ok", [True, False])
@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", "x"])
def test_invalid_json_is_a_deserialization_error(payload: bytes | str, *, is_ok: bool) -> None:
    error = ResultCodec(int).decode(is_ok, payload).err_value
    assert error.error_code is OperationalErrorCode.RESULT_DESERIALIZATION_ERROR
    assert error.message is not None


@pytest.mark.parametrize(
    ("is_ok", "payload", "said"),
    [
        (True, b'"x"', "expected int, got str ('x')"),
        (False, b"3", "expected PaymentError"),
        (False, b'{"error_code": "CARD_EXPIRED"}', "amount: is missing"),
        (False, b'{"error_code": "CARD_EXPIRED", "amount": "x"}', "amount"),
    ],
    ids=str,
)
def test_a_stored_value_of_another_type_is_a_hydration_error(payload: bytes, said: str, *, is_ok: bool) -> None:
    error = ResultCodec(int, PaymentError).decode(is_ok, payload).err_value
    assert error.error_code is ContractCode.PYDANTIC_HYDRATION_ERROR
    assert said in str(error.message)


def test_the_librarys_own_errors_need_not_have_the_fields_of_a_declared_class() -> None:
    crashed = TaskError(error_code=OperationalErrorCode.WORKER_CRASHED, message="signal 9")
    assert ResultCodec(int, PaymentError).decode(False, crashed.to_json()) == TaskResult(err=crashed)


CRASHED = TaskError(error_code=OperationalErrorCode.WORKER_CRASHED, message="killed by SIGKILL")


def test_the_librarys_own_errors_may_stand_inside_of_results_with_a_declared_class() -> None:
    results = [TaskResult[int, PaymentError](ok=1), TaskResult(err=PAYMENT), TaskResult(err=CRASHED)]
    codec = ResultCodec(list[TaskResult[int, PaymentError]])
    stored = json.dumps(
        [{"ok": 1}, {"err": json.loads(PAYMENT.model_dump_json())}, {"err": json.loads(CRASHED.to_json())}]
    )
    assert codec.decode(True, stored).unwrap() == results
    encoded = codec.encode(TaskResult(ok=results))
    assert codec.decode(True, encoded.payload).unwrap() == results


def test_a_parameter_with_a_declared_class_takes_the_librarys_own_errors() -> None:
    def explain(payment: TaskResult[int, PaymentError]) -> None: ...

    codec = SignatureCodec(explain)
    for sent in (TaskResult(err=PAYMENT), TaskResult[int, Any](err=CRASHED)):
        assert codec.decode_call(codec.encode_call((sent,), {})) == ((), {"payment": sent})


def test_an_own_code_in_a_result_needs_the_declared_class() -> None:
    codec = ResultCodec(list[TaskResult[int, PaymentError]])
    plain = TaskError(error_code="CARD_EXPIRED")
    with pytest.raises(TypeMismatch, match="PaymentError"):
        codec.encode(TaskResult(ok=[TaskResult(err=plain)]))
    result = codec.decode(True, b'[{"err":{"error_code":"CARD_EXPIRED"}}]')
    assert result.unwrap_err().error_code is ContractCode.PYDANTIC_HYDRATION_ERROR
    assert "PaymentError.amount: is missing" in str(result.unwrap_err().message)


def test_an_error_of_the_library_is_passed_on_in_place_of_a_declared_class() -> None:
    codec = ResultCodec(int, PaymentError)
    encoded = codec.encode(TaskResult(err=CRASHED))
    assert codec.decode(encoded.is_ok, encoded.payload) == TaskResult(err=CRASHED)


def test_types_are_read_off_the_annotation() -> None:
    assert result_types(TaskResult[int, PaymentError]) == (int, PaymentError)
    assert result_types(TaskResult[int]) == (int, TaskError)
    assert result_types(TaskResult[None, TaskError])[0] is type(None)
    assert result_types(Outcome) == (int, PaymentError)
    assert result_types(OutcomeOf[str]) == (str, TaskError)
    assert result_types(Annotated[TaskResult[int, TaskError], "note"]) == (int, TaskError)


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        None,
        "int",
        TaskResult,
        list[TaskResult[int]],
        TaskResult[int] | None,
        TaskResult[int, PaymentError | RefundError],
    ],
    ids=repr,
)
def test_any_other_annotation_is_refused(annotation: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="not a TaskResult") as caught:
        result_types(annotation, "f")
    assert caught.value.code is ErrorCode.TASK_INVALID_RETURN_TYPE


def test_types_of_a_function() -> None:
    class Local(BaseModel):
        x: int

    def good() -> "TaskResult[Local, PaymentError]":
        return TaskResult(ok=Local(x=1))

    async def awaited() -> TaskResult[int, TaskError]:
        return TaskResult(ok=1)

    codec = ResultCodec.of(good, locals())
    assert (codec.ok_type, codec.err_type) == (Local, PaymentError)
    assert codec.decode(True, codec.encode(good()).payload) == good()
    assert ResultCodec.of(awaited).ok_type is int


def test_a_missing_annotation_is_refused_with_its_place() -> None:
    def bare():  # type: ignore[no-untyped-def] # noqa: ANN202
        return TaskResult(ok=1)

    with pytest.raises(TaskDefinitionError, match="no return annotation") as caught:
        ResultCodec.of(bare)
    assert caught.value.code is ErrorCode.TASK_NO_RETURN_TYPE
    assert caught.value.location is not None
    assert caught.value.location.line == bare.__code__.co_firstlineno
    assert caught.value.location.file == __file__


def test_types_that_cannot_be_carried_or_found_are_refused() -> None:
    def unknown() -> "TaskResult[Nowhere, TaskError]":  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]
        raise NotImplementedError

    def uncarried() -> TaskResult[Exception, TaskError]:
        raise NotImplementedError

    cases = cast("list[tuple[Any, str]]", [(unknown, "Nowhere"), (uncarried, "result of uncarried")])
    for fn, said in cases:
        with pytest.raises(TaskDefinitionError, match=said) as caught:
            ResultCodec.of(fn)
        assert caught.value.code is ErrorCode.TASK_UNSUPPORTED_TYPE
    with pytest.raises(UnsupportedType):
        ResultCodec(Exception)
