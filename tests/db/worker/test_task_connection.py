"""When the transaction of a transactional task begins, and what attempts leave to each other in a session."""

import asyncio
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg.pq import ExecStatus, PipelineStatus
from psycopg.pq.abc import PGconn
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session as AlchemySession

from horsies.config.postgres import PostgresConfig
from horsies.db.connect import Database
from horsies.db.task_connection import BeginState, OwnFence, TaskConnection
from horsies.db.task_transaction import EndFailedError, EndReason
from horsies.tasks.own_transaction import ConnectionKind, OwnTransaction
from horsies.worker.runtime.transactions import TaskTransaction, Transactions
from tests.db.worker.test_task_transaction import counted
from tests.support.factories import CHILD_NAME, HOSTNAME, DrivenWorker, send
from tests.support.sessions import SCHEMA, Session, column, scalar
from tests.support.waiting import wait_until

INSERT = "insert into effects values (1)"
PSYCOPG = OwnTransaction(ConnectionKind.PSYCOPG, psycopg.Connection)
BLOCKING = [
    PSYCOPG,
    OwnTransaction(ConnectionKind.ALCHEMY, sqlalchemy.Connection),
    OwnTransaction(ConnectionKind.ALCHEMY_SESSION, AlchemySession),
]
ASYNC = [
    OwnTransaction(ConnectionKind.PSYCOPG_ASYNC, psycopg.AsyncConnection),
    OwnTransaction(ConnectionKind.ALCHEMY_ASYNC, AsyncConnection),
    OwnTransaction(ConnectionKind.ALCHEMY_ASYNC_SESSION, AsyncSession),
]


class Attempts:
    """Attempts at new tasks in one child.

    Attributes:
        db: a session of the test, which is no part of the child.
        transactions: begins the transactions of the child.
    """

    def __init__(self, db: Session, url: str, *, shares_sessions: bool = False) -> None:
        config = PostgresConfig(database_url=url, schema=SCHEMA, pgbouncer_transaction_mode=shares_sessions)
        self.db = db
        self.transactions = Transactions(Database(config))
        self._worker = DrivenWorker(db)

    def claim(self) -> OwnFence:
        """Send and claim a task."""
        send(self.db)
        return OwnFence(self._worker.id, self._worker.claim_one(), HOSTNAME, os.getpid(), CHILD_NAME, on_node=False)

    def begin(self, wanted: OwnTransaction = PSYCOPG) -> TaskTransaction:
        """Begin the transaction of an attempt."""
        return self.transactions.begin(wanted, self.claim())

    def complete(self, use: Callable[[Any], object] | None = None, wanted: OwnTransaction = PSYCOPG) -> None:
        """Make an attempt that succeeds, after it has used its connection for something."""
        transaction = self.begin(wanted)
        if use is not None:
            use(transaction.argument)
        transaction.finish(b"1")
        transaction.end()

    def fail(self, use: Callable[[Any], object] | None = None, wanted: OwnTransaction = PSYCOPG) -> None:
        """Make an attempt that fails."""
        transaction = self.begin(wanted)
        if use is not None:
            use(transaction.argument)
        transaction.end()

    def next_begins(self, state: BeginState) -> None:
        """Make attempts until the next transaction begins in this way."""
        if state is BeginState.COMPLETE:
            self.transactions.close_idle()
        elif state is BeginState.SENT:
            self.complete(lambda connection: connection.execute("select 1"))
        else:
            self.complete()
            self.complete()

    @property
    def completed(self) -> int:
        """The number of completed tasks."""
        return scalar(self.db, "select count(*) from horsies.history where status = 'COMPLETED'")

    @property
    def effects(self) -> int:
        """The number of rows that attempts have written."""
        return scalar(self.db, "select count(*) from effects")


@pytest.fixture
def attempts(db: Session, database_url: str) -> Iterator[Attempts]:
    db.execute("create table effects (number int)")
    made = Attempts(db, database_url)
    yield made
    made.transactions.close_idle()
    if made.transactions._engine is not None:
        made.transactions._engine.dispose()


def only_idle(attempts: Attempts) -> PGconn:
    """Return the session that the child keeps."""
    [idle] = attempts.transactions._idle
    return idle.pgconn


def stream(connection: TaskConnection) -> None:
    assert [*connection.cursor().stream(f"{INSERT} returning number")] == [(1,)]


def use_server_cursor(connection: TaskConnection) -> None:
    with connection.cursor("named") as cursor:
        assert cursor.execute("select 7").fetchall() == [(7,)]
    connection.execute(INSERT)


