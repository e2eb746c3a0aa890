"""The transaction in which a transactional task runs: its connections, and the two round trips that horsies adds.

```
begin_own    reset the session, begin, set `horsies.fence`          one message
             … statements of the user …
finish_own   check deferred constraints, `finish_own`, commit       one pipeline
```

The child that runs the task makes these calls over the user's own connection. The server function `finish_own` raises
unless the outcome is written, and then the server skips the commit behind it. So the writes of the user and the outcome
of the task are committed together, or neither is.
"""

import math
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, Never
from uuid import UUID

import psycopg
from psycopg import errors, generators
from psycopg.abc import AdaptContext, PQGen
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn

from horsies.db.bounded import AsyncBoundedConnection, BoundedConnection
from horsies.db.connect import Database
from horsies.db.operations import Call
from horsies.db.pipeline import call_within
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from horsies.db.sqlfiles import admin

_CALL_LIMIT_S = 60.0
_CHECK_INTERVAL = "2s"
_CHECK_SETTING = "set local client_connection_check_interval"
_CHECKS_CLIENTS_SINCE = 140000  # the version of the server
_FINISH_POSITION = 1  # of `finish_own`, behind the check of constraints
_REFUSED_RESULT = ("22", "54")  # classes of errors: data exception, program limit exceeded

_COMMIT_REFUSED = (
    "the transaction of a transactional task is committed by the worker, together with the outcome of the task: return "
    "TaskResult(ok=…) to commit, and return TaskResult(err=…) or raise an exception to roll back. Use a savepoint for "
    "a part of the work: connection.transaction() of psycopg, begin_nested() of SQLAlchemy"
)


class CommitRefusedError(RuntimeError):
    """A transactional task has tried to commit its transaction, which only the worker may do."""


def _refuse_commit() -> Never:
    raise CommitRefusedError(_COMMIT_REFUSED)


class TaskConnection(BoundedConnection):
    """The connection of a transactional task. Its statements take as long as they need."""

    limit_s = math.inf

    def commit(self) -> None:
        """Refuse to commit.

        Raises:
            CommitRefusedError: always.
        """
        _refuse_commit()


class AsyncTaskConnection(AsyncBoundedConnection):
    """Like `TaskConnection`, for asyncio."""

    limit_s = math.inf

    async def commit(self) -> None:
        """Refuse to commit.

        Raises:
            CommitRefusedError: always.
        """
        _refuse_commit()


class OwnFence(NamedTuple):
    """Identifies the claim under which an attempt runs, with what is stored about its process.

    Attributes:
        worker_id: the worker that holds the claim.
        fence: the task and the number of the exchange.
        hostname: the host of the worker.
        pid: the process id of the child.
        process_name: the name of the child.
        on_node: whether the task belongs to a workflow, so that its end may make other tasks ready.
        traceparent: of the span of the attempt; empty: it has none.
    """

    worker_id: UUID
    fence: Fence
    hostname: str
    pid: int
    process_name: str
    on_node: bool
    traceparent: str = ""

    @property
    def setting(self) -> str:
        """The value of the setting ``horsies.fence``. It consists of hexadecimal digits, hyphens and slashes."""
        return f"{self.worker_id}/{self.fence.task_id}/{self.fence.exchange_no}"


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


def begin(connection: TaskConnection, own: OwnFence) -> None:
    """Reset the session and begin the transaction of an attempt, blocking.

    Raises:
        psycopg.Error: the connection is lost, or a statement has failed.
    """
    with connection.lock:
        connection.limit_s = _CALL_LIMIT_S
        connection.wait(_begin(connection.pgconn, own))
        connection.limit_s = math.inf


async def begin_async(connection: AsyncTaskConnection, own: OwnFence) -> None:
    """Like `begin`, for asyncio."""
    async with connection.lock:
        connection.limit_s = _CALL_LIMIT_S
        await connection.wait(_begin(connection.pgconn, own))
        connection.limit_s = math.inf


