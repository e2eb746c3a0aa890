"""What other roles create (functions, operators, types, tables) never changes what the library does.

A hostile schema stands first on the search path, before ``pg_catalog``, and everything is repeated in ``pg_temp``. It
has a function for each function of PostgreSQL that the server functions call, also with parameter types that suit a
call better; operators; and types and tables with the names that the server functions use. Each of them fails when it
is used.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import errors
from psycopg.sql import SQL, Composable, Identifier

from horsies.db import queries, sqlfiles
from horsies.db.health import drift
from horsies.db.migrate import migrate, plain_sql, status
from horsies.db.queries import identity as identity_queries
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries import status as status_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.db.rights import Kind, fixed_path, functions_of, grant_sql, lacking_rights, list_grants, own_kinds
from horsies.db.sqlfiles import DEFAULT_SCHEMA, bind
from tests.db.test_stability import called
from tests.support.factories import DrivenWorker, done, failed, reap, request, send
from tests.support.roles import new_role
from tests.support.schema import describe
from tests.support.sessions import Session, call, column

TRAP = "you were hijacked"
BETTER = ["to_char(date, text)", "cardinality(uuid[])", "array_length(text[], int)", "left(text, bigint)"]
"""Functions that suit some calls better than those of PostgreSQL."""

_SIMILAR = """
    select p.proname::text, pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid)
    from pg_catalog.pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (%s) and p.prokind = 'f' and not p.proretset
      and not exists (
          select from unnest(p.proargtypes::oid[] || p.prorettype) as used (id)
          join pg_catalog.pg_type t on t.oid = used.id where t.typtype = 'p')
"""
_OPERATORS = """
    select distinct o.oprname::text, o.oprleft::regtype::text, o.oprright::regtype::text
    from pg_catalog.pg_operator o
    where o.oprname in ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '||', '~', '->>') and o.oprleft <> 0
      and o.oprleft::regtype::text = any (%(types)s) and o.oprright::regtype::text = any (%(types)s)
"""
TYPES = ["text", "uuid", "json", "bytea", "timestamptz", "float8", "int4", "int8", "bool", "name", "oid"]
OPERANDS = ["text", "uuid", "integer", "bigint", "boolean", "date", "interval", "timestamp with time zone", "json"]
_FOREIGN_REFERENCES = """
    select referencing.identity
    from (
        select * from pg_catalog.pg_depend
        where classid operator(pg_catalog.<>) 0 offset 0 -- 0: an object of the system, before PostgreSQL 14
    ) as d
    cross join lateral pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) as referencing
    cross join lateral pg_catalog.pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) as referenced
    where referencing.identity ~ '^(horsies|jobs|by_hand)\\.| on (horsies|jobs|by_hand)\\.'
      and referenced.identity ~ '^(hostile|pg_temp)'
