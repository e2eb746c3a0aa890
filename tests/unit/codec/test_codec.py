"""Values of every supported type are encoded as JSON and decoded unchanged, or refused; nothing changes silently."""

import json
import math
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    computed_field,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import core_schema

from horsies.codec.adapters import CodecError, InvalidJson, TypeCodec, UnsupportedType
from horsies.codec.problems import show_type
from horsies.codec.wire import decode_json, encode_json
from horsies.codes import OutcomeCode
from horsies.task_result import TaskError, TaskResult

BERLIN = ZoneInfo("Europe/Berlin")


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Planet(Enum):
    EARTH = (5.97e24, 6.37e6)
    MARS = (6.4e23, 3.4e6)


class Access(IntFlag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    tag: bytes = b""


class Pair(NamedTuple):
    a: int
    b: int


class Options(TypedDict):
    raw: bytes
    depth: NotRequired[int]


@dataclass
class Item:
    price: Decimal
    tags: set[str] = field(default_factory=set[str])
    raw: bytes = b""


@dataclass(eq=False)
class NoEquality:
    x: int
    raw: bytes = b"\xff"


@dataclass
class Derived:
    x: int
    double: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.double = self.x * 2


@pydantic_dataclass
class Validated:
    raw: bytes


class Order(BaseModel):
    when: datetime
    raw: bytes = b""
    items: list[Item] = []
    where: Point = Point(0)


class SubOrder(Order):
    extra: int = 1


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: int = Field(validation_alias="userName", serialization_alias="who")

    @computed_field
    @property
    def double(self) -> int:
        return self.user * 2


class Node(BaseModel):
    raw: bytes = b""
    kids: list["Node"] = []


class Box[T](BaseModel):
    content: T


class Hooked(BaseModel):
    when: datetime
    ids: set[UUID]

    @model_validator(mode="before")
    @classmethod
    def _as_it_is(cls, data: Any) -> Any:
        return data


class Private(BaseModel):
    a: int = 0
    _hidden: int = PrivateAttr(default=0)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class OwnInit(BaseModel):
    when: datetime
    raw: bytes

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)


class Custom:
    """A class without ``__eq__``, whose objects are compared by identity."""

    def __init__(self, value: int) -> None:
        self.value = value

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> core_schema.CoreSchema:
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(cls, core_schema.int_schema()),
            python_schema=core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda custom: custom.value % 100),
        )


type Json = dict[str, Json] | list[Json] | str | int | float | bool | None
type Pairs[T] = list[tuple[T, T]]

NOW = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
AN_ID = UUID("12345678-1234-5678-1234-567812345678")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