def copy(connection: TaskConnection) -> None:
    with connection.cursor().copy("copy effects from stdin") as stdin:
        stdin.write_row((1,))


def use_pipeline(connection: TaskConnection) -> None:
    with connection.pipeline():
        connection.execute(INSERT)


def use_savepoint(connection: TaskConnection) -> None:
    with connection.transaction():
        connection.execute(INSERT)


def use_libpq(connection: TaskConnection) -> None:
    assert connection.pgconn.exec_(INSERT.encode()).status == ExecStatus.COMMAND_OK


def use_threads(connection: TaskConnection) -> None:
    with ThreadPoolExecutor(4) as threads:
        for used in [threads.submit(connection.execute, "select 1") for _ in range(8)]:
            used.result()
    connection.execute(INSERT)


def execute(connection: TaskConnection) -> None:
    connection.execute(INSERT)


def execute_many(connection: TaskConnection) -> None:
    connection.cursor().executemany("insert into effects values (%s)", [(1,)])


USES: list[Callable[[TaskConnection], object]] = [
    execute,
    execute_many,
    stream,
    use_server_cursor,
    copy,
    use_pipeline,
    use_savepoint,
    use_libpq,
    use_threads,
]


@pytest.mark.parametrize("state", BeginState)
def test_the_begin_is_awaited_only_if_the_session_may_be_lost(attempts: Attempts, state: BeginState) -> None:
    attempts.next_begins(state)
    transaction = attempts.begin()
    assert transaction.connection.begin_state is state
    transaction.end()


@pytest.mark.parametrize("state", BeginState)
@pytest.mark.parametrize("use", USES)
def test_every_first_use_is_part_of_the_transaction(
    attempts: Attempts, state: BeginState, use: Callable[[TaskConnection], object]
) -> None:
    attempts.next_begins(state)
    completed = attempts.completed
    attempts.complete(use)
    assert (attempts.effects, attempts.completed) == (1, completed + 1)
    attempts.next_begins(state)
    completed = attempts.completed
    attempts.fail(use)
    assert (attempts.effects, attempts.completed) == (1, completed)


@pytest.mark.parametrize("state", BeginState)
def test_the_connection_is_in_a_transaction_of_its_own_level(attempts: Attempts, state: BeginState) -> None:
    attempts.next_begins(state)
    transaction = attempts.begin()
    connection = transaction.connection
    for change in (connection.set_autocommit, connection.set_read_only, connection.set_deferrable):
        with pytest.raises(psycopg.ProgrammingError, match="INTRANS"):
            change(True)
    with pytest.raises(psycopg.ProgrammingError, match="INTRANS"):
        connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    assert connection.execute("select current_setting('transaction_isolation')").fetchone() == ("read committed",)
    transaction.finish(b"1")
    transaction.end()


@pytest.mark.parametrize("wanted", BLOCKING, ids=lambda wanted: wanted.kind.name)
def test_an_unused_connection_needs_one_round_trip(attempts: Attempts, wanted: OwnTransaction) -> None:
    attempts.complete(wanted=wanted)
    transaction = attempts.begin(wanted)
    with counted(transaction.connection.session) as count:
        transaction.finish(b"1")
        transaction.end()
    assert count == [1]
    transaction = attempts.begin(wanted)
    with counted(transaction.connection.session) as count:
        transaction.end()
    assert count == [0]
    assert attempts.completed == 2


@pytest.mark.parametrize("wanted", ASYNC, ids=lambda wanted: wanted.kind.name)
def test_an_unused_asynchronous_connection_needs_one_round_trip(attempts: Attempts, wanted: OwnTransaction) -> None:
    async def make_attempts() -> list[int]:
        transaction = await attempts.transactions.begin_async(wanted, attempts.claim())
        await transaction.finish(b"1")
        await transaction.end()
        transaction = await attempts.transactions.begin_async(wanted, attempts.claim())
        with counted(transaction.connection.session) as count:
            await transaction.finish(b"1")
            await transaction.end()
        if attempts.transactions._async_engine is not None:
            await attempts.transactions._async_engine.dispose()
        attempts.transactions.close_idle()
        return count

    assert asyncio.run(make_attempts()) == [1]
    assert attempts.completed == 2


