"""Round trips: several calls in one network round trip, in one or more transactions, directly over libpq.

psycopg's pipelines need a cursor for each call and a wait for each step, which costs more time than the server needs.
Parameters are sent as text without a type, because the server knows the parameter types of its functions.

Transactions that only notify (`Notice`) may fail without consequences: the outcome of the others counts.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, BaseConnection, Connection, errors, generators
from psycopg.abc import PQGen
from psycopg.abc import Transformer as TransformerType
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn

from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.db.operations import Call, CallFailedError, Notice, Replies, Row, Transaction, Within
from horsies.db.sqlfiles import admin

type Groups = Sequence[Sequence[Call[Any]]]

# A transaction on a shared session must not depend on the session's default isolation level.
_BEGIN = b"begin isolation level read committed"
_COMMIT = b"commit"
_prepared: WeakKeyDictionary[BaseConnection[Any], dict[bytes, bytes]] = WeakKeyDictionary()
_names = count()


def round_trip(database: Database, connection: Connection[Any], *groups: Sequence[Call[Any]]) -> list[list[Any]]:
    """Make calls, blocking; each group is one transaction.

    Returns:
        The replies, by group. A group of notices has none if it failed.

    Raises:
        CallFailedError: a call or a commit failed, or a parameter cannot be sent. Some transactions may have been
            committed. The connection is closed.
        psycopg.Error: the connection was lost. The same applies.
    """
    try:
        return connection.wait(_run_pipeline(database, connection, groups))
    except BaseException:
        connection.close()
        raise


async def round_trip_async(
    database: Database, connection: AsyncConnection[Any], *groups: Sequence[Call[Any]]
) -> list[list[Any]]:
    """Make calls on the running event loop; see `round_trip`."""
    try:
        return await connection.wait(_run_pipeline(database, connection, groups))
    except BaseException:
        await connection.close()
        raise


def extend_transaction(database: Database, connection: Connection[Any], step: Within, *, begins: bool) -> list[Any]:
    """Make the calls of a step in its transaction, blocking.

    Args:
        database: the database.
        connection: the connection of the transaction.
        step: the calls, and whether the transaction is committed after them.
        begins: whether to begin the transaction before them.

    Raises:
        CallFailedError: a call or the commit failed. The connection is closed.
        psycopg.Error: the connection was lost.
    """
    try:
        return connection.wait(_run_step(database, connection, step, begins=begins))
    except BaseException:
        connection.close()
        raise


async def extend_transaction_async(
    database: Database, connection: AsyncConnection[Any], step: Within, *, begins: bool
) -> list[Any]:
    """Make the calls of a step on the running event loop; see `extend_transaction`."""
    try:
        return await connection.wait(_run_step(database, connection, step, begins=begins))
    except BaseException:
        await connection.close()
        raise


def roll_back(connection: Connection[Any], transaction: Transaction) -> None:
    """Roll a transaction back, blocking.

    Raises:
        psycopg.Error: the connection is lost or closed.
    """
    connection.wait(_discard_unread(connection, transaction))
    connection.rollback()


async def roll_back_async(connection: AsyncConnection[Any], transaction: Transaction) -> None:
    """Roll a transaction back on the running event loop; see `roll_back`."""
    await connection.wait(_discard_unread(connection, transaction))
    await connection.rollback()


def call_within[R](database: Database, connection: BaseConnection[Any], call: Call[R]) -> PQGen[R]:
    """Make one call in the open transaction of a connection, without preparing its statement.

    Raises:
        psycopg.Error: the call failed. The transaction has failed, and the connection stays open.
    """
    adapt = Transformer(connection)
    params = adapt.dump_sequence(call.params, [PyFormat.TEXT] * len(call.params))
    connection.pgconn.send_query_params(database.numbered(call), params)
    [result] = yield from generators.execute(connection.pgconn)
    if result.status != ExecStatus.TUPLES_OK:
        raise errors.error_from_result(result)
    adapt.set_pgresult(result)
    return call.decode(adapt.load_rows(0, result.ntuples, tuple))


class _Session(NamedTuple):
    """A connection, and what is needed to send calls over it.

    Attributes:
        database: its database.
        connection: the connection.
        adapt: converts parameters and rows.
        prepared: the names of its prepared statements; None: a pooler shares it, so nothing is prepared.
    """

    database: Database
    connection: BaseConnection[Any]
    adapt: TransformerType
    prepared: dict[bytes, bytes] | None


class _Bounds(NamedTuple):
    """Whether a group begins its transaction with a statement, and commits it with one."""

    begins: bool
    commits: bool


class _Sent(NamedTuple):
    """A group that was sent.

    Attributes:
        calls: its calls, after the settings of the transaction.
        settings: how many of the calls are settings, whose replies nobody needs.
        only_notifies: whether it may fail without consequences.
        prepares: the statements that it prepares before calls of the same positions.
    """

    calls: Sequence[Call[Any]]
    settings: int
    only_notifies: bool
    prepares: dict[int, bytes]


class _GroupError(Exception):
    """A transaction has failed.

    Attributes:
        error: the error of the server.
        call: the call whose statement has failed; None: the commit has failed.
    """

    def __init__(self, error: psycopg.Error, call: Call[Any] | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.call = call


def _run_step(database: Database, connection: BaseConnection[Any], step: Within, *, begins: bool) -> PQGen[list[Any]]:
    """Make the calls of a step, and read the replies to earlier steps. Return the replies to it, if it reads them."""
    notice, transaction = step.commit_with, step.transaction
    bounds = _Bounds(begins, notice is not None)
    unread, transaction.unread = transaction.unread, []
    if step.replies is Replies.LATER:
        pgconn = connection.pgconn
        pgconn.enter_pipeline_mode()
        sent = _send_group(_open_session(database, connection), step.calls, bounds)
        yield from generators.send(pgconn)
        yield from _receive_groups(connection, unread)
        transaction.unread = [sent]
        return []
    groups = [step.calls] if notice is None else [step.calls, [notice]]
    return (yield from _run_pipeline(database, connection, groups, bounds, unread))[0]


def _receive_groups(connection: BaseConnection[Any], unread: Sequence[_Sent]) -> PQGen[None]:
    """Receive the replies of calls that were sent in earlier steps.

    Raises:
        CallFailedError: a call has failed.
    """
    adapt = Transformer(connection)
    for group in unread:
        try:
            yield from _receive_group(connection.pgconn, adapt, group)
        except _GroupError as failure:
            raise call_failed(failure.error, failure.call) from failure.error


def _discard_unread(connection: BaseConnection[Any], transaction: Transaction) -> PQGen[None]:
    """Receive the replies that were not read, so that the connection can be used again, and ignore failed calls."""
    unread, transaction.unread = transaction.unread, []
    for group in unread:
        with suppress(CallFailedError):
            yield from _receive_groups(connection, [group])
    if unread and connection.pgconn.status == ConnStatus.OK:
        connection.pgconn.exit_pipeline_mode()


def _open_session(database: Database, connection: BaseConnection[Any]) -> _Session:
    prepared = None if database.shares_sessions else _prepared.setdefault(connection, {})
    return _Session(database, connection, Transformer(connection), prepared)


def _run_pipeline(
    database: Database,
    connection: BaseConnection[Any],
    groups: Groups,
    first: _Bounds | None = None,
    unread: Sequence[_Sent] = (),
) -> PQGen[list[list[Any]]]:
    """Send groups of calls and receive their replies.

    Args:
        database: the database.
        connection: the connection.
        groups: the calls. Each group is one transaction.
        first: the bounds of the transaction of the first group, if it is part of a longer one.
        unread: earlier calls in the same transaction whose replies are received first.
    """
    session = _open_session(database, connection)
    pgconn, adapt, prepared = connection.pgconn, session.adapt, session.prepared
    pgconn.enter_pipeline_mode()
    sent = [_send_group(session, group, None if number else first) for number, group in enumerate(groups)]
    yield from generators.send(pgconn)
    yield from _receive_groups(connection, unread)
    replies: list[list[Any]] = []
    failed_notice: psycopg.Error | None = None
    for number, group in enumerate(sent):
        try:
            replies.append((yield from _receive_group(pgconn, adapt, group)))
        except _GroupError as failure:
            if not group.only_notifies:
                yield from _skip_groups(pgconn, adapt, sent[number + 1 :])
                raise call_failed(failure.error, failure.call) from failure.error
            failed_notice = failure.error
            replies.append([])
            for statement in group.prepares.values():
                if prepared is not None:
                    prepared.pop(statement, None)
        except psycopg.OperationalError as lost:
            if not all(rest.only_notifies for rest in sent[number:]):
                raise
            database.failed_notices.note(lost)
            return replies + [[] for _ in sent[number:]]
    if pgconn.status == ConnStatus.OK:
        pgconn.exit_pipeline_mode()
    if failed_notice is not None and database.failed_notices.note(failed_notice) and pgconn.status == ConnStatus.OK:
        yield from _advance_notification_queue(pgconn)
    return replies


def _send_group(session: _Session, calls: Sequence[Call[Any]], bounds: _Bounds | None) -> _Sent:
    """Send one transaction. A transaction with special settings is begun and committed explicitly.

    ``bounds`` is None for a group that is a whole transaction.

    A notification needs no settings: its transaction may fail, and must not leave a failed transaction open.
    """
    database, connection, adapt, prepared = session
    only_notifies = bounds is None and all(isinstance(call, Notice) for call in calls)
    has_settings = database.shares_sessions and not only_notifies and (bounds is None or bounds.begins)
    needed = [database.transaction_settings(connection)] if has_settings else []
    begins, commits = bounds or _Bounds(has_settings, has_settings)
    pgconn = connection.pgconn
    group = _Sent([*needed, *calls], len(needed), only_notifies, {})
    if begins:
        pgconn.send_query_params(_BEGIN, [])
    for position, call in enumerate(group.calls):
        statement = database.numbered(call)
        try:
            params = adapt.dump_sequence(call.params, [PyFormat.TEXT] * len(call.params))
        except (psycopg.DataError, UnicodeEncodeError) as error:  # text with NUL or a lone surrogate
            raise call_failed(error, call) from error
        if prepared is None:
            pgconn.send_query_params(statement, params)
        elif (name := prepared.get(statement)) is not None:
            pgconn.send_query_prepared(name, params)
        else:
            name = prepared[statement] = b"horsies_%d" % next(_names)
            group.prepares[position] = statement
            pgconn.send_prepare(name, statement)
            pgconn.send_query_prepared(name, params)
    if commits:
        pgconn.send_query_params(_COMMIT, [])
    pgconn.pipeline_sync()
    return group


def _receive_group(pgconn: PGconn, adapt: TransformerType, group: _Sent) -> PQGen[list[Any]]:
    """Receive the replies of one transaction, to its end.

    Raises:
        _GroupError: the transaction has failed.
    """
    rows: list[Sequence[Row]] = []
    failure: _GroupError | None = None
    while True:
        try:
            results = yield from generators.fetch_many(pgconn)
        except psycopg.OperationalError as lost:
            raise failure or lost from None  # the server has said why it closes the connection
        if not results:
            raise failure or psycopg.OperationalError("the connection was lost earlier in this round trip")
        [result] = results
        match result.status:
            case ExecStatus.PIPELINE_SYNC:
                break
            case ExecStatus.TUPLES_OK:
                adapt.set_pgresult(result)
                rows.append(adapt.load_rows(0, result.ntuples, tuple))
            case ExecStatus.COMMAND_OK | ExecStatus.PIPELINE_ABORTED:
                continue
            case _:
                call = group.calls[len(rows)] if len(rows) < len(group.calls) else None
                failure = _GroupError(errors.error_from_result(result), call)
    if failure is not None:
        raise failure
    replies = [call.decode(found) for call, found in zip(group.calls, rows, strict=True)]
    return replies[group.settings :]


def _skip_groups(pgconn: PGconn, adapt: TransformerType, groups: Sequence[_Sent]) -> PQGen[None]:
    """Receive the replies to the groups after a failed one, before its error is raised and the connection is closed.

    PgBouncer (1.18, in session mode) takes a session for idle between two transactions of a pipeline. If its client
    leaves then, the next client of the session receives the replies that are still to come as those to its own calls.
    """
    with suppress(psycopg.OperationalError):  # the connection was lost
        for group in groups:
            with suppress(_GroupError):
                yield from _receive_group(pgconn, adapt, group)


def _advance_notification_queue(pgconn: PGconn) -> PQGen[None]:
    """Ask for the usage of the notification queue: the server removes what everybody has read then, and only then.

    Without that, a queue that was full once stays full, although nobody holds it up any more.
    """
    pgconn.send_query_params(admin("notification_queue_usage").encode(), [])
    yield from generators.execute(pgconn)
