"""The child processes of workers: their memory, and their last deaths. Also the versions of the app that are new."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from horsies.codec.problems import CodecError
from horsies.codec.text import decode_json
from horsies.db.operations import Operation
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.monitoring import NewVersionRow, WorkerChildrenRow
from horsies.monitoring.asking import answered, refused, wrong_limit
from horsies.monitoring.broker import Broker
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult

_MOST_VERSIONS = 1000
_MOST_SLOTS = 10_000
_MOST_DEATHS = 100
_FIELDS_OF_A_DEATH = 5


@dataclass(frozen=True, slots=True)
class ChildDeath:
    """The unplanned end of a child process.

    Attributes:
        died_at: When it died, by the clock of the database.
        slot: The slot of the worker that it served, from 0.
        pid: Its process id; None: unknown.
        reason: ``killed``: the worker killed it, because a task did not stop or the process did not respond.
            ``signal``: a signal killed it that the worker had not sent, for instance from the kernel when memory was
            short. ``exit``: it exited by itself.
        cause: The cause in words.
    """

    died_at: datetime
    slot: int
    pid: int | None
    reason: str
    cause: str


@dataclass(frozen=True, slots=True)
class WorkerChildren:
    """The child processes of a worker, as of its last heartbeat.

    Attributes:
        worker_id: The worker.
        app_version: Its version of the app; None: it has not registered its tasks yet.
        memory_mb: The resident memory of the child in each slot, in megabytes; None for a slot without a child. Empty
            until the first heartbeat, and for workers of older releases.
        deaths: The last unplanned deaths of its children, the latest first, at most 20.
    """

    worker_id: str
    app_version: str | None
    memory_mb: tuple[int | None, ...]
    deaths: tuple[ChildDeath, ...]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version of the app that has appeared.

    Attributes:
        app_version: The version.
        appeared_at: When its first worker was started.
    """

    app_version: str
    appeared_at: datetime


def worker_children(broker: Broker) -> BrokerResult[tuple[WorkerChildren, ...]]:
    """Return what the registered workers have said about their child processes.

    Args:
        broker: The broker of the app: ``app.get_broker()``.

    Returns:
        One entry for each worker, in no particular order; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_read_children())


async def worker_children_async(broker: Broker) -> BrokerResult[tuple[WorkerChildren, ...]]:
    """Like `worker_children`, for asyncio."""
    return await broker.runner.run_async(_read_children())


def new_versions(broker: Broker, since: datetime, *, limit: int = 20) -> BrokerResult[tuple[NewVersion, ...]]:
    """Return the versions of the app that appeared in a time, the latest first.

    A version is new if no worker had it before. Workers that stopped more than a week ago are forgotten.

    Args:
        broker: The broker of the app: ``app.get_broker()``.
        since: An aware datetime; versions whose first worker was started then or later.
        limit: The largest number of versions, 1 to 1,000.

    Returns:
        The versions; or an error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_read_versions(since, limit))


async def new_versions_async(
    broker: Broker, since: datetime, *, limit: int = 20
) -> BrokerResult[tuple[NewVersion, ...]]:
    """Like `new_versions`, for asyncio."""
    return await broker.runner.run_async(_read_versions(since, limit))


def _read_children() -> Operation[BrokerResult[tuple[WorkerChildren, ...]]]:
    def decoded(rows: list[WorkerChildrenRow]) -> tuple[WorkerChildren, ...]:
        return tuple(_children(row) for row in rows)

    return (yield from answered(monitoring_queries.worker_children())).map(decoded)


def _read_versions(since: datetime, limit: int) -> Operation[BrokerResult[tuple[NewVersion, ...]]]:
    if since.tzinfo is None:
        return refused(f"since must be an aware datetime, got {short_repr(since)}")
    if (wrong := wrong_limit(limit, 1, _MOST_VERSIONS)) is not None:
        return wrong

    def decoded(rows: list[NewVersionRow]) -> tuple[NewVersion, ...]:
        return tuple(NewVersion(row.app_version, row.appeared_at) for row in rows)

    return (yield from answered(monitoring_queries.new_versions(since, limit))).map(decoded)


def _children(row: WorkerChildrenRow) -> WorkerChildren:
    report = _object(row.children)
    memory, deaths = report.get("memory"), report.get("deaths")
    return WorkerChildren(
        worker_id=str(row.worker_id),
        app_version=row.app_version,
        memory_mb=tuple(_whole(each) for each in _list(memory)[:_MOST_SLOTS]),
        deaths=tuple(_deaths(_list(deaths)[-_MOST_DEATHS:][::-1])),
    )


def _object(stored: bytes | None) -> dict[str, Any]:
    """Read the report of a worker. One that is not valid, which no worker of this library writes, counts as empty."""
    try:
        found = None if stored is None else decode_json(stored)
    except CodecError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _deaths(given: list[object]) -> Iterator[ChildDeath]:
    for each in given:
        fields = _list(each)
        if len(fields) != _FIELDS_OF_A_DEATH:
            continue
        at, slot, pid, reason, cause = fields
        died_at, known_slot = _time(at), _whole(slot)
        if died_at is not None and known_slot is not None:
            yield ChildDeath(died_at, known_slot, _whole(pid), str(reason), str(cause))


def _time(seconds: object) -> datetime | None:
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
