"""The connection of a transactional task, and when its transaction begins.

The message that begins a transaction resets the session first (`begin_own.sql`). Usually nobody waits for the replies
to it before the task runs:

```
                 ┌────────────────────── next attempt ──────────────────────┐
                 │ used lately, and clean │ used lately, not clean          │ otherwise
                 v                        v                                 v
             DEFERRED ── first use ──>  SENT ── first statement ──>  COMPLETE: the worker
                 │                        │                          has received the replies
                 └── never used: with ────┴── never used: before ──>  the commit
```

A clean session was reset, and no task has used it since. Its next transaction begins when the task uses the connection
for the first time, or together with the commit if it never does. Everything that uses a connection of psycopg reads its
attribute ``pgconn`` first, which is therefore a property here: no statement precedes the transaction.

Another session gets the message at once, so that the server begins the transaction while the process prepares the task.
The replies are received in front of the first statement.

If the session was idle for longer, it may be lost. Then the worker waits for the replies before it calls the task, so
that it can open another connection.
"""

import math
import select
import threading
from contextlib import suppress
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, Never
from uuid import UUID

import psycopg
from psycopg import errors, generators
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq import PGconn as NoSession
from psycopg.pq.abc import PGconn

from horsies.db.bounded import AsyncBoundedConnection, BoundedConnection
from horsies.db.queries.worker import Fence
from horsies.db.sqlfiles import admin
from horsies.process import monotonic

_CALL_LIMIT_S = 60.0
_FRESH_S = 5.0
_INTERVAL_S = 0.1
OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
"""The states of a session with an open transaction."""

_CHECK_INTERVAL = "2s"
_CHECK_SETTING = "set local client_connection_check_interval"
_CHECKS_CLIENTS_SINCE = 140000  # the version of the server

_COMMIT_REFUSED = (
    "the transaction of a transactional task is committed by the worker, together with the outcome of the task: return "
    "TaskResult(ok=…) to commit, and return TaskResult(err=…) or raise an exception to roll back. Use a savepoint for "
    "a part of the work: connection.transaction() of psycopg, begin_nested() of SQLAlchemy"
)


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


class BeginState(Enum):
    """How far the message has come that begins the transaction of an attempt."""

    DEFERRED = "it will be sent when the task uses the connection"
    SENT = "its replies will be received before the next statement"
    COMPLETE = "its replies were received, or no attempt has the connection"


class SessionState(Enum):
    """What tasks may have changed in a session: settings, temporary tables, prepared statements, locks and the like."""

    USED = "a task may have changed it, so it has to be reset"
    CLEAN = "it was reset, and no task has used it since"
    WATCHED = "it is clean, and an attempt has the connection: it is used from the first access on"


class IdleSession(NamedTuple):
    """A session that no attempt has.

    Attributes:
        pgconn: the session.
        state: what tasks may have changed in it.
        idle_since: when the last attempt ended, by `horsies.process.monotonic`.
    """

    pgconn: PGconn
    state: SessionState
    idle_since: float


class CommitRefusedError(RuntimeError):
    """A transactional task has tried to commit its transaction, which only the worker may do."""


def _refuse_commit() -> Never:
    raise CommitRefusedError(_COMMIT_REFUSED)


class _TaskSession:
    """The part of a connection that both kinds share: its session, and the transaction of the current attempt.

    Attributes:
        session: the session. The worker uses this attribute, access to which is not a use by the task.
        begin_state: how far the begin of the transaction has come.
        session_state: what tasks may have changed in the session. The first access to `pgconn` writes it, `wait`, and
            the worker between attempts.
        idle_since: when the last attempt ended, by `horsies.process.monotonic`.
    """

    session: PGconn
    begin_state = BeginState.COMPLETE
    session_state = SessionState.USED
    idle_since = -math.inf

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._first_use = threading.Lock()
        self._own: OwnFence | None = None
        super().__init__(*args, **kwargs)

    @property
    def pgconn(self) -> PGconn:
        """The session, for psycopg and for the task. The first access begins the transaction of the attempt."""
        self.note_use()
        return self.session

    @pgconn.setter
    def pgconn(self, session: PGconn) -> None:
        self.session = session

    def note_use(self) -> None:
        """Note that the task uses the connection, and send the message that begins its transaction."""
        if self.session_state is not SessionState.WATCHED:
            return
        with self._first_use:  # another thread of the task may use the connection at the same time
            if self.session_state is not SessionState.WATCHED:
                return
            if self.begin_state is BeginState.DEFERRED and self._own is not None:
                self._send_begin(self._own)
            self.session_state = SessionState.USED

    def _send_begin(self, own: OwnFence) -> None:
        """Send the message without waiting. If the session is lost, the next statement says so."""
        self.begin_state = BeginState.SENT
        with suppress(psycopg.OperationalError):
            self.session.send_query(begin_script(self.session.server_version, own))

    def begin_late(self, own: OwnFence) -> bool:
        """Begin the transaction of an attempt without waiting, and hand the connection out.

        Returns:
            False if the session may be lost, so that somebody has to wait for the begin: nothing was sent.
        """
        if monotonic() - self.idle_since > _FRESH_S or _is_readable(self.session.socket):
            return False
        if self.session_state is SessionState.CLEAN:
            self._own, self.begin_state = own, BeginState.DEFERRED
        else:
            self._send_begin(own)
        self.session_state = SessionState.WATCHED
        return True

    def hand_out(self) -> None:
        """Watch the connection from now on; its transaction has begun."""
        self.session_state = SessionState.WATCHED

    def take_back(self) -> None:
        """Watch the connection no more: the attempt ends."""
        with self._first_use:
            if self.session_state is SessionState.WATCHED:
                self.session_state = SessionState.CLEAN

    def give_up_session(self) -> IdleSession:
        """Take the session out of this object, which is closed for everybody who still refers to it."""
        idle = IdleSession(self.session, self.session_state, self.idle_since)
        self.session = NoSession()
        return idle

    def take_session(self, idle: IdleSession) -> None:
        """Continue a session that this object was made for."""
        self.session_state, self.idle_since = idle.state, idle.idle_since

    @property
    def is_idle(self) -> bool:
        """Whether the connection is open, without a transaction and without replies to receive."""
        return (
            self.begin_state is BeginState.COMPLETE
            and self.session.transaction_status == TransactionStatus.IDLE
            and self.session.pipeline_status == PipelineStatus.OFF
        )