"""


def _execute(db: Session, text: str, *parts: Composable) -> None:
    db.execute(SQL(text).format(*parts))  # type: ignore[arg-type] # texts of this file


def _set_traps(db: Session) -> None:
    body = f"as $$ begin raise exception '{TRAP}'; end $$ language plpgsql"
    names = sorted({name for sql in sqlfiles.functions().values() for name in called(sql)})
    for name, arguments, result in db.execute(_SIMILAR, (names,)).fetchall():
        _execute(db, f"create function hostile.{{}}({arguments}) returns {result} {body}", Identifier(name))
    for signature in BETTER:
        _execute(db, f"create function hostile.{signature} returns text {body}")
    for number, (name, left, right) in enumerate(db.execute(_OPERATORS, {"types": OPERANDS}).fetchall()):
        _execute(db, f"create function hostile.trap_{number}({left}, {right}) returns boolean {body}")
        _execute(
            db,
            f"create operator hostile.{name} (function = hostile.trap_{number}, leftarg = {left}, rightarg = {right})",
        )
    db.execute(f"create function hostile.trap() returns boolean {body}")
    for schema in ("hostile", "pg_temp"):
        for name in TYPES:
            _execute(db, f"create domain {schema}.{{}} as pg_catalog.{name} check (hostile.trap())", Identifier(name))
        for table in ("tasks", "history", "workers", "pg_class", "pg_inherits", "clock", "schema_version"):
            _execute(db, f"create table {schema}.{{}} (id int)", Identifier(table))


@pytest.fixture
def hostile(db: Session) -> Iterator[Session]:
    """A session whose search path begins with a hostile schema; the same is in its temporary schema."""
    db.execute("create schema hostile")
    _set_traps(db)
    db.execute("set search_path = hostile, pg_catalog, pg_temp")
    return db


def test_the_traps_work(hostile: Session) -> None:
    for sql in (
        "select to_char(date '2026-01-01', 'YYYY')",
        "select cast('a' as text)",
        "select 1 = 1",
    ):
        with pytest.raises(errors.RaiseException, match=TRAP):
            hostile.execute(sql)


def test_the_life_of_tasks(hostile: Session) -> None:
    call(hostile, worker_queries.add_partitions(20))
    task, second = send(hostile), send(hostile, request(delay=0.001))
    worker = DrivenWorker(hostile)
    fences = [worker.claim_one(), worker.claim_one()]
    assert worker.finish(done(fences[0]), failed(fences[1])) == ["accepted", "accepted"]
    call(hostile, worker_queries.notify_done([task, second], with_results=False))
    assert call(hostile, task_queries.task_result(task)) is not None
    assert call(hostile, task_queries.task_info(task, with_args=True)) is not None
    assert len(call(hostile, task_queries.task_attempts(second))) == 1
    assert call(hostile, task_queries.ended_among([task])) == [task]
    third = send(hostile)
    assert call(hostile, task_queries.cancel(third)) == "cancelled"
    call(hostile, task_queries.notify_cancel(third))
    assert worker.heartbeat()
    worker.stop()


def test_maintenance_and_monitoring(hostile: Session) -> None:
    send(hostile)
    worker = DrivenWorker(hostile)
    worker.claim_one()
    assert reap(hostile, worker.id).crashed == 1
    for maintenance in (
        worker_queries.expire(10),
        worker_queries.prune(24),
        worker_queries.forget_workers(0),
        workflow_queries.workflow_prune(0, 10),
    ):
        assert call(hostile, worker_queries.maintenance_call(maintenance)) is not None
    assert call(hostile, monitoring_queries.health()).days_ahead > 0
    assert len(call(hostile, monitoring_queries.list_tasks(monitoring_queries.TaskFilter(), 10))) == 1
    for seen in (
        monitoring_queries.stale_tasks(1, 10),
        monitoring_queries.expired_tasks(10),
        monitoring_queries.waiting_names(10),
        monitoring_queries.worker_stats(),
    ):
        assert call(hostile, seen) == []
    assert call(hostile, status_queries.queue_status(["q"]))
    assert call(hostile, monitoring_queries.queue_control("q", "pause"))
    assert call(hostile, schedule_queries.schedule_states())[1] == {}
    assert call(hostile, workflow_queries.workflow_list(None, 10)) == []
    call(hostile, monitoring_queries.ping())


def test_the_identity_on_a_connection_of_a_caller(hostile: Session) -> None:
    assert call(hostile, identity_queries.find_identity()).has_schema
    assert call(hostile, identity_queries.database_identity()).identity


def test_migrations_checks_and_grants(hostile: Session) -> None:
    assert status(hostile, DEFAULT_SCHEMA).is_current
    assert migrate(hostile, "jobs")
    hostile.execute(plain_sql("by_hand").encode())
    assert drift(hostile, "jobs") == drift(hostile, "by_hand") == []
    hostile.execute("reset search_path")
    hostile.execute("discard temp")
    assert column(hostile, "select 1 from pg_namespace where nspname = 'hostile'") == [1]
    assert hostile.execute(_FOREIGN_REFERENCES.encode()).fetchall() == []
    assert describe(hostile, "jobs") == describe(hostile, "by_hand") == describe(hostile, DEFAULT_SCHEMA)


def test_rights_are_read_without_the_search_path(hostile: Session) -> None:
    with new_role(hostile) as role:
        with fixed_path(hostile):
            hostile.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.WORKER]).encode())
        assert [each.role for each in list_grants(hostile, DEFAULT_SCHEMA)] == [role]
        assert own_kinds(hostile, DEFAULT_SCHEMA) == {Kind.WORKER}
        assert lacking_rights(hostile, DEFAULT_SCHEMA, functions_of(list(Kind))) == []


def test_casts_name_the_types_of_postgresql() -> None:
    """``int``, ``bigint``, ``boolean`` and ``interval`` are part of the grammar; any other name could be anybody's."""
    files = Path(queries.__file__).parent.glob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    statements = [bind(node.value, DEFAULT_SCHEMA) for node in nodes if isinstance(node.value, str)]
    used = {name for statement in statements for name in re.findall(rb"::([\w.]+)", statement)}
    assert b"pg_catalog.text" in used
    assert {name for name in used if not name.startswith(b"pg_catalog.")} <= {
        b"int",
        b"bigint",
        b"boolean",
        b"interval",
    }
