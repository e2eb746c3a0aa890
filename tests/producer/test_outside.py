"""Sends and starts in a transaction of the caller, with each supported library."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
from django.db import connection as django_connection
from django.db.backends.sqlite3.base import DatabaseWrapper as SqliteWrapper
from psycopg import IsolationLevel
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from horsies import (
    PostgresConfig,
    RetrievalCode,
    TaskSendError,
    TaskSendErrorCode,
    WorkflowHandle,
    WorkflowStartErrorCode,
    start_workflow,
    start_workflow_async,
)
from horsies.config.postgres import DEV_URL_VARIABLE
from horsies.producer import batches
from tests.producer.conftest import NewShop, need_django
from tests.producer.shop import Do, Shop
from tests.support.callers import Caller, UndoneError, django_database
from tests.support.databases import new_database
from tests.support.server import PASSWORD, Server, database_name
from tests.support.sessions import NotificationListener, Session, column, find, open_session, row, scalar
from tests.support.waiting import wait_until

OPTIONS = {"delay": 0.25, "priority": 7}


@pytest.fixture(scope="module")
def database_url(server: Server, template: str) -> Iterator[str]:
    """Yield a database for all tests here. It refuses tasks named "plain", and no session waits for a lock."""
    with new_database(server, template) as url:
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("alter table horsies.tasks add constraint nothing_plain check (task_name <> 'plain')")
            session.execute(f'alter database "{session.info.dbname}" set lock_timeout = 50'.encode())
        yield url


@pytest.fixture
def elsewhere(server: Server, template: str) -> Iterator[str]:
    """Yield another database with the schema."""
    with new_database(server, template) as url:
        yield url


def count(db: Session) -> int:
    return scalar(db, "select count(*) from horsies.tasks")


def flow(shop: Shop) -> Any:
    return shop.app.workflow("flow", [shop.add.node(node_id="n")(1)], definition_key="flow.v1")


class TestEveryLibrary:
    """Properties of sends over every kind of connection."""

    def test_a_task_is_there_from_the_commit_on(self, caller: Caller, shop: Shop, db: Session) -> None:
        listener = NotificationListener(db, "wake")
        with caller.transaction() as connection:
            sender = shop.order.with_options(connection=connection, **OPTIONS)
            handle = caller.do(sender.send, "Heu “grün” % %s $1", count=3).unwrap()
            assert find(db, "tasks", handle.task_id) is None
            waited = handle.get(timeout_ms=0).err_value
            assert (waited.error_code, listener.heard()) == (RetrievalCode.WAIT_TIMEOUT, [])
            assert "may not be committed" in str(waited.message)
        assert listener.heard() == [""]
        found = row(db, "tasks", handle.task_id)
        plain = row(
            db, "tasks", shop.order.with_options(**OPTIONS).send("Heu “grün” % %s $1", count=3).unwrap().task_id
        )
        known = {"id", "run_at", "sent_at"}
        assert {key: found[key] for key in found.keys() - known} == {key: plain[key] for key in plain.keys() - known}
        assert found["run_at"] - found["sent_at"] == plain["run_at"] - plain["sent_at"]

    def test_nothing_is_left_of_what_is_rolled_back(self, caller: Caller, shop: Shop, db: Session) -> None:
        listener = NotificationListener(db, "wake")
        with caller.transaction() as connection:
            handle = caller.do(shop.add.with_options(connection=connection).schedule, 5, 1).unwrap()
            run = caller.do(flow(shop).start, connection=connection).unwrap()
            raise UndoneError
        assert find(db, "tasks", handle.task_id) is None
        assert find(db, "workflows", run.workflow_id) is None
        assert listener.heard() == []

    def test_many_tasks_are_there_from_the_commit_on(
        self, caller: Caller, shop: Shop, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listener, before = NotificationListener(db, "wake"), count(db)
        for most in (100, 2):
            monkeypatch.setattr(batches, "MOST_TASKS", most)
            with caller.transaction() as connection:
                sender = shop.order.with_options(connection=connection, **OPTIONS)
                many = [("Heu “grün” % %s $1",), {"article": "b", "count": 2}, shop.order.args("c"), ("d",), ("e",)]
                handles = caller.do(sender.send_many, many).unwrap()
                caller.do(shop.app.send_many, [shop.add.args(1)], connection=connection).unwrap()
                assert [find(db, "tasks", each.task_id) for each in handles] == [None] * 5
                assert (handles[0].get(timeout_ms=0).err_value.error_code, listener.heard()) == (
                    RetrievalCode.WAIT_TIMEOUT,
                    [],
                )
            assert listener.heard() == [""]
            found = [row(db, "tasks", each.task_id) for each in handles]
            assert [each["priority"] for each in found] == [7] * 5
            assert found[1]["args"] == b'{"article":"b","count":2}'
            assert "grün" in found[0]["args"].decode()
        assert count(db) == before + 12

    def test_a_refused_item_undoes_the_earlier_batches_only(
        self, caller: Caller, shop: Shop, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batches, "MOST_TASKS", 2)
        before = count(db)
        with caller.transaction() as connection:
            sender = shop.add.with_options(connection=connection)
            caller.do(sender.send, 1).unwrap()
            wrong: list[Any] = [(1,), (2,), (3,), (4,), ("5",)]
            error = caller.do(sender.send_many, wrong).unwrap_err()
            assert (error.code, error.item_index) == (TaskSendErrorCode.VALIDATION_FAILED, 4)
            with pytest.raises(ZeroDivisionError):
                caller.do(sender.send_many, ((1 // (4 - number),) for number in range(5)))
            caller.do(sender.send_many, [(1,), (2,), (3,)]).unwrap()
        assert count(db) == before + 4

    def test_a_run_is_there_from_the_commit_on(self, caller: Caller, shop: Shop, db: Session) -> None:
        listener, spec = NotificationListener(db, "wake"), flow(shop)
        with caller.transaction() as connection:
            run = caller.do(spec.start, connection=connection).unwrap()
            again = caller.do(spec.start, run.workflow_id, connection=connection).unwrap()
            assert find(db, "workflows", run.workflow_id) is None
            assert run.get(timeout_ms=0).err_value.error_code is RetrievalCode.WAIT_TIMEOUT
            unknown = WorkflowHandle[Any](run.workflow_id, shop.app.get_broker()).get(timeout_ms=0).err_value
            assert unknown.error_code is RetrievalCode.WORKFLOW_NOT_FOUND
        assert again.workflow_id == run.workflow_id
        assert listener.heard() == [""]
        assert row(db, "workflows", run.workflow_id)["status"] == "RUNNING"
        assert scalar(db, "select count(*) from horsies.tasks where workflow_id = %s", run.workflow_id) == 1

    def test_a_failure_is_an_error_that_shows_no_arguments(self, caller: Caller, shop: Shop) -> None:
        with caller.transaction() as connection:
            sender = shop.plain.with_options(connection=connection)
            error = caller.do(sender.send, "secret").unwrap_err()
            assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, False)
            assert (error.task_id, error.payload) == (None, None)
            assert "nothing_plain" in error.message
            assert "secret" not in error.message
            second = caller.do(sender.send, "secret").unwrap_err()
            assert "aborted" in second.message, "the transaction has failed, as after any statement that fails"
            raise UndoneError
        check_not_replayed(caller.do, shop, error)

    def test_a_transaction_that_another_one_stands_in_the_way_of_may_be_repeated(
        self, caller: Caller, shop: Shop, db: Session
    ) -> None:
        with db.transaction():
            db.execute("lock table horsies.tasks in access exclusive mode")
            with caller.transaction() as connection:
                error = caller.do(shop.add.with_options(connection=connection).send, 1).unwrap_err()
                started = caller.do(flow(shop).start, connection=connection)
                raise UndoneError
        assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
        assert "lock timeout" in error.message
        assert started.is_err()

    def test_the_wrong_form_is_refused(self, caller: Caller, shop: Shop, db: Session) -> None:
        other, before = Do("async" if caller.do.style == "sync" else "sync"), count(db)
        advice = "use the method without _async" if other.style == "async" else "use the _async method"
        with caller.transaction() as connection:
            check_refused(other, shop, connection, advice)
            started = other(flow(shop).start, connection=connection).unwrap_err()
            assert (started.code, started.workflow_id) == (WorkflowStartErrorCode.VALIDATION_FAILED, None)
            assert advice in started.message
            caller.do(shop.add.with_options(connection=connection).send, 1).unwrap()
        assert count(db) == before + 1
        if other.style == "async":
            other(shop.app.close)
        other.close()

    def test_a_connection_to_another_database_is_refused(
        self, caller: Caller, new_shop: NewShop, elsewhere: str, db: Session
    ) -> None:
        """Both databases are copies of one template, so they share the identity of the schema."""
        theirs, before = new_shop(elsewhere), count(db)
        for _ in range(2):
            with caller.transaction() as connection:
                error = caller.do(theirs.add.with_options(connection=connection).send, 1).unwrap_err()
                started = caller.do(flow(theirs).start, connection=connection).unwrap_err()
            assert (error.code, error.retryable) == (TaskSendErrorCode.VALIDATION_FAILED, False)
            assert (started.code, started.workflow_id) == (WorkflowStartErrorCode.VALIDATION_FAILED, None)
            for message in (error.message, started.message):
                assert message.startswith(f"connection= is connected to the database '{db.info.dbname}' at 127.0.0.1:")
                assert f"but the app uses the database '{database_name(elsewhere)}'" in message
                assert PASSWORD not in message
        with open_session(elsewhere) as session:
            assert count(session) == 0
        assert count(db) == before
        if caller.do.style == "async":
            caller.do(theirs.app.close)

    def test_a_connection_is_compared_once_and_not_kept(self, caller: Caller, shop: Shop) -> None:
        verified = shop.app._drivers._sync._database.verified
        with caller.transaction() as connection:
            sender = shop.add.with_options(connection=connection)
            tasks = [caller.do(sender.send, 1).unwrap() for _ in range(3)]
            assert len(verified) == 1
            assert len({task.task_id for task in tasks}) == 3
            del connection, sender
        wait_until(lambda: gc.collect() is not None and not verified, describe="the connection to be forgotten")


def check_refused(do: Do, shop: Shop, connection: object, reason: str) -> None:
    error = do(shop.add.with_options(connection=connection).send, 1).unwrap_err()
    assert (error.code, error.retryable, error.task_id) == (TaskSendErrorCode.VALIDATION_FAILED, False, None)
    assert reason in error.message


def check_not_replayed(do: Do, shop: Shop, error: TaskSendError) -> None:
    """A replay would be outside of the transaction."""
    replayed = do(shop.plain.retry_send, error).unwrap_err()
    assert replayed.code is TaskSendErrorCode.VALIDATION_FAILED
    assert "outside of a transaction of the caller" in replayed.message


class TestRefused:
    """Connections that will not do. Nothing is sent over them."""

    def test_blocking_without_a_transaction(self, shop: Shop, tcp_database_url: str, db: Session) -> None:
        do, reason = Do("sync"), "no open transaction"
        with psycopg.connect(tcp_database_url, autocommit=True) as session:
            check_refused(do, shop, session, reason)
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(tcp_database_url))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            check_refused(do, shop, connection, reason)
        engine.dispose()
        need_django(db)
        with django_database(tcp_database_url):
            check_refused(do, shop, django_connection, reason)

    def test_awaited_without_a_transaction(self, shop: Shop, tcp_database_url: str) -> None:
        do, reason = Do("async"), "no open transaction"

        async def connect() -> list[Any]:
            bare = await psycopg.AsyncConnection.connect(tcp_database_url, autocommit=True)
            return [bare, await asyncpg.connect(tcp_database_url), await engine.connect()]

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: asyncpg.connect(tcp_database_url),
            isolation_level="AUTOCOMMIT",
        )
        for connection in do.run(connect()):
            check_refused(do, shop, connection, reason)
            do.run(connection.close())
        do.run(engine.dispose())
        do(shop.app.close)
        do.close()

    def test_other_databases_and_other_things(self, shop: Shop) -> None:
        do, engine = Do("sync"), create_engine("sqlite://")
        with engine.connect() as connection:
            check_refused(do, shop, connection, "not PostgreSQL")
        engine.dispose()
        lite = SqliteWrapper({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"})
        check_refused(do, shop, lite, "not PostgreSQL")
        for wrong in (engine, "postgresql://", object):
            check_refused(do, shop, wrong, f"type {type(wrong).__module__}.{type(wrong).__qualname__}")

    def test_none(self, do: Do, shop: Shop, db: Session) -> None:
        """A program that passes None intended to pass a connection; the task must not be sent in a separate transaction."""
        before, advice = count(db), "omit connection="
        check_refused(do, shop, None, advice)
        started = do(flow(shop).start, connection=None).unwrap_err()
        assert (started.code, started.workflow_id) == (WorkflowStartErrorCode.VALIDATION_FAILED, None)
        assert advice in started.message
        again = start_workflow(flow(shop), shop.app.get_broker(), connection=None).unwrap_err()
        assert again.code is WorkflowStartErrorCode.VALIDATION_FAILED
        assert count(db) == before

    def test_a_database_without_the_schema(self, shop: Shop, empty_database_url: str) -> None:
        """The transaction there is as it was."""
        with psycopg.connect(empty_database_url) as connection:
            check_refused(Do("sync"), shop, connection, "which has no schema 'horsies' of this release")
            started = flow(shop).start(connection=connection).unwrap_err()
            connection.execute("select 1")
        assert (started.code, started.workflow_id) == (WorkflowStartErrorCode.VALIDATION_FAILED, None)
        replayed = flow(shop).retry_start(started).unwrap_err()
        assert "outside of a transaction of the caller" in replayed.message

    def test_the_database_that_the_app_names_but_does_not_use(
        self, new_shop: NewShop, tcp_database_url: str, elsewhere: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Under `horsies dev` the app uses another database than the program's own engine."""
        monkeypatch.setenv(DEV_URL_VARIABLE, elsewhere)
        shop = new_shop(tcp_database_url)
        with psycopg.connect(tcp_database_url) as connection:
            check_refused(Do("sync"), shop, connection, f"the environment variable {DEV_URL_VARIABLE}")