@pytest.mark.parametrize("wanted", ASYNC, ids=lambda wanted: wanted.kind.name)
@pytest.mark.parametrize("state", BeginState)
def test_the_first_asynchronous_use_is_part_of_the_transaction(
    attempts: Attempts, wanted: OwnTransaction, state: BeginState
) -> None:
    async def attempt(use: str | None, *, succeeds: bool) -> BeginState:
        transaction = await attempts.transactions.begin_async(wanted, attempts.claim())
        began = transaction.connection.begin_state
        argument: Any = transaction.argument
        if use is not None:
            await argument.execute(use if isinstance(argument, psycopg.AsyncConnection) else sqlalchemy.text(use))
        if succeeds:
            await transaction.finish(b"1")
        await transaction.end()
        return began

    async def make_attempts() -> list[BeginState]:
        found: list[BeginState] = []
        for succeeds in (True, False):
            if state is BeginState.COMPLETE:
                attempts.transactions.close_idle()
                if attempts.transactions._async_engine is not None:
                    await attempts.transactions._async_engine.dispose()
            else:
                await attempt(None if state is BeginState.DEFERRED else "select 1", succeeds=True)
            found.append(await attempt(INSERT, succeeds=succeeds))
        if attempts.transactions._async_engine is not None:
            await attempts.transactions._async_engine.dispose()
        attempts.transactions.close_idle()
        return found

    assert asyncio.run(make_attempts())[0] is state
    assert attempts.effects == 1


def leave_everything(connection: TaskConnection) -> None:
    """Change the session in all ways that outlive a transaction."""
    for statement in (
        "set statement_timeout = '1h'",
        "set search_path = nowhere",
        "set time zone 'Pacific/Chatham'",
        "set default_transaction_read_only = on",
        "set session characteristics as transaction isolation level serializable",
        "create temporary table leftover ()",
        "prepare leftover as select 1",
        "declare leftover cursor with hold for select 1",
        "select pg_advisory_lock(7)",
        "listen leftover",
    ):
        connection.execute(statement)


def leave_a_role(connection: TaskConnection) -> None:
    """Change the session as `leave_everything`, and the role, in a transaction that only the task commits."""
    leave_everything(connection)
    connection.execute("set role pg_monitor")
    connection.execute("commit")


def leftovers(connection: Any) -> list[object]:
    """Return what `leave_everything` has changed."""
    return [
        *(
            connection.execute(f"show {name}").fetchone()
            for name in (
                "statement_timeout",
                "search_path",
                "timezone",
                "default_transaction_read_only",
                "default_transaction_isolation",
                "role",
            )
        ),
        connection.execute("select count(*) from pg_class where relnamespace = pg_my_temp_schema()").fetchone(),
        connection.execute("select count(*) from pg_prepared_statements").fetchone(),
        connection.execute("select count(*) from pg_cursors where name = 'leftover'").fetchone(),
        connection.execute("select count(*) from pg_listening_channels()").fetchone(),
        connection.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        ).fetchone(),
    ]


@pytest.mark.parametrize("unused", [0, 1, 2])
def test_an_attempt_finds_nothing_of_earlier_ones(attempts: Attempts, unused: int) -> None:
    """Attempts that do not use their connection neither change the session nor hide that it was changed before."""
    found: list[list[object]] = []
    attempts.complete(lambda connection: found.append(leftovers(connection)))
    session = only_idle(attempts)
    attempts.complete(leave_everything)
    for _ in range(unused):
        attempts.complete()
    attempts.complete(lambda connection: found.append(leftovers(connection)))
    attempts.fail(leave_a_role)
    for _ in range(unused):
        attempts.fail()
    attempts.complete(lambda connection: found.append(leftovers(connection)))
    assert only_idle(attempts) is session
    assert found[0][-5:] == [(0,)] * 5
    assert found[1:] == [found[0]] * 2


def test_the_locks_of_an_attempt_end_with_it(attempts: Attempts) -> None:
    attempts.next_begins(BeginState.DEFERRED)
    attempts.complete(lambda connection: connection.execute("select pg_advisory_lock(7)"))
    assert scalar(attempts.db, "select pg_try_advisory_lock(7)") is True


@pytest.mark.parametrize("state", [BeginState.DEFERRED, BeginState.SENT])
def test_a_session_that_the_server_has_closed_is_replaced(attempts: Attempts, state: BeginState) -> None:
    attempts.next_begins(state)
    pid = only_idle(attempts).backend_pid
    attempts.db.execute("select pg_terminate_backend(%s)", (pid,))
    wait_until(lambda: not column(attempts.db, "select pid from pg_stat_activity where pid = %s", pid))
    transaction = attempts.begin()
    assert transaction.connection.begin_state is BeginState.COMPLETE
    transaction.connection.execute(INSERT)
    transaction.finish(b"1")
    transaction.end()
    assert only_idle(attempts).backend_pid != pid
    assert attempts.effects == 1


