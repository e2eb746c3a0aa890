"""`SignatureCodec`: arguments are encoded as JSON by parameter name and decoded."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any, NotRequired, TypedDict, Unpack, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from horsies.codec.adapters import CodecError, InvalidJson
from horsies.codec.signature import SignatureCodec, Variadics
from horsies.errors import ErrorCode, TaskDefinitionError
from horsies.task_result import TaskError, TaskResult


class Order(BaseModel):
    number: int
    raw: bytes = b""


@dataclass
class Item:
    name: str


class Options(TypedDict):
    deep: NotRequired[bool]


class Size(IntEnum):
    LARGE = 1


def add(a: int, b: int) -> object:
    return a + b


def mixed(first: int, /, second: str, third: date = date(2026, 1, 1), *, fourth: bytes, fifth: Any = None) -> object:
    return first, second, third, fourth, fifth


def positional(a: int, b: int = 2, c: int = 3, /) -> object:
    return a, b, c


def _plain(a, b=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # pyright: ignore[reportUnknownParameterType, reportMissingParameterType]
    return a, b  # pyright: ignore[reportUnknownVariableType]


plain = cast("Callable[..., object]", _plain)


def rich(
    order: Order, items: list[Item], upstream: TaskResult[int, TaskError], options: Options | None = None
) -> object:
    return order, items, upstream, options


def call_through(fn: Callable[..., object], *args: Any, **kwargs: Any) -> object:
    codec = SignatureCodec(fn)
    back_args, back_kwargs = codec.decode_call(codec.encode_call(args, kwargs))
    return fn(*back_args, **back_kwargs)


def test_arguments_are_stored_by_name_in_the_order_of_the_signature() -> None:
    codec = SignatureCodec(add)
    assert codec.encode_call((5, 3), {}) == b'{"a":5,"b":3}'
    assert codec.encode_call((), {"b": 3, "a": 5}) == b'{"a":5,"b":3}'
    assert codec.encode_call((5,), {"b": 3}) == b'{"a":5,"b":3}'


def test_defaults_are_not_frozen_in() -> None:
    codec = SignatureCodec(mixed)
    assert codec.encode_call((1, "x"), {"fourth": b"\xff"}) == b'{"first":1,"second":"x","fourth":"/w=="}'


def test_every_kind_of_parameter_works() -> None:
    assert call_through(mixed, 1, "x", fourth=b"") == mixed(1, "x", fourth=b"")
    third = date(2020, 2, 2)
    assert call_through(mixed, 1, "x", third, fourth=b"", fifth={"a": 1}) == (1, "x", third, b"", {"a": 1})
    assert call_through(mixed, 1, second="x", fourth=b"") == mixed(1, second="x", fourth=b"")
    for args in ((1,), (1, 5), (1, 5, 6)):
        assert call_through(positional, *args) == positional(*args)
    assert call_through(plain, [1], b={"x": None}) == ([1], {"x": None})


@given(st.integers(), st.integers())
def test_integers_of_any_size_travel(a: int, b: int) -> None:
    assert call_through(add, a, b) == a + b


def test_rich_types_travel() -> None:
    upstream: TaskResult[int, TaskError] = TaskResult(err=TaskError(error_code="X"))
    args = (Order(number=1, raw=b"\xff"), [Item("a")], upstream, {"deep": True})
    assert call_through(rich, *args) == args


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter", "said"),
    [
        ((1,), {}, "b", "add() is missing the argument 'b'"),
        ((), {"b": 1}, "a", "add() is missing the argument 'a'"),
        ((1, 2, 3), {}, None, "add() takes 2 positional arguments, got 3"),
        ((1, 2), {"c": 3}, "c", "add() got an unexpected argument 'c'"),
        ((1, 2), {"b": 3}, "b", "add() got multiple values for the argument 'b'"),
        ((1, "x"), {}, "b", "b: expected int, got str ('x')"),
        ((1, None), {}, "b", "b: expected int, got None"),
        ((1, True), {}, "b", "b: expected int, got bool (True)"),
        ((10**5000, 1), {}, "a", "a: Exceeds the limit"),
    ],
    ids=["missing", "first", "many", "unexpected", "twice", "type", "none", "bool", "huge"],
)
def test_an_unsuitable_argument_names_the_parameter(
    args: tuple[Any, ...], kwargs: dict[str, Any], parameter: str | None, said: str
) -> None:
    with pytest.raises(CodecError, match=re.escape(said)) as caught:
        SignatureCodec(add).encode_call(args, kwargs)
    assert caught.value.parameter == parameter


def test_a_positional_only_parameter_is_not_taken_by_name() -> None:
    with pytest.raises(CodecError, match="takes the argument 'a' by position only"):
        SignatureCodec(positional).encode_call((), {"a": 1})


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": (1,)}, "b.a: tuple ((1,)) would be read back from JSON as list"),
        (float("nan"), "b: float (nan) would be read back"),
        ("\ud800", "b: str ('\\ud800') has a lone surrogate"),
        ({"\ud800": 1}, "b: Any cannot be written as JSON: it holds a lone surrogate"),
        (cyclic(), "b: Any cannot be written as JSON: ValueError: Circular"),
        (object(), "b: Any cannot be written"),
        ([[["x"] * 3, {1: 2}]], "b[0][1]: dict ({1: 2}) would be read back"),
    ],
    ids=["tuple", "nan", "surrogate", "key", "cycle", "object", "nested"],
)
def test_a_value_that_would_change_names_the_parameter_and_the_place(value: object, said: str) -> None:
    with pytest.raises(CodecError, match=re.escape(said)) as caught:
        SignatureCodec(plain).encode_call((1, value), {})
    assert caught.value.parameter == "b"


@pytest.mark.parametrize(
    ("data", "parameter", "said"),
    [
        (b'{"a": 1}', "b", "b: is missing"),
        (b'{"a": 1, "b": 2, "c": 3}', "c", "c: is not a known field"),
        (b'{"a": 1, "b": "2"}', "b", "b: expected int, got str ('2')"),
        (b"[1, 2]", None, "should be an object"),
    ],
    ids=["missing", "unknown", "type", "list"],
)
def test_stored_arguments_that_no_longer_fit_name_the_parameter(data: bytes, parameter: str | None, said: str) -> None:
    with pytest.raises(CodecError, match=re.escape(said)) as caught:
        SignatureCodec(add).decode_call(data)
    assert caught.value.parameter == parameter


def test_stored_arguments_that_are_no_json() -> None:
    with pytest.raises(InvalidJson):
        SignatureCodec(add).decode_call(b"{")


def test_an_enum_is_never_flattened_next_to_a_type_with_validators_of_pydantics_own() -> None:
    def fn(where: Path, amount: int) -> None: ...

    codec = SignatureCodec(fn)
    with pytest.raises(CodecError, match="amount: expected int"):
        codec.decode_call(b'{"where": "/x", "amount": "1"}')
    with pytest.raises(CodecError, match=r"amount: expected int, got Size \("):
        codec.encode_call((Path("/x"), Size.LARGE), {})


def test_an_alias_in_a_field_does_not_rename_a_parameter() -> None:
    def fn(a: Annotated[int, Field(alias="x", gt=0)]) -> object:
        return a

    assert SignatureCodec(fn).encode_call((1,), {}) == b'{"a":1}'
    assert call_through(fn, 1) == 1
    with pytest.raises(CodecError, match=r"a: expected int, got int \(0\): input should be greater than 0"):
        SignatureCodec(fn).encode_call((0,), {})


def test_annotations_may_use_local_names() -> None:
    class Local(BaseModel):
        x: int

    @dataclass
    class Outer:
        inner: "list[Local]"

    def fn(a: "Local", b: "Outer | None" = None) -> object:
        return a, b

    codec = SignatureCodec(fn, locals())
    value = (Local(x=1), Outer([Local(x=2)]))
    assert (
        fn(*codec.decode_call(codec.encode_call(value, {}))[0], **codec.decode_call(codec.encode_call(value, {}))[1])
        == value
    )
    assert [parameter.annotation for parameter in codec.parameters.values()] == [Local, Outer | None]


def test_a_generic_functions_own_parameter_is_plain_json() -> None:
    def fn[T](a: "T", b: list[T]) -> object:
        return a, b

    assert call_through(fn, {"x": 1}, [1, "y"]) == ({"x": 1}, [1, "y"])


def unresolved(a: int, b: "Nowhere") -> None: ...  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]


def function_typed(a: int, b: Callable[[], int]) -> None: ...


def iterated(b: Iterable[int]) -> None: ...


def not_a_type(b: 5) -> None: ...  # type: ignore[valid-type] # pyright: ignore[reportInvalidTypeForm, reportUnknownParameterType]


def keyed(b: dict[tuple[int, int], str]) -> None: ...


UNCARRIED = cast("list[FunctionType]", [unresolved, function_typed, iterated, not_a_type, keyed])


@pytest.mark.parametrize("fn", UNCARRIED, ids=lambda fn: fn.__name__)
def test_parameters_that_cannot_be_carried_are_refused_with_their_place(fn: FunctionType) -> None:
    with pytest.raises(TaskDefinitionError, match=rf"parameter 'b' of {fn.__name__}\(\) has the annotation") as caught:
        SignatureCodec(fn)
    assert caught.value.code is ErrorCode.TASK_UNSUPPORTED_TYPE
    assert caught.value.location is not None
    assert (caught.value.location.file, caught.value.location.line) == (__file__, fn.__code__.co_firstlineno)


def open_args(*args: int) -> None: ...


def open_kwargs(**kwargs: int) -> None: ...


@pytest.mark.parametrize("fn", [open_args, open_kwargs], ids=["args", "kwargs"])
def test_open_signatures_are_refused(fn: Callable[..., object]) -> None:
    with pytest.raises(TaskDefinitionError, match="fixed and named") as caught:
        SignatureCodec(fn)
    assert caught.value.code is ErrorCode.TASK_UNSUPPORTED_TYPE


def build(url: str, *args: str, times: int = 1, **others: datetime) -> object:
    return url, args, times, others


def test_variadics_may_be_accepted() -> None:
    codec = SignatureCodec(build, variadics=Variadics.ACCEPTED)
    assert (list(codec.parameters), codec.required, codec.positional) == (["url", "times"], {"url"}, ["url"])
    assert codec.encode_argument("since", datetime(2026, 1, 1, tzinfo=UTC)) == b'"2026-01-01T00:00:00Z"'
    args, kwargs = codec.decode_call(b'{"since":"2026-01-01T00:00:00Z","url":"x"}')
    assert build(*args, **kwargs) == ("x", (), 1, {"since": datetime(2026, 1, 1, tzinfo=UTC)})


@pytest.mark.parametrize(
    ("stored", "parameter"),
    [(b'{"url":1}', "url"), (b'{"since":"2026-01-01T00:00:00Z"}', "url"), (b'{"url":"x","since":"soon"}', "since")],
)
def test_arguments_beside_variadics_are_checked(stored: bytes, parameter: str) -> None:
    with pytest.raises(CodecError) as caught:
        SignatureCodec(build, variadics=Variadics.ACCEPTED).decode_call(stored)
    assert caught.value.parameter == parameter


class Sizes(TypedDict):
    width: int
    depth: NotRequired[float]


def test_unpacked_keywords_are_parameters() -> None:
    def cut(name: str, **sizes: Unpack[Sizes]) -> object:
        return name, sizes

    codec = SignatureCodec(cut, variadics=Variadics.ACCEPTED)
    assert (list(codec.parameters), codec.required) == (["name", "width", "depth"], {"name", "width"})
    assert codec.parameter("height") is None
    args, kwargs = codec.decode_call(b'{"name":"x","width":3,"depth":0.5}')
    assert cut(*args, **kwargs) == ("x", {"width": 3, "depth": 0.5})


def test_a_task_may_have_no_parameters() -> None:
    codec = SignatureCodec(lambda: None)
    assert codec.encode_call((), {}) == b"{}"
    assert codec.decode_call(b"{}") == ((), {})


class Pair(Enum):
    ONE = (1, 2)


type Blob = bytes


def test_a_type_with_another_form_in_json_may_be_used_twice() -> None:
    def task(first: Pair, second: Pair | None, data: Blob, more: list[Blob]) -> None: ...

    codec = SignatureCodec(task)
    args = (Pair.ONE, Pair.ONE, b"\xff", [b"\xfe"])
    encoded = codec.encode_call(args, {})
    assert encoded == b'{"first":"ONE","second":"ONE","data":"/w==","more":["/g=="]}'
    assert tuple(codec.decode_call(encoded)[1].values()) == args
