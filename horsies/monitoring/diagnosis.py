"""The examination of a database in use: its present and coming problems, each with its fix."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import psycopg

from horsies.codes import BrokerErrorCode
from horsies.db import health, migrate, repair, rights
from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.db.migrate import Condition, SchemaStatus
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.declarations import DeclaredDifference, declared_differences
from horsies.db.queries.rows import HealthRow, WaitingNameRow
from horsies.db.restrictions import find_restrictions
from horsies.embedded.server import EmbeddedError
from horsies.monitoring.broker import Broker
from horsies.monitoring.texts import ago, counted
from horsies.producer.handle import BrokerResult, unanswered
from horsies.result import Ok
from horsies.version import __version__

_OLD_SNAPSHOT_S = 600
_MANY_DEAD_ROWS = 20_000
_DAYS_AHEAD = 3
_NOTICE_WITHIN_S = 2.0
_QUEUE_USAGE = 0.5
_CLOCKS_DIFFER_S = 5.0
_COUNTED = 10_000
"""At most this number of waiting tasks of a name in a queue is counted. A count of a million would take long."""
_ESTIMATED = 100_000
"""The server function estimates larger numbers of live tasks."""
_LISTED = 10
_REPAIR = "horsies db repair MODULE:APP"
_LOOKS = ["health", "worker_stats", "waiting_names", "declared_differences"]
_SET_CLOCKS = "run a time service (chrony, systemd-timesyncd) on all machines"

type Connection = psycopg.Connection[tuple[Any, ...]]


class Finding(NamedTuple):
    """The result of one look at the database.

    Attributes:
        look: The examined part of the database, in one or two words.
        found: The result, as text.
        fix: How to fix the problem; None: there is none.
    """

    look: str
    found: str
    fix: str | None = None


def diagnose(broker: Broker) -> BrokerResult[tuple[Finding, ...]]:
    """Examine the database: find its present and coming problems, as ``horsies doctor`` does.

    It opens a connection, and takes about as long as twenty small queries; up to two seconds more if notifications do
    not arrive.

    Args:
        broker: The broker of the app: ``app.get_broker()``.

    Returns:
        The findings; or an error with MONITORING_QUERY_FAILED.
    """
    database = broker.runner.database
    try:
        database.check_use()
        return Ok(tuple(examine(database)))
    except (psycopg.Error, EmbeddedError) as error:
        return unanswered(BrokerErrorCode.MONITORING_QUERY_FAILED, call_failed(error))


async def diagnose_async(broker: Broker) -> BrokerResult[tuple[Finding, ...]]:
    """Like `diagnose`, for asyncio. The database is examined in a thread."""
    return await asyncio.to_thread(diagnose, broker)


def examine(database: Database) -> list[Finding]:
    """Examine a database.

    Raises:
        psycopg.Error: the database does not answer.
        EmbeddedError: the embedded server does not start.
    """
    with database.connect() as connection:
        return list(_examine(database, connection))


def _examine(database: Database, connection: Connection) -> Iterator[Finding]:
    status = migrate.status(connection, database.schema)
    if status.condition in {Condition.RENAMED, Condition.VERSION_UNKNOWN}:
        yield Finding("schema", status.describe(), _REPAIR)
        return
    if not status.is_current:
        fix = "horsies db migrate" if status.current <= status.latest else "upgrade horsies"
        yield Finding("schema", status.describe(), fix)
        return
    yield from _examine_schema(connection, database.schema, status)
    yield from _examine_rights(connection, database.schema)
    yield _examine_snapshots(health.oldest_snapshot(connection))
    yield _examine_notices(database, connection)
    yield from _examine_restrictions(connection)
    if not rights.lacking_rights(connection, database.schema, _LOOKS):
        yield from _examine_server(database.ask(connection, monitoring_queries.health()))
        yield from _examine_workers(database, connection)
        yield _examine_declarations(database.ask(connection, declared_differences()))
    else:
        found = f"not examined: the role {connection.info.user!r} may not look at them"
        yield Finding("workers", f"{found} (a worker, a viewer and an operator may)")


def _examine_schema(connection: Connection, schema: str, status: SchemaStatus) -> Iterator[Finding]:
    steps = repair.plan(connection, schema)
    differing = [each for each in health.drift(connection, schema) if not each.startswith(repair.REPAIRABLE)]
    if differing:
        found = f"differs from its version {status.current}: {', '.join(differing)}"
        yield Finding("schema", found, "undo the manual changes, or compare with: horsies db sql")
    elif not steps:
        yield Finding("schema", status.describe())
    for step in steps:
        yield Finding("schema", step.found, f"{_REPAIR} ({step.action})")


def _examine_rights(connection: Connection, schema: str) -> Iterator[Finding]:
    role = connection.info.user
    kinds = rights.own_kinds(connection, schema)
    lacking = rights.lacking_rights(connection, schema, rights.functions_of(kinds), rights.views_of(kinds))
    if lacking:
        fix = f"as the owner of the schema: {rights.grant_command(kinds, role)}"
        yield Finding("rights", f"the role {role!r} lacks {', '.join(lacking)}", fix)
    creators = rights.creators_problem(connection, schema)
    if creators is not None:
        yield Finding("rights", *creators)
    for other, right in rights.excessive_rights(connection, schema):
        found = f"{other} has rights that only the owner should have, for example on the {right}"
        fix = f"take all rights on the {right} from it; horsies db grant gives a role the rights that it needs"
        yield Finding("rights", found, fix)


def _examine_snapshots(oldest: health.OldestSnapshot) -> Finding:
    fix = "end it (select pg_terminate_backend(PID)), and set idle_in_transaction_session_timeout; it keeps dead rows"
    if oldest.seconds is not None:
        old = oldest.seconds > _OLD_SNAPSHOT_S
        return Finding("snapshots", f"oldest: {ago(oldest.seconds)}, {oldest.description}", fix if old else None)
    return Finding(
        "snapshots", "oldest: none" + ("" if oldest.sees_all else " that this role may see (see pg_monitor)")
    )


def _examine_server(seen: HealthRow) -> Iterator[Finding]:
    many = seen.dead_rows > max(_MANY_DEAD_ROWS, seen.live_rows)
    fix = "end the session that holds an old snapshot, then: vacuum tasks; check that autovacuum is on and keeps up"
    live = f"{'about ' if seen.live_rows > _ESTIMATED else ''}{seen.live_rows:,} live tasks"
    yield Finding("dead rows", f"about {seen.dead_rows:,} beside {live}", fix if many else None)
    fix = "start a worker, which creates partitions; look for maintenance.failed in its log"
    found = f"history has {seen.days_ahead} days from today on" + (
        ", and rows in the default partition" if seen.default_has_rows else ""
    )
    yield Finding("partitions", found, fix if seen.days_ahead < _DAYS_AHEAD or seen.default_has_rows else None)
    here = abs(time.time() - seen.clock.timestamp())
    ahead = seen.sender_skew_seconds or 0.0
    found = f"this machine is {here:.1f} s from the server's clock, senders are up to {max(ahead, 0.0):.1f} s ahead"
    yield Finding("clocks", found, _SET_CLOCKS if max(here, ahead) > _CLOCKS_DIFFER_S else None)


def _examine_notices(database: Database, connection: Connection) -> Finding:
    if not database.can_listen:
        fix = "set PostgresConfig(session_database_url=…) to a URL that does not go through PgBouncer"
        return Finding("notices", "none through PgBouncer: workers and waiters poll", fix)
    try:
        took = health.notice_seconds(database, connection, _NOTICE_WITHIN_S)
    except psycopg.errors.ProgramLimitExceeded:
        return _examine_queue(health.notification_queue(connection))
    queue = health.notification_queue(connection)
    if queue.usage > _QUEUE_USAGE:
        return _examine_queue(queue)
    if took is not None:
        return Finding("notices", f"take {took * 1000:.1f} ms from one connection to another")
    fix = "if PgBouncer runs in transaction mode, set pgbouncer_transaction_mode=True and session_database_url"
    return Finding("notices", f"do not arrive within {_NOTICE_WITHIN_S:.0f} s", fix)


def _examine_queue(queue: health.NotificationQueue) -> Finding:
    if queue.usage <= _QUEUE_USAGE:
        return Finding("notices", "the notification queue of the server was full; this look has made room")
    oldest = _some([f"{name}, {ago(seconds)}" for name, seconds in queue.oldest])
    found = f"the notification queue of the server is {queue.usage:.0%} full; oldest transactions: {oldest or 'none'}"
    fix = "end the transaction of the session that listens (select pg_terminate_backend(PID)), then look again"
    return Finding("notices", f"{found}; workers and waiters poll meanwhile", fix)


def _examine_restrictions(connection: Connection) -> Iterator[Finding]:
    restrictions = find_restrictions(connection, with_scheduler=True)
    for found, fix in restrictions:
        yield Finding("limits", found, fix)
    if not restrictions:
        yield Finding("limits", "connections and settings of transactions are not restricted")


def _examine_workers(database: Database, connection: Connection) -> Iterator[Finding]:
    workers = database.ask(connection, monitoring_queries.worker_stats())
    versions = sorted({worker.library_version for worker in workers} | {__version__})
    silent = [worker.process_name for worker in workers if worker.is_stale]
    found = f"{len(workers)}, with {', '.join(versions)}" if workers else "none"
    fix = "finish the rollout: all workers should have the same version" if len(versions) > 1 else None
    yield Finding("workers", found, fix)
    skews = [(worker.process_name, worker.clock_skew_s) for worker in workers if worker.clock_skew_s is not None]
    if skews:
        wrong = [
            f"{name} is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}"
            for name, skew in skews
            if abs(skew) > _CLOCKS_DIFFER_S
        ]
        most = f"workers are up to {max(abs(skew) for _, skew in skews):.1f} s from the server's clock"
        yield Finding("clock skew", _some(wrong) or most, _SET_CLOCKS if wrong else None)
    if silent:
        fix = "check their machines; any other worker recovers their tasks"
        yield Finding("heartbeats", f"silent: {_some(silent)}", fix)
    unserved = [
        each for each in database.ask(connection, monitoring_queries.waiting_names(_COUNTED)) if not each.is_served
    ]
    fix = "start a worker that has these tasks and serves their queues, or: horsies tasks cancel --name NAME"
    yield Finding("unclaimable", _summary(unserved) if unserved else "no tasks", fix if unserved else None)


def _examine_declarations(differences: Sequence[DeclaredDifference]) -> Finding:
    """Compare what live workers have registered with what was registered last, which sends from SQL use."""
    found = [
        f"{each.task_name} of {counted(each.workers, 'worker')} with {each.live_version} is not that of "
        f"{each.current_version}, which was registered last ({', '.join(each.differing)})"
        for each in differences
    ]
    fix = "finish the rollout, or register the version that sends from SQL should use: horsies db register MODULE:APP"
    return Finding(
        "declarations", _some(found) or "live workers have no others than those registered last", fix if found else None
    )


def _summary(unserved: Sequence[WaitingNameRow]) -> str:
    """List the names with the most waiting tasks, and the number of other names."""
    most_first = sorted(unserved, key=lambda each: (-each.waiting, each.task_name, each.queue))
    listed = [f"{each.task_name} ({_count(each.waiting)} in {each.queue})" for each in most_first[:_LISTED]]
    others = most_first[_LISTED:]
    if others:
        waiting = counted(sum(each.waiting for each in others), "task")
        listed.append(f"and {waiting} under {counted(len(others), 'other name')}")
    return ", ".join(listed)


def _count(waiting: int) -> str:
    return f"{waiting:,}" + (" or more" if waiting >= _COUNTED else "")


def _some(names: Sequence[str]) -> str:
    """List the first few names, and the number of other names."""
    return ", ".join([*names[:_LISTED], *([f"and {len(names) - _LISTED:,} more"] if len(names) > _LISTED else [])])
