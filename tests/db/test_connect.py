"""`Database`: from a configuration to connections with a ready schema."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from horsies.config.app import PostgresConfig
from horsies.db.connect import Database
from horsies.db.errors import call_failed, is_retryable
from horsies.db.migrate import migrate, status
from horsies.db.operations import CallFailedError
from tests.support.factories import request, send
from tests.support.server import with_database
from tests.support.sessions import Session, column, scalar


def database(url: str, **settings: object) -> Database:
    return Database(PostgresConfig.model_validate({"database_url": url, **settings}))


def test_the_schema_is_made_before_the_first_use_and_once(empty_database_url: str) -> None:
    made = database(empty_database_url, schema="Jobs 2")
    assert not made.is_prepared
    made.prepare()
    assert made.is_prepared
    with made.connect() as session:
        assert status(session, "Jobs 2").is_current
        session.execute('drop schema "Jobs 2" cascade')
        made.prepare()
        assert scalar(session, "select to_regnamespace('\"Jobs 2\"') is null")


def test_without_auto_migrate_a_missing_schema_is_reported_and_not_created(empty_database_url: str) -> None:
    made = database(empty_database_url, auto_migrate=False)
    with pytest.raises(CallFailedError, match="`horsies db migrate` creates it") as caught:
        made.prepare()
    assert not caught.value.retryable
    assert not made.is_prepared
    with made.connect() as session:
        assert column(session, "select nspname from pg_namespace where nspname = 'horsies'") == []


def test_without_auto_migrate_a_current_schema_will_do(empty_database_url: str) -> None:
    made = database(empty_database_url, auto_migrate=False)
    with made.connect() as session:
        migrate(session, "horsies")
    made.prepare()
    assert made.is_prepared


@pytest.mark.parametrize("auto_migrate", [True, False])
def test_a_newer_schema_is_refused_for_good(db: Session, database_url: str, auto_migrate: bool) -> None:  # noqa: FBT001
    db.execute("update horsies.schema_version set version = 99")
    with pytest.raises(CallFailedError, match=r"version 99.*upgrade horsies") as caught:
        database(database_url, auto_migrate=auto_migrate).prepare()
    assert not caught.value.retryable


def test_a_database_that_is_missing_is_not_worth_another_try(empty_database_url: str) -> None:
    with pytest.raises(CallFailedError, match="does not exist") as caught:
        database(with_database(empty_database_url, "no_such_database")).prepare()
    assert not caught.value.retryable


def test_a_server_that_does_not_answer_may_do_so_later() -> None:
    with pytest.raises(CallFailedError, match="OperationalError: connection failed") as caught:
        database("postgresql://postgres:geheim@127.0.0.1:1/postgres").prepare()
    assert caught.value.retryable
    assert "geheim" not in caught.value.message


def test_connections_commit_each_statement_and_leave_json_as_it_is(database_url: str) -> None:
    with database(database_url).connect() as session:
        assert session.autocommit
        assert scalar(session, """select '{"b":1,  "a":-0.0}'::json""") == b'{"b":1,  "a":-0.0}'


def terminate(db: Session, other: Session) -> None:
    other.execute("select pg_terminate_backend(%s)", (db.info.backend_pid,))
    db.execute("select 1")


def read_only(db: Session) -> None:
    db.execute("set default_transaction_read_only = on")
    db.execute("delete from horsies.tasks")


FAILURES: dict[str, tuple[Callable[[Session, Session], object], bool]] = {
    "cut connection": (terminate, True),
    "lock timeout": (lambda db, _: db.execute("do $$ begin raise lock_not_available; end $$"), True),
    "deadlock": (lambda db, _: db.execute("do $$ begin raise deadlock_detected; end $$"), True),
    "serialization": (lambda db, _: db.execute("do $$ begin raise serialization_failure; end $$"), True),
    "full disk": (lambda db, _: db.execute("do $$ begin raise disk_full; end $$"), True),
    "standby": (lambda db, _: read_only(db), True),
    "too deep": (lambda db, _: db.execute("do $$ begin raise statement_too_complex; end $$"), False),
    "bad data": (lambda db, _: db.execute("select 1 / 0"), False),
    "no rights": (lambda db, _: db.execute("do $$ begin raise insufficient_privilege; end $$"), False),
    "no table": (lambda db, _: db.execute("select from nowhere"), False),
}


@pytest.mark.parametrize("name", FAILURES)
def test_only_what_may_pass_is_worth_another_try(db: Session, other: Session, name: str) -> None:
    fail, is_worth_it = FAILURES[name]
    with pytest.raises(psycopg.Error) as caught:
        fail(db, other)
    assert is_retryable(caught.value) is is_worth_it
    failure = call_failed(caught.value)
    assert (failure.retryable, failure.__cause__) == (is_worth_it, caught.value)
    assert failure.message.startswith(f"{type(caught.value).__name__}: ")
    assert "\n" not in failure.message


def test_what_a_constraint_refuses_is_called_by_its_name(db: Session) -> None:
    with pytest.raises(errors.CheckViolation) as caught:
        send(db, request(priority=0))
    assert "priority_is_from_1_to_100" in call_failed(caught.value).message
