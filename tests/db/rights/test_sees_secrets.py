"""`sees_secrets`: only producers, workers and the owner get secret results."""

import psycopg
import pytest
from psycopg import sql

from horsies.codec.secrets import seal
from horsies.db.queries import tasks as task_queries
from horsies.db.rights import Kind, grant_sql
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.db.rights.test_sees_arguments import SEEING, logged_in
from tests.support.factories import DrivenWorker, done, request, send
from tests.support.roles import new_role
from tests.support.sessions import Session, call, scalar

SECRET = "4111-1111"
PUBLIC = b'{"card":"[redacted]"}'
COMPLETE = b'{"card":"4111-1111"}'
SEALED = seal({"card": "[redacted]"}, COMPLETE)
OBSERVERS = [kinds for kinds in SEEING if kinds[0] in {Kind.VIEWER, Kind.OPERATOR}]
SECRET_COLUMNS = (
    "select c.relname::text, a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid"
    " where c.relnamespace = 'horsies'::regnamespace and a.attname in ('secret_args', 'secret_result')"
)


@pytest.mark.parametrize("kinds", SEEING)
def test_kinds_that_get_secret_results(db: Session, kinds: tuple[Kind, ...]) -> None:
    task_id = send(db, request(args=SEALED))
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one(), SEALED))
    with logged_in(db, *kinds):
        if kinds in ((Kind.VIEWER,), (Kind.OPERATOR,)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                call(db, task_queries.task_result(task_id))
        else:
            stored = call(db, task_queries.task_result(task_id))
            assert stored is not None
            assert stored.result == (PUBLIC if kinds in OBSERVERS else COMPLETE)
        info = call(db, task_queries.task_info(task_id, with_args=True))
    assert info is not None
    assert {info.args, info.result} <= {PUBLIC, None}


@pytest.mark.parametrize("kinds", SEEING)
def test_no_kind_may_read_the_columns(db: Session, kinds: tuple[Kind, ...]) -> None:
    places = db.execute(SECRET_COLUMNS.encode()).fetchall()
    assert {table for table, _column in places} >= {"tasks", "history", "schedules"}
    with new_role(db) as role:
        db.execute(grant_sql(DEFAULT_SCHEMA, role, kinds).encode())
        db.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        for table, column in places:
            query = sql.SQL("select {} from horsies.{}").format(sql.Identifier(column), sql.Identifier(table))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(query)


def test_the_owner_sees_everything(db: Session) -> None:
    assert scalar(db, "select horsies.sees_secrets()")
