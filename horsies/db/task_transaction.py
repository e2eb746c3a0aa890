"""The transaction in which a transactional task runs: its connections, and the two round trips that horsies adds.

```
begin_own    reset the session, begin, set `horsies.fence`          one message, see `task_connection`
             … statements of the user …
finish_own   check deferred constraints, `finish_own`, commit       one pipeline
```

If the task does not use its connection, and the session is clean, the transaction begins in the pipeline of its end:
there is one round trip then.

The child that runs the task makes these calls over the user's own connection. The server function `finish_own` raises
unless the outcome is written, and then the server skips the commit behind it. So the writes of the user and the outcome
of the task are committed together, or neither is.
"""

from enum import Enum
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, generators
from psycopg.abc import AdaptContext, PQGen
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn

from horsies.db.bounded import BoundedConnection
from horsies.db.connect import Database
from horsies.db.operations import Call
from horsies.db.pipeline import call_within
from horsies.db.queries import worker as worker_queries
from horsies.db.sqlfiles import admin
from horsies.db.task_connection import (
    OPEN,
    AsyncTaskConnection,
    BeginState,
    OwnFence,
    SessionState,
    TaskConnection,
    begin_script,
    begin_statements,
    execute,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_REFUSED_RESULT = ("22", "54")  # classes of errors: data exception, program limit exceeded


class EndReason(Enum):
    """Why the end of a transaction failed."""

    REFUSED = "the database refused the writes of the task: a constraint, a trigger or the commit"
    RESULT_REFUSED = "the database refused the result of the task"
    ENDED_EARLY = "the user's SQL has committed the transaction or rolled it back"
    CLAIM_LOST = "the attempt does not hold its task any more"
    UNKNOWN = "the connection was lost: it is not known what the server has done"


class EndFailedError(Exception):
    """The transaction was not committed, or it is not known whether it was.

    Attributes:
        reason: why.
        error: the error of the driver.
    """

    def __init__(self, reason: EndReason, error: psycopg.Error) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.error = error


_REASONS = {"P0H02": EndReason.ENDED_EARLY, "P0H03": EndReason.CLAIM_LOST}  # see finish_own.sql


def open_connection(database: Database, context: AdaptContext | None = None) -> TaskConnection:
    """Open a connection for tasks, blocking. Its session has the settings that the server gives the app's role.

    Args:
        database: the database.
        context: the conversion of values; None: that of psycopg.

    Raises:
        psycopg.Error: it cannot be opened.
    """
    return TaskConnection.connect(database.url, context=context, **_connect_kwargs(database))


async def open_connection_async(database: Database, context: AdaptContext | None = None) -> AsyncTaskConnection:
    """Open a connection for tasks on the running event loop; see `open_connection`."""
    return await AsyncTaskConnection.connect(database.url, context=context, **_connect_kwargs(database))


def _connect_kwargs(database: Database) -> dict[str, Any]:
    """No statement is prepared by psycopg: it would not know that the session is reset between attempts."""
    return {"prepare_threshold": None, **database.config.connect_kwargs()}


def begin(database: Database, connection: TaskConnection, own: OwnFence) -> None:
    """Reset the session and begin the transaction of an attempt. This blocks only if the session may be lost.

    Raises:
        psycopg.Error: the connection is lost, or a statement has failed.
    """
    with connection.lock:
        if database.shares_sessions or not connection.begin_late(own):
            connection.wait_briefly(_begin(connection.session, own))
            connection.hand_out()


async def begin_async(database: Database, connection: AsyncTaskConnection, own: OwnFence) -> None:
    """Like `begin`, for asyncio."""
    async with connection.lock:
        if database.shares_sessions or not connection.begin_late(own):
            await connection.wait_briefly(_begin(connection.session, own))
            connection.hand_out()


def finish(database: Database, connection: TaskConnection, own: OwnFence, result: bytes) -> None:
    """Write the outcome of a successful attempt and commit, blocking.

    Raises:
        EndFailedError: nothing was committed, or it is not known.
    """
    with connection.lock:
        connection.take_back()
        try:
            connection.wait_for_begin()
            connection.wait_briefly(_finish(database, connection, own, result))
        except psycopg.Error as lost:
            raise EndFailedError(EndReason.UNKNOWN, lost) from lost


async def finish_async(database: Database, connection: AsyncTaskConnection, own: OwnFence, result: bytes) -> None:
    """Like `finish`, for asyncio."""
    async with connection.lock:
        connection.take_back()
        try:
            await connection.wait_for_begin()
            await connection.wait_briefly(_finish(database, connection, own, result))
        except psycopg.Error as lost:
            raise EndFailedError(EndReason.UNKNOWN, lost) from lost


def begin_within(connection: BoundedConnection, own: OwnFence) -> None:
    """Mark the open transaction of a test as that of an attempt; see `begin`.

    Raises:
        psycopg.Error: the connection is lost, or the transaction has failed.
    """
    connection.execute(admin("set_fence").encode(), (own.setting,))


def finish_within(database: Database, connection: BoundedConnection, own: OwnFence, result: bytes) -> None:
    """Write the outcome of a successful attempt in the open transaction, for tests; see `finish`.

    Raises:
        EndFailedError: the outcome was not written, and the transaction has failed.
    """
    finishing = _finish_own(own, result)
    is_finish = False
    try:
        connection.execute(admin("check_constraints").encode())
        connection.execute(admin("defer_constraints").encode())
        is_finish = True
        connection.wait(call_within(database, connection, finishing))
    except psycopg.Error as error:
        raise EndFailedError(_reason(error, is_finish=is_finish), error) from error


def roll_back(connection: TaskConnection) -> None:
    """Roll the transaction back if it has begun and has not ended, blocking.

    Raises:
        psycopg.Error: the connection is lost.
    """
    with connection.lock:
        connection.take_back()
        connection.wait_for_begin()
        if _is_open(connection):
            connection.wait_briefly(_roll_back(connection.session))


async def roll_back_async(connection: AsyncTaskConnection) -> None:
    """Like `roll_back`, for asyncio."""
    async with connection.lock:
        connection.take_back()
        await connection.wait_for_begin()
        if _is_open(connection):
            await connection.wait_briefly(_roll_back(connection.session))


def _begin(pgconn: PGconn, own: OwnFence) -> PQGen[None]:
    yield from execute(pgconn, begin_script(pgconn.server_version, own))


def _is_open(connection: TaskConnection | AsyncTaskConnection) -> bool:
    """Whether there is a transaction to roll back. One that was never begun is forgotten."""
    if connection.begin_state is BeginState.DEFERRED:
        connection.begin_state = BeginState.COMPLETE
    return connection.session.transaction_status in OPEN


def _roll_back(pgconn: PGconn) -> PQGen[None]:
    yield from execute(pgconn, admin("roll_back_own").encode())


def _finish(
    database: Database, connection: TaskConnection | AsyncTaskConnection, own: OwnFence, result: bytes
) -> PQGen[None]:
    """Write the outcome and commit. In a clean session there is nothing to check before, and nothing to release after.

    The first statements are simple ones: those that begin the transaction, or the one that checks constraints.
    """
    pgconn, finishing = connection.session, _finish_own(own, result)
    is_clean = connection.session_state is SessionState.CLEAN
    first: Sequence[bytes] = [] if is_clean else [admin("check_constraints").encode()]
    if connection.begin_state is BeginState.DEFERRED:
        connection.begin_state = BeginState.COMPLETE
        first = begin_statements(pgconn.server_version, own)
    pgconn.enter_pipeline_mode()
    for statement in first:
        pgconn.send_query_params(statement, [])
    pgconn.send_query_params(database.numbered(finishing), [str(param).encode() for param in finishing.params])
    pgconn.send_query_params(b"commit", [])
    pgconn.pipeline_sync()
    groups = 1
    if not is_clean:
        pgconn.send_query_params(admin("release_locks").encode(), [])
        pgconn.pipeline_sync()
        groups += 1
    if own.on_node:  # the end of a node makes other tasks ready: workers are notified by a transaction that may fail
        pgconn.send_query_params(database.numbered(worker_queries.announce()), [])
        pgconn.pipeline_sync()
        groups += 1
    yield from generators.send(pgconn)
    failure = yield from _failure_of_group(pgconn, len(first))
    try:
        for _group in range(groups - 1):
            yield from _failure_of_group(pgconn, len(first))
    except EndFailedError:  # the connection is lost; whether the transaction was committed is known
        return _raise(failure)
    if pgconn.status == ConnStatus.OK:
        pgconn.exit_pipeline_mode()
    _raise(failure)


def _finish_own(own: OwnFence, result: bytes) -> Call[None]:
    return worker_queries.finish_own(
        own.worker_id,
        own.fence,
        result,
        hostname=own.hostname,
        pid=own.pid,
        process_name=own.process_name,
        traceparent=own.traceparent,
    )


def _raise(failure: EndFailedError | None) -> None:
    if failure is not None:
        raise failure


def _failure_of_group(pgconn: PGconn, finish_position: int) -> PQGen[EndFailedError | None]:
    """Receive the replies of one transaction, to its end; return why it has failed, if it has."""
    failure: EndFailedError | None = None
    answered = 0
    while True:
        try:
            [result] = yield from generators.fetch_many(pgconn)
        except psycopg.OperationalError as lost:
            raise (failure or EndFailedError(EndReason.UNKNOWN, lost)) from lost
        match result.status:
            case ExecStatus.PIPELINE_SYNC:
                return failure
            case ExecStatus.COMMAND_OK | ExecStatus.TUPLES_OK:
                answered += 1
            case ExecStatus.PIPELINE_ABORTED:
                continue
            case _:
                error = errors.error_from_result(result)
                failure = EndFailedError(_reason(error, is_finish=answered == finish_position), error)


def _reason(error: psycopg.Error, *, is_finish: bool) -> EndReason:
    """Return why a statement has failed: `finish_own`, or another one."""
    state = error.sqlstate or ""
    if is_finish and state in _REASONS:
        return _REASONS[state]
    if is_finish and state.startswith(_REFUSED_RESULT):
        return EndReason.RESULT_REFUSED
    return EndReason.REFUSED
