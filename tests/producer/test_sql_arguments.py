"""Arguments that are sent from SQL reach a task as those from Python do, for every kind of parameter."""

import base64
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict

import pytest
from pydantic import BaseModel, Field

from horsies.codec.adapters import CodecError
from horsies.codec.signature import SignatureCodec
from tests.support.sessions import Session, open_session, row, scalar


class Color(enum.Enum):
    RED = "red"


class Pair(enum.Enum):
    ONE = (1, 2)


@dataclass
class Address:
    street: str
    number: int = 1


class Card(BaseModel):
    number: int = Field(alias="cardNumber")


class Line(TypedDict):
    article: str
    count: int


class Point(NamedTuple):
    x: int
    y: float


ID = uuid.UUID("01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e")
AT = datetime(2026, 11, 28, 20, 58, 44, 123456, tzinfo=UTC)
BYTES = bytes(range(256))
KINDS: list[tuple[Any, Any, str]] = [
    (int, 5, "5"),
    (int, -(2**70), "-1180591620717411303424"),
    (float, 1.5, "1.5::float8"),
    (float, 0.1, "0.1::numeric"),
    (bool, True, "true"),
    (str, 'größe "☃" \\ \n', "E'größe \"☃\" \\\\ \\n'"),
    (str | None, None, "null::text"),
    (Decimal, Decimal("12345678901234567890.10"), "'12345678901234567890.10'::numeric::text"),
    (datetime, AT, "'2026-11-28 20:58:44.123456+00'::timestamptz"),
    (datetime, AT.replace(tzinfo=None), "'2026-11-28 20:58:44.123456'::timestamp"),
    (date, AT.date(), "'2026-11-28'::date"),
    (time, time(20, 58), "'20:58'::time"),
    (timedelta, timedelta(days=1, hours=2), "'26:00:00'::interval"),
    (uuid.UUID, ID, f"'{ID}'::uuid"),
    (bytes, BYTES, f"replace(encode('\\x{BYTES.hex()}'::bytea, 'base64'), chr(10), '')"),
    (Color, Color.RED, "'red'"),
    (Pair, Pair.ONE, "'ONE'"),
    (Literal["a", 1], "a", "'a'"),
    (list[int], [1, 2], "array[1, 2]"),
    (set[str], {"b", "a"}, "array['a', 'b']"),
    (tuple[int, str], (1, "x"), "json_build_array(1, 'x')"),
    (dict[str, int], {"x": 1}, "json_build_object('x', 1)"),
    (
        list[Line],
        [{"article": "pen", "count": 2}],
        "(select json_agg(l) from (values ('pen', 2)) as l (article, count))",
    ),
    (Point, Point(1, 2.5), "json_build_array(1, 2.5)"),
    (Address, Address("High Street"), "json_build_object('street', 'High Street')"),
    (Card, Card(cardNumber=7), "json_build_object('number', 7)"),
    (Any, {"x": [1, None, "y"]}, '\'{"x": [1, null, "y"]}\'::jsonb'),
]


def function(kind: Any) -> Callable[..., None]:
    def task(first: Any, /, second: Any, *, third: Any = 3) -> None: ...

    task.__annotations__ |= {"first": kind, "second": kind, "third": int}
    return task


@pytest.fixture
def db(database_url: str) -> Any:
    with open_session(database_url) as session:
        yield session


def send(db: Session, args: str) -> bytes:
    """Send a task with arguments that an SQL expression makes; return what a worker gets."""
    return row(db, "tasks", scalar(db, f"select horsies.send('task', {args}, queue => 'default')"))["args"]


def test_a_value_of_each_kind(db: Session) -> None:
    for kind, value, sql in KINDS:
        codec = SignatureCodec(function(kind))
        from_sql = codec.decode_call(send(db, f"json_build_object('first', {sql}, 'second', {sql})"))
        from_python = codec.decode_call(codec.encode_call((value, value), {}))
        assert from_sql == from_python == ((value,), {"second": value}), sql
        assert type(from_sql[0][0]) is type(value), sql


def test_the_text_that_python_sends_may_be_sent_from_sql(db: Session) -> None:
    for kind, value, _ in KINDS:
        codec = SignatureCodec(function(kind))
        encoded = codec.encode_call((value, value), {"third": 4})
        literal = "'" + encoded.decode().replace("'", "''") + "'"
        stored = send(db, literal)
        assert stored == encoded
        assert codec.decode_call(stored) == ((value,), {"second": value, "third": 4})


def test_nul_escapes_and_repeated_names(db: Session) -> None:
    codec = SignatureCodec(function(str))
    stored = send(db, r"""'{"first": "a\u0000b", "second": "1", "\u0073econd": "\ud83d\ude00\\u0000"}'""")
    assert codec.decode_call(stored) == (("a\0b",), {"second": "😀\\u0000"})
    assert codec.decode_call(codec.encode_call(("a\0b", "😀\\u0000"), {})) == codec.decode_call(stored)


def test_base64_with_line_breaks_is_refused_by_the_worker(db: Session) -> None:
    codec = SignatureCodec(function(bytes))
    text = base64.encodebytes(BYTES).decode().replace("\n", "\\n")
    with pytest.raises(CodecError, match="first"):
        codec.decode_call(send(db, f"""'{{"first": "{text}", "second": ""}}'"""))
