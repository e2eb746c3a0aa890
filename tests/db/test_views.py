"""The views for monitoring: their files, versions and rights, and how migrations drop and create them."""

import re
from collections.abc import Iterator

import pytest
from psycopg import errors

from horsies.db import sqlfiles, views
from horsies.db.functions import MARK, ForeignObjectsError
from horsies.db.health import drift
from horsies.db.migrate import migrate, status
from horsies.db.repair import plan, repair
from horsies.db.rights import Kind, excessive_rights, grant_sql, lacking_rights, revoke_sql, views_of
from horsies.db.sqlfiles import DEFAULT_SCHEMA, bind
from tests.db.test_foreign_objects import EXISTING, renew_functions
from tests.db.test_replica_identity import install
from tests.support.factories import ended_task, send
from tests.support.roles import acting_as, new_role
from tests.support.schema import describe
from tests.support.sessions import Session, column, open_session, scalar

NAMES = [
    "all_tasks",
    "errors",
    "live_tasks",
    "queue_status",
    "run_nodes",
    "runs",
    "throughput",
    "waiting_reasons",
    "worker_status",
]
ODD = 'My "odd" schema'
READERS = {Kind.VIEWER, Kind.OPERATOR}
_COMMENT = "select obj_description(to_regclass(%s), 'pg_class')"


@pytest.fixture
def role(db: Session) -> Iterator[str]:
    """A role without any rights."""
    with new_role(db) as name:
        yield name


def readable(db: Session, role: str) -> list[str]:
    wanted = "select relname::text from pg_class where relnamespace = 'horsies'::regnamespace and relkind = 'v'"
    return column(db, f"{wanted} and has_table_privilege(%s, oid, 'select') order by 1", role)


def test_these_are_the_views() -> None:
    assert list(sqlfiles.views()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_file_says_purpose_version_and_rights_and_makes_the_view_of_its_name(name: str) -> None:
    sql = sqlfiles.views()[name]
    head = r"-- Purpose: [^\n]+\n(-- [^\n]+\n)*-- Version: \d+\.\n-- Granted to: viewer, operator\.\n"
    assert re.match(rf"{head}create view horsies\.{name} as\n", sql)


@pytest.mark.parametrize("name", NAMES)
def test_no_view_depends_on_another_one(name: str) -> None:
    code = re.sub(r"--[^\n]*", "", sqlfiles.views()[name]).partition(" as\n")[2]
    assert [other for other in NAMES if re.search(rf"horsies\.{other}\b(?!\()", code)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_database_says_the_version_of_a_view(db: Session, name: str) -> None:
    assert scalar(db, _COMMENT, f"horsies.{name}") == f"Version {views.version(name)} of this view. {MARK}"


@pytest.mark.parametrize("kind", Kind)
def test_only_viewers_and_operators_may_read_the_views(db: Session, role: str, kind: Kind) -> None:
    send(db)
    ended_task(db)
    db.execute(grant_sql(DEFAULT_SCHEMA, role, [kind]).encode())
    assert readable(db, role) == views_of([kind]) == (NAMES if kind in READERS else [])
    with acting_as(db, role):
        for name in NAMES:
            query = f"select * from horsies.{name}".encode()
            if kind in READERS:
                db.execute(query)
            else:
                with pytest.raises(errors.InsufficientPrivilege, match=name):
                    db.execute(query)
        with pytest.raises(errors.InsufficientPrivilege, match="table tasks"):
            db.execute("select from horsies.tasks")
        with pytest.raises(errors.InsufficientPrivilege, match="live_tasks"):
            db.execute("delete from horsies.live_tasks")


def test_a_viewer_reads_the_views_of_a_schema_of_any_name(db: Session, role: str) -> None:
    migrate(db, ODD)
    db.execute(grant_sql(ODD, role, [Kind.VIEWER]).encode())
    with acting_as(db, role):
        assert lacking_rights(db, ODD, [], NAMES) == []
        assert [db.execute(bind(f"select * from horsies.{name}", ODD)).fetchall() for name in NAMES] == [[]] * 9


def test_rights_on_views_are_revoked_except_those_of_kinds_that_remain(db: Session, role: str) -> None:
    db.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.VIEWER, Kind.OPERATOR]).encode())
    db.execute(revoke_sql(DEFAULT_SCHEMA, role, [Kind.OPERATOR], [Kind.VIEWER]).encode())
    assert readable(db, role) == NAMES
    db.execute(revoke_sql(DEFAULT_SCHEMA, role, [Kind.VIEWER]).encode())
    assert readable(db, role) == []


