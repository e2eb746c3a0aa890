"""How values travel: JSON as the bytes it is, never parsed on the way, and lists as arrays of text."""

from collections.abc import Callable
from operator import attrgetter
from types import NoneType
from typing import Any
from uuid import UUID

from psycopg import adapters, postgres
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format


class RawJson(bytes):
    """Encoded JSON, sent as it is."""

    __slots__ = ()


class _RawJsonDumper(Dumper):
    format = Format.TEXT
    oid = postgres.types["json"].oid

    def dump(self, obj: RawJson) -> Buffer:  # pyright: ignore[reportIncompatibleMethodOverride] # psycopg leaves it Any
        return obj


def _quoted(item: object) -> str:
    return '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'


_ITEMS: dict[type, Callable[[Any], str]] = {
    UUID: attrgetter("hex"),
    bool: str,
    int: str,
    float: repr,
    NoneType: lambda _: "null",
}


class _ListDumper(Dumper):
    """Arrays of one dimension, as text whose type the server knows: psycopg's own take ten times as long."""

    format = Format.TEXT

    def dump(self, obj: list[object]) -> Buffer:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ("{" + ",".join([_ITEMS.get(type(item), _quoted)(item) for item in obj]) + "}").encode()


class _RawJsonLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> Any:
        return bytes(data)


def adapters_map() -> AdaptersMap:
    """The adapters of all our connections: psycopg's own, and raw JSON both ways."""
    ours = AdaptersMap(adapters)
    ours.register_dumper(RawJson, _RawJsonDumper)
    ours.register_dumper(list, _ListDumper)
    ours.register_loader("json", _RawJsonLoader)
    return ours


class AdaptContext:
    """What psycopg takes as the context of a new connection."""

    adapters = adapters_map()
    connection = None


ADAPT_CONTEXT = AdaptContext()