def finish(database: Database, connection: TaskConnection, own: OwnFence, result: bytes) -> None:
    """Write the outcome of a successful attempt and commit, blocking.

    Raises:
        EndFailedError: nothing was committed, or it is not known.
    """
    with connection.lock:
        connection.limit_s = _CALL_LIMIT_S
        try:
            connection.wait(_finish(database, connection.pgconn, own, result))
        except psycopg.Error as lost:
            raise EndFailedError(EndReason.UNKNOWN, lost) from lost


async def finish_async(database: Database, connection: AsyncTaskConnection, own: OwnFence, result: bytes) -> None:
    """Like `finish`, for asyncio."""
    async with connection.lock:
        connection.limit_s = _CALL_LIMIT_S
        try:
            await connection.wait(_finish(database, connection.pgconn, own, result))
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
    answered = 0
    try:
        connection.execute(admin("check_constraints").encode())
        connection.execute(admin("defer_constraints").encode())
        answered = _FINISH_POSITION
        connection.wait(call_within(database, connection, finishing))
    except psycopg.Error as error:
        raise EndFailedError(_reason(error, answered), error) from error


@cache
def _begin_script(server_version: int) -> str:
    """Return the script that begins a transaction, without its comments and without settings unknown to the server."""
    left_out = ("--",) if server_version >= _CHECKS_CLIENTS_SINCE else ("--", _CHECK_SETTING)
    lines = [line for line in admin("begin_own").splitlines() if not line.startswith(left_out)]
    return "\n".join(lines).replace("CHECK_INTERVAL", _CHECK_INTERVAL)


def roll_back(connection: TaskConnection) -> None:
    """Roll the transaction back, blocking.

    Raises:
        psycopg.Error: the connection is lost.
    """
    with connection.lock:
        connection.limit_s = _CALL_LIMIT_S
        connection.wait(_execute(connection.pgconn, admin("roll_back_own")))


async def roll_back_async(connection: AsyncTaskConnection) -> None:
    """Like `roll_back`, for asyncio."""
    async with connection.lock:
        connection.limit_s = _CALL_LIMIT_S
        await connection.wait(_execute(connection.pgconn, admin("roll_back_own")))


def _begin(pgconn: PGconn, own: OwnFence) -> PQGen[None]:
    yield from _execute(pgconn, _begin_script(pgconn.server_version).replace("FENCE", own.setting))


def _execute(pgconn: PGconn, script: str) -> PQGen[None]:
    """Execute several statements that are sent in one message."""
    pgconn.send_query(script.encode())
    for result in (yield from generators.execute(pgconn)):
        if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
            raise errors.error_from_result(result)


def _finish(database: Database, pgconn: PGconn, own: OwnFence, result: bytes) -> PQGen[None]:
    finishing = _finish_own(own, result)
    pgconn.enter_pipeline_mode()
    pgconn.send_query_params(admin("check_constraints").encode(), [])
    pgconn.send_query_params(database.numbered(finishing), [str(param).encode() for param in finishing.params])
    pgconn.send_query_params(b"commit", [])
    pgconn.pipeline_sync()
    pgconn.send_query_params(admin("release_locks").encode(), [])
    pgconn.pipeline_sync()
    if own.on_node:  # the end of a node makes other tasks ready: workers are notified by a transaction that may fail
        pgconn.send_query_params(database.numbered(worker_queries.announce()), [])
        pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    failure = yield from _failure_of_group(pgconn)
    try:
        for _group in range(1 + own.on_node):
            yield from _failure_of_group(pgconn)
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


def _failure_of_group(pgconn: PGconn) -> PQGen[EndFailedError | None]:
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
                failure = EndFailedError(_reason(error, answered), error)


def _reason(error: psycopg.Error, answered: int) -> EndReason:
    """Return why a statement has failed; ``answered`` statements before it have succeeded."""
    state = error.sqlstate or ""
    if answered == _FINISH_POSITION and state in _REASONS:
        return _REASONS[state]
    if answered == _FINISH_POSITION and state.startswith(_REFUSED_RESULT):
        return EndReason.RESULT_REFUSED
    return EndReason.REFUSED