def test_a_migration_grants_the_views_again_and_no_more(db: Session, role: str) -> None:
    db.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.VIEWER]).encode())
    with new_role(db) as worker:
        db.execute(grant_sql(DEFAULT_SCHEMA, worker, [Kind.WORKER]).encode())
        db.execute("create view public.mine as select id from horsies.live_tasks")  # so that the view is not dropped
        db.execute(f"grant select on horsies.live_tasks to {worker}".encode())
        renew_functions(db)
        assert (readable(db, role), readable(db, worker)) == (NAMES, [])


def test_lacking_and_excessive_rights_on_views_are_found(db: Session, role: str) -> None:
    db.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.VIEWER]).encode())
    db.execute(f"revoke select on horsies.runs, horsies.errors from {role}".encode())
    with acting_as(db, role):
        assert lacking_rights(db, DEFAULT_SCHEMA, [], NAMES) == ["read access to 2 views (errors, runs)"]
    db.execute(f"grant delete on horsies.runs to {role}".encode())
    assert excessive_rights(db, DEFAULT_SCHEMA) == [(role, "view runs")]


def test_a_migration_changes_what_views_read(db: Session) -> None:
    """A function with another result and a changed column stand for what later releases change."""
    fresh = describe(db, DEFAULT_SCHEMA)
    db.execute("drop view horsies.queue_status, horsies.runs")
    db.execute("drop function horsies.queue_status")
    db.execute("create function horsies.queue_status(names text[]) returns int language sql as 'select 1'")
    db.execute(f"comment on function horsies.queue_status is '{MARK}'".encode())
    db.execute("create view horsies.queue_status as select horsies.queue_status(array[]::text[]) as old")
    db.execute("create view horsies.retired as select id from horsies.workflows")
    for name in ("queue_status", "retired"):
        db.execute(f"comment on view horsies.{name} is 'Version 1 of this view. {MARK}'".encode())
    renew_functions(db)
    assert describe(db, DEFAULT_SCHEMA) == fresh


def test_views_of_users_on_ours_survive_a_migration(db: Session) -> None:
    task_id = send(db)
    db.execute("create view public.mine as select id from horsies.live_tasks")
    db.execute("create view horsies.of_the_user as select id from horsies.runs")
    renew_functions(db)
    assert column(db, "select id from public.mine") == [task_id]
    assert column(db, "select id from horsies.of_the_user") == []


def test_a_view_whose_columns_have_changed_is_not_replaced_below_a_view_of_a_user(db: Session) -> None:
    db.execute("drop view horsies.runs")
    db.execute("create view horsies.runs as select id as other_name from horsies.workflows")
    db.execute(f"comment on view horsies.runs is 'Version 0 of this view. {MARK}'".encode())
    db.execute("create view public.mine as select other_name from horsies.runs")
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    with pytest.raises(
        ForeignObjectsError, match=r"columns of the view runs .* have changed, and other objects depend"
    ):
        migrate(db, DEFAULT_SCHEMA)
    db.execute("drop view public.mine")
    assert migrate(db, DEFAULT_SCHEMA) == ["functions"]


def test_rights_that_were_granted_by_hand_are_granted_again(db: Session, role: str) -> None:
    grants = [
        f"grant select on horsies.live_tasks to {role} with grant option",
        f"grant select (id, status) on horsies.all_tasks to {role}",
        "grant select on horsies.throughput to public",
    ]
    for grant in grants:
        db.execute(grant.encode())
    before = describe(db, DEFAULT_SCHEMA)
    renew_functions(db)
    assert describe(db, DEFAULT_SCHEMA) == before
    assert readable(db, role) == ["live_tasks", "throughput"]
    columns = "select has_column_privilege(%s, 'horsies.all_tasks', %s, 'select')"
    assert [scalar(db, columns, role, name) for name in ("id", "status", "queue")] == [True, True, False]
    assert scalar(db, "select has_table_privilege(%s, 'horsies.live_tasks', 'select with grant option')", role)


