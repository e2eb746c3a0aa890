"""Conversion of values between Python and PostgreSQL: raw JSON, lists as text arrays, times in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from types import NoneType
from typing import Any
from uuid import UUID

from psycopg import adapters, postgres
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.datetime import TimestamptzLoader


class RawJson(bytes):
    """Encoded JSON, which is sent without further conversion."""

    __slots__ = ()


class _RawJsonDumper(Dumper):
    format = Format.TEXT
    oid = postgres.types["json"].oid

    def dump(self, obj: bytes) -> Buffer:  # pyright: ignore[reportIncompatibleMethodOverride] # psycopg leaves it Any
        return obj


class RawText(bytes):
    """Text in UTF-8, which is sent without further conversion."""

    __slots__ = ()


class _RawTextDumper(_RawJsonDumper):
    oid = postgres.types["text"].oid


def _quoted(item: object) -> str:
    return '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'


_ITEMS: dict[type, Callable[[Any], str]] = {
    UUID: attrgetter("hex"),
    bool: str,
    int: str,
    float: repr,
    bytes: lambda item: '"\\\\x' + item.hex() + '"',
    NoneType: lambda _: "null",
}


class _ListDumper(Dumper):
    """Dumps one-dimensional arrays as text; the statement declares the type. It takes a tenth of psycopg's time."""

    format = Format.TEXT

    def dump(self, obj: list[object]) -> Buffer:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ("{" + ",".join([_ITEMS.get(type(item), _quoted)(item) for item in obj]) + "}").encode()


class _RawJsonLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> Any:
        return bytes(data)


class _UtcLoader(TimestamptzLoader):
    """Loads times in UTC. Python compares two times of the same zone by their wall clocks, not as instants.

    PostgreSQL has times that Python cannot represent: after the year 9999, before the year 1, and infinity. They are
    read as the last or the first time of Python, so that a far deadline does not make a task unreadable.
    """

    def load(self, data: Buffer) -> datetime:
        text = bytes(data)
        if text.endswith(b"BC") or text == b"-infinity":
            return _FIRST
        if text == b"infinity" or text.find(b"-") > _DIGITS_OF_A_YEAR:
            return _LAST
        try:
            return super().load(data).astimezone(UTC)
        except OverflowError:  # the first or the last day of Python, in a zone other than UTC
            return _LAST if text.startswith(b"9999") else _FIRST


_DIGITS_OF_A_YEAR = 4
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def adapters_map() -> AdaptersMap:
    """Return the adapters of all connections: psycopg's own, raw JSON in both directions, and times in UTC."""
    ours = AdaptersMap(adapters)
    register_adapters(ours)
    return ours


def register_adapters(to: AdaptersMap) -> None:
    """Add the conversions of this library to those of psycopg."""
    to.register_dumper(RawJson, _RawJsonDumper)
    to.register_dumper(RawText, _RawTextDumper)
    to.register_dumper(list, _ListDumper)
    to.register_loader("json", _RawJsonLoader)
    to.register_loader("timestamptz", _UtcLoader)


class AdaptContext:
    """The adaptation context of a new psycopg connection."""

    adapters = adapters_map()
    connection = None


ADAPT_CONTEXT = AdaptContext()
