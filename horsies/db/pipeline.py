"""Round trips: several calls in one network round trip, in one or more transactions, directly over libpq.

psycopg's pipelines need a cursor for each call and a wait for each step, which costs more time than the server needs.
Parameters are sent as text without a type, because the server knows the parameter types of its functions.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, BaseConnection, Connection, errors, generators
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus

from horsies.db.connect import Database
from horsies.db.operations import Call, Rows, nothing

type Groups = Sequence[Sequence[Call[Any]]]

# A transaction on a shared session must not depend on the session's default isolation level.
_BEGIN = Call[None]("begin isolation level read committed", (), nothing)
_COMMIT = Call[None]("commit", (), nothing)
_DONE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.PIPELINE_SYNC)
_prepared: WeakKeyDictionary[BaseConnection[Any], dict[bytes, bytes]] = WeakKeyDictionary()


def round_trip(database: Database, connection: Connection[Any], *groups: Sequence[Call[Any]]) -> list[list[Any]]:
    """Make calls, blocking; each group is one transaction.

    Raises:
        psycopg.Error: a call failed. Some transactions may have been committed. The connection is closed.
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


def _run_pipeline(database: Database, connection: BaseConnection[Any], groups: Groups) -> PQGen[list[list[Any]]]:
    pgconn, adapt = connection.pgconn, Transformer(connection)
    is_pooled, settings = database.shares_sessions, database.transaction_settings(connection)
    prepared = None if is_pooled else _prepared.setdefault(connection, {})
    answers = 0
    pgconn.enter_pipeline_mode()
    for group in groups:
        for call in (_BEGIN, settings, *group, _COMMIT) if is_pooled else group:
            statement = database.numbered(call)
            params = adapt.dump_sequence(call.params, [PyFormat.TEXT] * len(call.params))
            if prepared is None:
                pgconn.send_query_params(statement, params)
            elif (name := prepared.get(statement)) is not None:
                pgconn.send_query_prepared(name, params)
            else:
                name = prepared[statement] = b"horsies_%d" % len(prepared)
                pgconn.send_prepare(name, statement)
                pgconn.send_query_prepared(name, params)
                answers += 1
            answers += 1
        pgconn.pipeline_sync()
        answers += 1
    yield from generators.send(pgconn)
    rows: list[Rows] = []
    for _ in range(answers):
        [result] = yield from generators.fetch_many(pgconn)
        if result.status not in _DONE:
            raise errors.error_from_result(result)
        if result.status == ExecStatus.TUPLES_OK:
            adapt.set_pgresult(result)
            rows.append(adapt.load_rows(0, result.ntuples, tuple))
    pgconn.exit_pipeline_mode()
    found = iter(rows)
    sent = [(settings, *group) for group in groups] if is_pooled else groups
    replies = [[call.decode(next(found)) for call in group] for group in sent]
    return [of_group[1:] for of_group in replies] if is_pooled else replies