TRAVELS: list[tuple[Any, Any]] = [
    (None, None),
    (bool, True),
    (int, 2**70),
    (int, -(10**4000)),
    (float, -0.0),
    (float, 5e-324),
    (int | float, 1.0),
    (int | float, 1),
    (str, "\0 \U0001f600 ü"),
    (bytes, b"\xff\0"),
    (bytes | None, b"x"),
    (Any, {"a": [1, None, "x", 1.5, True, -0.0, 2**70]}),
    (object, ["x"]),
    (Any, nested(150)),
    (dict, {"a": {"b": []}}),
    (datetime, NOW),
    (datetime, datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)),
    (datetime, datetime.max),  # noqa: DTZ901
    (date, date(1, 1, 1)),
    (time, time(1, 2, 3, 4, tzinfo=UTC)),
    (timedelta, timedelta(days=-1, microseconds=3)),
    (Decimal, Decimal("-0.00")),
    (Decimal, Decimal("1E+100")),
    (UUID, AN_ID),
    (Path, Path("/tmp/ü")),
    (Colour, Colour.RED),
    (Level, Level.LOW),
    (Planet, Planet.MARS),
    (dict[Planet, Planet], {Planet.MARS: Planet.EARTH}),
    (Access, Access.READ | Access.WRITE),
    (Literal["a", 1], 1),
    (Literal[Colour.RED], Colour.RED),
    (list[bytes], [b"\xff"]),
    (tuple[int, bytes], (1, b"\xff")),
    (tuple[int, ...], ()),
    (set[bytes], {b"\xff", b"a"}),
    (frozenset[date], frozenset([date(2026, 1, 1)])),
    (deque[int], deque([1])),
    (Counter[str], Counter("aab")),
    (OrderedDict[str, int], OrderedDict(a=1)),
    (Sequence[bytes], [b"\xff"]),
    (Mapping[str, bytes], {"a": b"\xff"}),
    (dict[bytes, int], {b"\xff": 1}),
    (dict[int, str], {1: "a"}),
    (dict[float, str], {1.5: "a"}),
    (dict[UUID, int], {AN_ID: 1}),
    (dict[date, int], {date(2026, 1, 1): 1}),
    (dict[Level, int], {Level.LOW: 1}),
    (Point, Point(1, b"\xff")),
    (Options, {"raw": b"\xff"}),
    (Item, Item(Decimal("1.10"), {"b", "a"}, b"\xff")),
    (NoEquality, NoEquality(1)),
    (Derived, Derived(2)),
    (Validated, Validated(b"\xff")),
    (Order, Order(when=NOW, raw=b"\xff", items=[Item(Decimal(1), {"x"}, b"\xfe")], where=Point(1, b"\xfd"))),
    (Aliased, Aliased(userName=3)),  # type: ignore[call-arg]
    (Node, Node(raw=b"\xff", kids=[Node(raw=b"\xfe", kids=[Node()])])),
    (Box[bytes], Box[bytes](content=b"\xff")),
    (Box[Box[date]], Box[Box[date]](content=Box[date](content=date(2026, 1, 1)))),
    (Hooked, Hooked(when=NOW, ids={AN_ID})),
    (Private, Private()),
    (Open, Open(extra=[1])),  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    (OwnInit, OwnInit(when=NOW, raw=b"x")),
    (Custom, Custom(3)),
    (Json, {"a": [1, None, {"b": True}]}),
    (Pairs[bytes], [(b"\xff", b"")]),
    (Annotated[int, Field(gt=0)], 1),
    (HttpUrl, HttpUrl("http://a.b/c")),
    (IPv4Address, IPv4Address("1.2.3.4")),
    (re.Pattern[str], re.compile("x")),
    (ZoneInfo, BERLIN),
    (Fraction, Fraction(1, 3)),
    (complex, 1 + 2j),
    (TaskResult, TaskResult(ok=[1])),
    (TaskResult[None], TaskResult(ok=None)),
    (TaskResult[list[bytes], TaskError], TaskResult(ok=[b"\xff"])),
    (
        list[TaskResult[int]],
        [TaskResult(ok=1), TaskResult(err=TaskError(error_code=OutcomeCode.TASK_EXPIRED, data={"a": [1]}))],
    ),
]