@pytest.mark.parametrize("state", [BeginState.DEFERRED, BeginState.SENT])
def test_a_session_that_was_idle_for_long_is_tried_first(attempts: Attempts, state: BeginState) -> None:
    attempts.next_begins(state)
    [idle] = attempts.transactions._idle
    attempts.transactions._idle = [idle._replace(idle_since=-math.inf)]
    transaction = attempts.begin()
    assert transaction.connection.begin_state is BeginState.COMPLETE
    assert transaction.connection.session is idle.pgconn
    transaction.end()


@pytest.mark.parametrize("state", [BeginState.DEFERRED, BeginState.SENT])
def test_no_statement_precedes_a_begin_that_was_lost(attempts: Attempts, state: BeginState) -> None:
    attempts.next_begins(state)
    transaction = attempts.begin()
    pid = transaction.connection.session.backend_pid
    attempts.db.execute("select pg_terminate_backend(%s)", (pid,))
    wait_until(lambda: not column(attempts.db, "select pid from pg_stat_activity where pid = %s", pid))
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError):
            transaction.connection.execute(INSERT)
    with pytest.raises(EndFailedError):
        transaction.finish(b"1")
    transaction.end()
    attempts.complete(execute)
    assert attempts.effects == 1


def test_a_begin_that_was_not_sent_fails_the_attempt(attempts: Attempts) -> None:
    """Otherwise psycopg would begin a transaction itself, which is not that of the attempt."""
    attempts.next_begins(BeginState.SENT)
    only_idle(attempts).enter_pipeline_mode()
    transaction = attempts.begin()
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="has not begun"):
            transaction.connection.execute(INSERT)
    with pytest.raises(EndFailedError) as failed:
        transaction.finish(b"1")
    assert failed.value.reason is EndReason.UNKNOWN
    transaction.end()
    assert attempts.transactions._idle == []
    assert attempts.effects == 0


def test_an_attempt_that_leaves_its_pipeline_open_does_not_disturb_the_next(attempts: Attempts) -> None:
    attempts.next_begins(BeginState.SENT)
    transaction = attempts.begin()
    connection = transaction.connection
    connection.execute("commit")
    connection.pgconn.enter_pipeline_mode()
    assert connection.pgconn.pipeline_status == PipelineStatus.ON
    transaction.end()
    attempts.complete(execute)
    assert attempts.effects == 1


@pytest.mark.parametrize("state", [BeginState.DEFERRED, BeginState.SENT])
def test_a_commit_by_sql_is_noticed(attempts: Attempts, state: BeginState) -> None:
    attempts.next_begins(state)
    transaction = attempts.begin()
    transaction.connection.execute("commit")
    with pytest.raises(EndFailedError) as failed:
        transaction.finish(b"1")
    assert failed.value.reason is EndReason.ENDED_EARLY
    transaction.end()


@pytest.mark.parametrize("state", BeginState)
def test_an_unused_connection_does_not_complete_a_task_that_was_lost(attempts: Attempts, state: BeginState) -> None:
    attempts.next_begins(state)
    completed = attempts.completed
    transaction = attempts.begin()
    attempts.db.execute("update horsies.tasks set exchange_no = exchange_no + 1")
    with pytest.raises(EndFailedError) as failed:
        transaction.finish(b"1")
    assert failed.value.reason is EndReason.CLAIM_LOST
    transaction.end()
    assert attempts.completed == completed
    attempts.complete(execute)
    assert (attempts.effects, attempts.completed) == (1, completed + 1)


def test_a_refused_result_is_reported_as_such(attempts: Attempts) -> None:
    attempts.next_begins(BeginState.DEFERRED)
    transaction = attempts.begin()
    with pytest.raises(EndFailedError) as failed:
        transaction.finish(b"no JSON")
    assert failed.value.reason is EndReason.RESULT_REFUSED
    transaction.end()


def test_a_session_that_a_pooler_shares_is_always_reset_first(db: Session, database_url: str) -> None:
    db.execute("create table effects (number int)")
    attempts = Attempts(db, database_url, shares_sessions=True)
    for use in (None, execute):
        attempts.complete(use)
        transaction = attempts.begin()
        assert transaction.connection.begin_state is BeginState.COMPLETE
        transaction.end()
    assert attempts.effects == 1
    attempts.transactions.close_idle()