def test_what_became_of_the_apps_database_meanwhile_is_looked_up(
    shop: Shop, tcp_database_url: str, db: Session
) -> None:
    """A long-lived process knows the identity that its database had before it was restored or upgraded."""
    with psycopg.connect(tcp_database_url) as connection:
        assert shop.add.with_options(connection=connection).send(1).is_ok()
    db.execute("update horsies.schema_version set identity = md5(random()::text)::uuid")
    with psycopg.connect(tcp_database_url) as connection:
        assert shop.add.with_options(connection=connection).send(1).is_ok()


def test_a_broker_of_another_app_starts_in_its_own_database_only(
    shop: Shop, new_shop: NewShop, tcp_database_url: str, elsewhere: str
) -> None:
    theirs = new_shop(elsewhere)
    with psycopg.connect(tcp_database_url) as connection:
        refused = start_workflow(flow(shop), theirs.app.get_broker(), connection=connection).unwrap_err()
        assert refused.code is WorkflowStartErrorCode.VALIDATION_FAILED
        assert start_workflow(flow(theirs), shop.app.get_broker(), connection=connection).is_ok()


class TestFailures:
    """The replies of the database."""

    def test_a_closed_connection(self, shop: Shop, tcp_database_url: str) -> None:
        connection = psycopg.connect(tcp_database_url)
        connection.close()
        error = shop.add.with_options(connection=connection).send(1).unwrap_err()
        assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
        assert "closed" in error.message

    def test_a_closed_connection_of_asyncpg(self, shop: Shop, tcp_database_url: str) -> None:
        async def send() -> TaskSendError:
            connection = await asyncpg.connect(tcp_database_url)
            await connection.close()
            error = (await shop.add.with_options(connection=connection).send_async(1)).unwrap_err()
            await shop.app.close_async()
            return error

        error = asyncio.run(send())
        assert error.code is TaskSendErrorCode.ENQUEUE_FAILED
        assert "closed" in error.message

    def test_a_lost_connection_is_not_replayed_by_itself(
        self, new_shop: NewShop, tcp_database_url: str, db: Session
    ) -> None:
        shop, before = new_shop(resend_on_transient_err=True), count(db)
        with psycopg.connect(tcp_database_url) as connection:
            pid = connection.info.backend_pid
            scalar(db, "select pg_terminate_backend(%s)", pid)
            wait_until(lambda: pid not in column(db, "select pid from pg_stat_activity"))
            error = shop.add.with_options(connection=connection).send(1).unwrap_err()
        assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
        assert count(db) == before

    @pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
    def test_a_stricter_transaction_takes_what_is_new(
        self, shop: Shop, tcp_database_url: str, db: Session, level: IsolationLevel
    ) -> None:
        run = flow(shop).start().unwrap()
        with psycopg.connect(tcp_database_url) as connection:
            connection.isolation_level = level
            task = shop.add.with_options(connection=connection).send(1).unwrap()
            started = flow(shop).start(connection=connection).unwrap()
        assert find(db, "tasks", task.task_id)
        assert find(db, "workflows", started.workflow_id)
        with psycopg.connect(tcp_database_url) as connection:
            connection.isolation_level = level
            again = flow(shop).start(run.workflow_id, connection=connection).unwrap_err()
        assert "needs a READ COMMITTED transaction" in again.message