def test_rights_to_what_is_gone_are_lost(db: Session, role: str) -> None:
    db.execute("create view horsies.retired as select id from horsies.workflows")
    db.execute("drop view horsies.runs")
    db.execute("create view horsies.runs as select id, 1 as former from horsies.workflows")
    for name in ("retired", "runs"):
        db.execute(f"comment on view horsies.{name} is 'Version 1 of this view. {MARK}'".encode())
    db.execute(f"grant select on horsies.retired to {role}".encode())
    db.execute(f"grant select (id, former) on horsies.runs to {role}".encode())
    renew_functions(db)
    assert scalar(db, "select has_column_privilege(%s, 'horsies.runs', 'id', 'select')", role)


@pytest.mark.parametrize("source", ["horsies.tasks", "horsies.live_tasks"], ids=["table", "our view"])
def test_a_view_of_a_user_on_a_column_that_changes_is_named(db: Session, source: str) -> None:
    db.execute(f"create view public.mine as select id, task_name from {source}".encode())
    with db.transaction():
        dropped = views.drop_views(db, DEFAULT_SCHEMA)
        with (
            pytest.raises(ForeignObjectsError, match=r"view (public\.)?mine .*; drop these objects, migrate") as caught,
            views.naming_dependents(DEFAULT_SCHEMA, dropped),
            db.transaction(),
        ):
            db.execute("alter table horsies.tasks alter column task_name type varchar")
        views.create_views(db, DEFAULT_SCHEMA, dropped)
    assert "cannot be migrated while other objects depend on what the migration drops or changes" in str(caught.value)


def test_a_view_of_a_user_on_a_column_that_is_dropped_is_named(db: Session) -> None:
    db.execute("drop schema horsies cascade")
    install(db, 47)
    db.execute("create view public.mine as select full_at from horsies.buckets")
    with pytest.raises(ForeignObjectsError, match=r"view (public\.)?mine depends on column full_at of table"):
        migrate(db, DEFAULT_SCHEMA)
    db.execute("drop view public.mine")
    assert migrate(db, DEFAULT_SCHEMA)[-1] == "functions"


def test_objects_that_keep_a_function_from_being_dropped_are_named(db: Session) -> None:
    db.execute("create function horsies.retired() returns int language sql as 'select 1'")
    db.execute(f"comment on function horsies.retired is '{MARK}'".encode())
    db.execute("create view public.mine as select horsies.retired() as it")
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    with pytest.raises(ForeignObjectsError, match=r"view (public\.)?mine depends on function .*retired\(\)"):
        migrate(db, DEFAULT_SCHEMA)
    assert not status(db, DEFAULT_SCHEMA).is_current


@pytest.mark.parametrize("foreign", ["table public.runs (id int)", "view public.runs as select 1 as id"])
def test_a_relation_of_others_with_the_name_of_a_view_is_not_touched(empty_database_url: str, foreign: str) -> None:
    with open_session(empty_database_url) as session:
        session.execute(f"create {foreign}".encode())
        with pytest.raises(ForeignObjectsError, match=r"'public' contains runs, which horsies has not created"):
            migrate(session, "public", EXISTING)
        assert status(session, "public").current == 0
        session.execute(f"drop {foreign.split(maxsplit=1)[0]} public.runs".encode())
        assert migrate(session, "public", EXISTING)


def test_missing_views_are_found_and_created_again(db: Session) -> None:
    fresh = describe(db, DEFAULT_SCHEMA)
    db.execute("drop view horsies.errors")
    assert drift(db, DEFAULT_SCHEMA) == ["view errors"]
    [step] = plan(db, DEFAULT_SCHEMA)
    assert step.found == "these differ from this release: view errors"
    assert repair(db, DEFAULT_SCHEMA) == [step.action]
    assert describe(db, DEFAULT_SCHEMA) == fresh


def test_the_hash_that_starts_a_migration_covers_views() -> None:
    assert sqlfiles.functions_hash("horsies") != sqlfiles.hash_of("horsies", sqlfiles.functions().values())