def ids(cases: Sequence[tuple[Any, ...]]) -> list[str]:
    return [f"{number}-{show_type(case[0])}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("annotation", "value"), TRAVELS, ids=ids(TRAVELS))
def test_supported_types_travel(annotation: Any, value: Any) -> None:
    codec = TypeCodec(annotation)
    back = codec.decode(codec.encode(value))
    assert type(back) is type(value)
    assert codec.encode(back) == codec.encode(value)
    if type(value).__eq__ is not object.__eq__:
        assert codec.check(value) == value
        assert getattr(value, "fold", 0) or back == value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
LOADED = Private()
LOADED._hidden = 1  # pyright: ignore[reportPrivateUsage]

REFUSED: list[tuple[Any, Any, str]] = [
    (int, True, "expected int, got bool (True)"),
    (int, 1.0, "expected int, got float (1.0)"),
    (int, "1", "expected int, got str ('1')"),
    (int, 10**4400, "4300 digits"),
    (int, Level.LOW, "expected int, got Level ("),
    (str, Colour.RED, "expected str, got Colour ("),
    (str, "a\ud800", "lone surrogate"),
    (float, math.nan, "nan cannot be represented as JSON"),
    (float, math.inf, "inf cannot be represented as JSON"),
    (float, 2**53 + 1, "expected float, got int ("),
    (Decimal, Decimal("NaN"), "finite"),
    (Any, math.nan, "nan"),
    (Any, (1, 2), "tuple ((1, 2)) would be read back from JSON as list ([1, 2])"),
    (Any, {"a": {"b": (1,)}}, "a.b: tuple"),
    (Any, {1: 2}, "would be read back from JSON as dict ({'1': 2})"),
    (Any, {"a": "\ud800"}, "a: str ('\\ud800') has a lone surrogate"),
    (Any, {"\ud800": 1}, "lone surrogate"),
    (Any, {1, 2}, "set"),
    (Any, NOW, "datetime"),
    (Any, b"x", "bytes"),
    (Any, object(), "object"),
    (Any, nested(2000), "epth exceeded"),
    (Any, nested(250), "recursion limit"),
    (Any, CYCLE, "Circular"),
    (dict, {1: 2}, "would be read back"),
    (dict[str, int], defaultdict(int, a=1), "defaultdict"),
    (tuple[int, int], Pair(1, 2), "expected tuple, got Pair ("),
    (Pair, (1, 2), "expected Pair, got tuple ("),
    (Level, 1, "expected Level, got int"),
    (Box[int], {"content": 1}, "expected Box[int], got dict ("),
    (list[float], [math.nan], "[0]: nan cannot be represented as JSON"),
    (Sequence[int], (1,), "would be read back from JSON as list"),
    (deque[int], deque([1], maxlen=3), "deque"),
    (set[str], {Colour.RED}, "expected str, got Colour ("),
    (list[int], [1, "x"], "expected list[int], got list ([1, 'x']): at [1]: input should be a valid integer, got str"),
    (int | str, 1.5, "expected int | str, got float (1.5)"),
    (str | datetime, NOW, "would be read back from JSON as str"),
    (datetime | str, "2026-01-01T00:00:00", "would be read back from JSON as datetime"),
    (str | bytes, b"x", "would be read back from JSON as str"),
    (datetime, datetime(2026, 1, 1, fold=1), "would be read back"),  # noqa: DTZ001
    (datetime, datetime(1890, 1, 1, tzinfo=timezone(timedelta(seconds=3208))), "would be read back"),
    (time, time(1, tzinfo=BERLIN), "would be read back"),
    (PurePath, Path("/x"), "PurePosixPath"),
    (re.Pattern[str], re.compile("x", re.IGNORECASE), "would be read back"),
    (SecretStr, SecretStr("x"), "SecretStr"),
    (Order, SubOrder(when=NOW), "would be read back from JSON as Order"),
    (Private, LOADED, "_hidden: int (1) would be read back from JSON as int (0)"),
    (Open, Open(extra=(1,)), "extra: tuple"),  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    (OwnInit, OwnInit(when=NOW, raw=b"\xff"), "utf-8"),
    (Custom, Custom(103), "would be read back"),
    (Order, Order.model_construct(when="never"), "cannot be written"),
    (TaskResult[int], TaskResult(ok="x"), "ok"),
    (TaskResult[int], 3, "expected a TaskResult, got int"),
]


@pytest.mark.parametrize(("annotation", "value", "said"), REFUSED, ids=ids(REFUSED))
def test_a_value_that_would_change_is_refused(annotation: Any, value: Any, said: str) -> None:
    with pytest.raises(CodecError, match=re.escape(said)):
        TypeCodec(annotation).encode(value)


@pytest.mark.parametrize(
    "annotation",
    [
        Callable[[], int],
        type[int],
        Iterable[int],
        Exception,
        bytearray,
        dict[tuple[int, int], str],
        "Missing",
        int | type,
    ],
    ids=repr,
)
def test_types_without_a_json_form_are_refused_at_once(annotation: Any) -> None:
    with pytest.raises(UnsupportedType, match=r"cannot be represented as JSON|keys of a JSON object"):
        TypeCodec(annotation)


@pytest.mark.parametrize(
    ("annotation", "data"),
    [(int, b'"1"'), (int, b"1.0"), (str, b"1"), (bool, b"1"), (bytes, b'"_w=="'), (Point, b"3"), (Planet, b'"SUN"')],
)
def test_json_is_read_by_strict_rules(annotation: Any, data: bytes) -> None:
    with pytest.raises(CodecError, match="expected"):
        TypeCodec(annotation).decode(data)


@pytest.mark.parametrize("data", [b"", b"{", b"nul", b"\xff", b"[" * 10_000])
def test_invalid_json_is_distinguished(data: bytes) -> None:
    with pytest.raises(InvalidJson):
        TypeCodec(Any).decode(data)
    with pytest.raises(InvalidJson):
        decode_json(data)


@pytest.mark.parametrize("data", [b"{}", b'{"ok": 1, "err": {}}', b'{"ok": "x"}', b'{"no": 1}', b"3"])
def test_a_task_result_has_exactly_one_side(data: bytes) -> None:
    with pytest.raises(CodecError):
        TypeCodec(TaskResult[int]).decode(data)


def test_an_error_in_json_may_have_fields_that_its_class_does_not_know() -> None:
    data = b'{"err": {"error_code": "X", "amount": 3}}'
    assert TypeCodec(TaskResult[int]).decode(data) == TaskResult(err=TaskError(error_code="X"))


def test_sets_are_written_in_one_order() -> None:
    assert TypeCodec(set[str]).encode({"b", "c", "a"}) == b'["a","b","c"]'


def test_validators_may_change_a_value() -> None:
    stripped = TypeCodec(Annotated[str, StringConstraints(strip_whitespace=True)])
    assert stripped.encode(" x ") == b'"x"'
    assert TypeCodec(Annotated[int, AfterValidator(abs)]).encode(-3) == b"3"


def test_a_validator_that_breaks_is_a_refusal() -> None:
    def broken(_value: int) -> int:
        raise KeyError

    with pytest.raises(CodecError, match="a validator raised KeyError"):
        TypeCodec(Annotated[int, AfterValidator(broken)]).encode(3)


def test_equal_subclasses_of_scalars_travel_as_their_base() -> None:
    class Celsius(float):
        """A number of degrees."""

    back = TypeCodec(float).decode(TypeCodec(float).encode(Celsius(1.5)))
    assert (type(back), back) == (float, 1.5)
    assert TypeCodec(float).encode(3) == b"3.0"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    bytes: st.binary(),
    datetime: st.datetimes().map(lambda moment: moment.replace(fold=0)),
    date: st.dates(),
    timedelta: st.timedeltas(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    UUID: st.uuids(),
}


@given(JSON_VALUES)
def test_any_plain_json_travels(value: Any) -> None:
    codec = TypeCodec(Any)
    assert repr(codec.decode(codec.encode(value))) == repr(value)
    assert json.loads(codec.encode(value)) == value == decode_json(encode_json(value))


@given(st.data())
@pytest.mark.parametrize("annotation", SCALARS, ids=lambda kind: kind.__name__)
def test_any_value_of_a_scalar_type_travels_nested(annotation: Any, data: st.DataObject) -> None:
    strategy = SCALARS[annotation]
    value = data.draw(st.dictionaries(st.text(), st.tuples(strategy, st.none() | strategy)))
    codec = TypeCodec(dict[str, tuple[annotation, annotation | None]])
    assert repr(codec.decode(codec.encode(value))) == repr(value)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])))
