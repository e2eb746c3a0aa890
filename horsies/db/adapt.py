"""How values travel: JSON as the bytes it is, never parsed on the way."""

from typing import Any

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


class _RawJsonLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> Any:
        return bytes(data)


def adapters_map() -> AdaptersMap:
    """The adapters of all our connections: psycopg's own, and raw JSON both ways."""
    ours = AdaptersMap(adapters)
    ours.register_dumper(RawJson, _RawJsonDumper)
    ours.register_loader("json", _RawJsonLoader)
    return ours


class AdaptContext:
    """What psycopg takes as the context of a new connection."""

    adapters = adapters_map()
    connection = None


ADAPT_CONTEXT = AdaptContext()