class TaskConnection(_TaskSession, BoundedConnection):
    """The connection of a transactional task. Its statements take as long as they need."""

    limit_s = math.inf

    def wait[R](  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self, gen: PQGen[R], interval: float = _INTERVAL_S, **options: Any
    ) -> R:
        """Wait for an answer of the server. Before the first statement, the replies to the begin are received."""
        self.note_use()
        self.wait_for_begin()
        self.session_state = SessionState.USED
        return super().wait(gen, interval, **options)

    def wait_for_begin(self) -> None:
        """Receive the replies to the message that was sent to begin the transaction.

        If that fails, or is interrupted, every later statement fails as well, because none may precede the begin.

        Raises:
            psycopg.Error: the connection is lost, or a statement has failed.
        """
        if self.begin_state is BeginState.SENT:
            self.wait_briefly(receive(self.session))
            self.begin_state = BeginState.COMPLETE

    def wait_briefly[R](self, gen: PQGen[R]) -> R:
        """Wait for an answer to a request of the worker, for 60 seconds at most. It is not a use by the task."""
        self.limit_s = _CALL_LIMIT_S
        try:
            return super().wait(gen)
        finally:
            self.limit_s = math.inf

    def commit(self) -> None:
        """Refuse to commit.

        Raises:
            CommitRefusedError: always.
        """
        _refuse_commit()


class AsyncTaskConnection(_TaskSession, AsyncBoundedConnection):
    """Like `TaskConnection`, for asyncio."""

    limit_s = math.inf

    async def wait[R](  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self, gen: PQGen[R], interval: float = _INTERVAL_S, **options: Any
    ) -> R:
        """Wait for an answer of the server; see `TaskConnection.wait`."""
        self.note_use()
        await self.wait_for_begin()
        self.session_state = SessionState.USED
        return await super().wait(gen, interval, **options)

    async def wait_for_begin(self) -> None:
        """Receive the replies to the begin; see `TaskConnection.wait_for_begin`."""
        if self.begin_state is BeginState.SENT:
            await self.wait_briefly(receive(self.session))
            self.begin_state = BeginState.COMPLETE

    async def wait_briefly[R](self, gen: PQGen[R]) -> R:
        """Wait for an answer to a request of the worker; see `TaskConnection.wait_briefly`."""
        self.limit_s = _CALL_LIMIT_S
        try:
            return await super().wait(gen)
        finally:
            self.limit_s = math.inf

    async def commit(self) -> None:
        """Refuse to commit.

        Raises:
            CommitRefusedError: always.
        """
        _refuse_commit()


def begin_script(server_version: int, own: OwnFence) -> bytes:
    """Return the message that resets a session and begins the transaction of an attempt."""
    return b";".join(_with_fence([*_statements(server_version)], own))


def begin_statements(server_version: int, own: OwnFence) -> list[bytes]:
    """Return the statements that begin the transaction of an attempt, without the reset of the session."""
    statements = _statements(server_version)
    return _with_fence(statements[statements.index(b"commit") + 1 :], own)


def _with_fence(statements: list[bytes] | tuple[bytes, ...], own: OwnFence) -> list[bytes]:
    setting = own.setting.encode()
    return [statement.replace(b"FENCE", setting) for statement in statements]


@cache
def _statements(server_version: int) -> tuple[bytes, ...]:
    """Return the statements of `begin_own.sql`, without comments and without settings unknown to the server."""
    left_out = ("--",) if server_version >= _CHECKS_CLIENTS_SINCE else ("--", _CHECK_SETTING)
    lines = [line for line in admin("begin_own").splitlines() if not line.startswith(left_out)]
    script = "\n".join(lines).replace("CHECK_INTERVAL", _CHECK_INTERVAL)
    return tuple(statement.strip().encode() for statement in script.split(";") if statement.strip())


def execute(pgconn: PGconn, script: bytes) -> PQGen[None]:
    """Execute several statements that are sent in one message.

    Raises:
        psycopg.Error: the connection is lost, or a statement has failed.
    """
    pgconn.send_query(script)
    yield from receive(pgconn)


def receive(pgconn: PGconn) -> PQGen[None]:
    """Receive the replies to a message that was sent, or is still in the buffer of this process; see `execute`.

    A task that uses libpq directly may have received them already.
    """
    results = yield from generators.execute(pgconn)
    if not results and pgconn.transaction_status not in OPEN:
        msg = "the transaction of the task has not begun: its message was not sent"
        raise psycopg.OperationalError(msg)
    for result in results:
        if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
            raise errors.error_from_result(result)


def _is_readable(socket: int) -> bool:
    """Whether an idle socket has received something: the server has closed the connection, or has sent a notice."""
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