def test_aware_times_keep_instant_and_offset(moment: datetime) -> None:
    codec = TypeCodec(datetime)
    back = codec.decode(codec.encode(moment))
    assert back.astimezone(UTC) == moment.astimezone(UTC)
    assert back.utcoffset() == moment.utcoffset()


@given(st.sets(st.integers() | st.text()), st.lists(st.binary()))
def test_containers_travel(items: set[int | str], chunks: list[bytes]) -> None:
    codec = TypeCodec(tuple[set[int | str], list[bytes]])
    assert codec.decode(codec.encode((items, chunks))) == (items, chunks)


@pytest.mark.parametrize("value", [math.nan, -math.inf, "\ud800", ["\udfff"], {"a": math.nan}, object(), {1: CYCLE}])
def test_plain_json_is_never_written_wrong(value: object) -> None:
    with pytest.raises(CodecError):
        encode_json(value)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"a": Infinity}'])
def test_constants_that_are_no_json_are_not_read(text: str) -> None:
    with pytest.raises(InvalidJson, match="is not JSON"):
        decode_json(text)


def test_ten_megabytes_travel() -> None:
    text = "\U0001f600\0x" * 1_700_000
    codec = TypeCodec(str)
    data = codec.encode(text)
    assert len(data) > 10_000_000
    assert codec.decode(data) == text