def test_a_broker_starts_in_a_transaction_too(shop: Shop, tcp_database_url: str, db: Session) -> None:
    broker = shop.app.get_broker()
    with psycopg.connect(tcp_database_url) as connection:
        run = start_workflow(flow(shop), broker, connection=connection).unwrap()
        assert find(db, "workflows", run.workflow_id) is None

    async def start() -> str:
        async with await psycopg.AsyncConnection.connect(tcp_database_url) as connection:
            begun = (await start_workflow_async(flow(shop), broker, connection=connection)).unwrap()
        await shop.app.close_async()
        return begun.workflow_id

    assert find(db, "workflows", run.workflow_id)
    assert find(db, "workflows", asyncio.run(start()))


def test_an_iterator_whose_own_send_many_is_refused(
    shop: Shop, tcp_database_url: str, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_TASKS", 2)
    before = count(db)
    with psycopg.connect(tcp_database_url) as connection:
        sender = shop.add.with_options(connection=connection)

        def items() -> Iterator[Any]:
            yield from [(1,), (2,), (3,)]
            assert sender.send_many(iter([(1,), (2,), (3,), ("4",)])).is_err()
            yield ("4",)

        assert sender.send_many(items()).unwrap_err().item_index == 3
    assert count(db) == before


def test_the_first_send_of_all_makes_the_schema(empty_database_url: str) -> None:
    shop = Shop(PostgresConfig(database_url=empty_database_url))
    with psycopg.connect(empty_database_url) as connection:
        handle = shop.add.with_options(connection=connection).send(1).unwrap()
    assert handle.info().unwrap() is not None
    shop.app.close()
