"""Copies by pg_dump, with and without data, and tables that a test cleaner has emptied."""

from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString, Protocol

import pytest

from horsies.db import sqlfiles
from horsies.db.migrate import Condition, RepairNeededError, migrate, status
from horsies.db.queries import identity as identity_queries
from horsies.db.repair import RepairError, plan, repair
from horsies.db.rights import Kind, grant_sql, list_grants
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.db.test_replica_identity import install
from tests.support.dumps import dump, execute_script, restore
from tests.support.factories import DrivenWorker, define, done, ended_task, send
from tests.support.roles import new_role
from tests.support.schema import describe
from tests.support.sessions import NOON, Session, call, column, open_session, scalar

LATEST = max(sqlfiles.migrations())
UNKNOWN = "the version of the schema is not recorded"


@pytest.fixture
def copy(empty_database_url: str) -> Iterator[Session]:
    """A session of an empty database, into which a dump is restored."""
    with open_session(empty_database_url) as session:
        yield session


class CopyBy(Protocol):
    """Copies the test's database into the empty one by ``pg_dump``, with some options."""

    def __call__(self, *options: str) -> None: ...


@pytest.fixture
def copy_by(database_url: str, empty_database_url: str, tmp_path: Path) -> CopyBy:
    """See `CopyBy`."""

    def copy_by(*options: str) -> None:
        file = dump(database_url, tmp_path / "dump", *options)
        execute = restore if "--format=custom" in options else execute_script
        execute(file, empty_database_url)

    return copy_by


def works(session: Session) -> bool:
    """Whether a task can be sent, claimed and completed, in a schema of which nothing has to be repaired."""
    task_id = send(session)
    worker = DrivenWorker(session)
    fences = worker.claim(10)
    is_done = task_id in {fence.task_id for fence in fences}
    assert worker.finish(*map(done, fences)) == ["accepted"] * len(fences)
    worker.stop()
    return is_done and plan(session, DEFAULT_SCHEMA) == [] and status(session, DEFAULT_SCHEMA).is_current


@pytest.mark.parametrize("options", [[], ["--format=custom"]], ids=["plain", "custom"])
def test_a_dump_of_a_live_database_can_be_used_at_once(
    db: Session, copy: Session, copy_by: CopyBy, options: list[str]
) -> None:
    ended, waiting = ended_task(db), send(db)
    define(db, due=NOON)
    copy_by(*options)
    assert status(copy, DEFAULT_SCHEMA) == status(db, DEFAULT_SCHEMA)
    assert migrate(copy, DEFAULT_SCHEMA) == []
    assert describe(copy, DEFAULT_SCHEMA) == describe(db, DEFAULT_SCHEMA)
    assert column(copy, "select id from horsies.history") == [ended]
    assert column(copy, "select id from horsies.tasks") == [waiting]
    assert column(copy, "select name from horsies.schedules") == ["nightly"]
    assert works(copy)
    assert column(copy, "select id from horsies.tasks") == []


def test_a_dump_without_data_gets_its_row_again(db: Session, copy: Session, copy_by: CopyBy) -> None:
    send(db)
    with new_role(db) as role:
        db.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.WORKER]).encode())
        copy_by("--schema-only")
        found = status(copy, DEFAULT_SCHEMA)
        assert (found.condition, found.current, found.is_current) == (Condition.ROW_MISSING, LATEST, True)
        assert migrate(copy, DEFAULT_SCHEMA) == ["row"]
        assert status(copy, DEFAULT_SCHEMA).condition is Condition.RECORDED
        [step] = plan(copy, DEFAULT_SCHEMA)
        assert step.found.endswith(f"migrations do not grant them again: {role!r} (worker)")
        assert repair(copy, DEFAULT_SCHEMA) == ["record their rights"]
        assert [(each.role, each.kind) for each in list_grants(copy, DEFAULT_SCHEMA)] == [(role, Kind.WORKER)]
        assert works(copy)
        copy.execute(f"drop owned by {role}".encode())


def test_a_dump_without_data_of_an_older_version_is_migrated(db: Session, copy: Session, copy_by: CopyBy) -> None:
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    db.execute(sqlfiles.bind(sqlfiles.admin("record_comment"), DEFAULT_SCHEMA))
    copy_by("--schema-only")
    assert migrate(copy, DEFAULT_SCHEMA) == ["functions"]
    assert works(copy)


def test_a_dump_without_data_and_comments_is_recognized_by_its_tables(
    db: Session, copy: Session, copy_by: CopyBy
) -> None:
    copy_by("--schema-only", "--no-comments")
    copy.execute("create table horsies.of_the_user (id int)")
    assert status(copy, DEFAULT_SCHEMA).condition is Condition.VERSION_UNKNOWN
    with pytest.raises(RepairNeededError, match=r"its version is not recorded; `horsies db repair MODULE:APP` finds"):
        migrate(copy, DEFAULT_SCHEMA)
    [step] = plan(copy, DEFAULT_SCHEMA)
    assert step.found.startswith(UNKNOWN)
    assert step.action == f"record version {LATEST}, because the tables are those of this version"
    assert repair(copy, DEFAULT_SCHEMA) == [step.action, "migrate the schema"]
    assert repair(copy, DEFAULT_SCHEMA) == []
    copy.execute("drop table horsies.of_the_user")
    assert describe(copy, DEFAULT_SCHEMA) == describe(db, DEFAULT_SCHEMA)
    assert works(copy)


@pytest.mark.parametrize("version", sorted(sqlfiles.migrations()))
def test_each_version_is_recognized_by_its_tables(copy: Session, version: int) -> None:
    install(copy, version)
    copy.execute("delete from horsies.schema_version")
    assert repair(copy, DEFAULT_SCHEMA)[0] == f"record version {version}, because the tables are those of this version"
    assert works(copy)


def test_tables_of_no_known_version_are_left_alone(db: Session) -> None:
    db.execute("truncate horsies.schema_version")
    db.execute("comment on table horsies.schema_version is null")
    db.execute("alter table horsies.tasks add column note text")
    with pytest.raises(RepairError, match=r"its tables are not exactly those of any version .* --no-comments"):
        plan(db, DEFAULT_SCHEMA)
    assert scalar(db, "select to_regnamespace('horsies_repair') is null")


_EMPTY: dict[str, LiteralString] = {
    "truncate": "do $$ begin execute (select 'truncate ' || string_agg(format('horsies.%I', relname), ', ')"
    " from pg_class where relnamespace = 'horsies'::regnamespace and relkind in ('r', 'p')); end $$",
    "delete": "do $$ declare name text; begin for name in select relname from pg_class"
    " where relnamespace = 'horsies'::regnamespace and relkind in ('r', 'p')"
    " loop execute format('delete from horsies.%I', name); end loop; end $$",
}


@pytest.mark.parametrize("how", _EMPTY)
def test_emptied_tables_can_be_used_at_once(db: Session, other: Session, how: str) -> None:
    before = call(db, identity_queries.database_identity())
    ended_task(db)
    db.execute(_EMPTY[how])
    assert works_without_row(other)
    assert call(db, identity_queries.database_identity()) == before
    assert migrate(db, DEFAULT_SCHEMA) == ["row"]
    assert migrate(db, DEFAULT_SCHEMA) == []
    assert call(db, identity_queries.database_identity()) == before
    assert works(db)


def works_without_row(session: Session) -> bool:
    """Whether a process that was running before can go on."""
    found = status(session, DEFAULT_SCHEMA)
    send(session)
    worker = DrivenWorker(session)
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    worker.stop()
    return found.is_current and found.condition is Condition.ROW_MISSING


def test_emptied_tables_need_no_owner(db: Session) -> None:
    with new_role(db) as role:
        db.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.PRODUCER, Kind.WORKER]).encode())
        db.execute(_EMPTY["truncate"])
        db.execute(f"set role {role}".encode())
        assert migrate(db, DEFAULT_SCHEMA) == []
        assert status(db, DEFAULT_SCHEMA).is_current
        send(db)


def test_the_version_of_a_newer_release_is_known_from_the_comment(db: Session) -> None:
    db.execute("update horsies.schema_version set version = 99")
    db.execute(sqlfiles.bind(sqlfiles.admin("record_comment"), DEFAULT_SCHEMA))
    db.execute("truncate horsies.schema_version")
    assert status(db, DEFAULT_SCHEMA).current == 99


def test_lost_privileges_of_functions_are_restored(db: Session, copy: Session, copy_by: CopyBy) -> None:
    assert plan(db, DEFAULT_SCHEMA) == []
    copy_by("--no-privileges")
    [step] = plan(copy, DEFAULT_SCHEMA)
    assert step.found.startswith("every role of the database may call server functions")
    assert repair(copy, DEFAULT_SCHEMA) == [step.action]
    assert works(copy)


def test_changed_and_missing_functions_are_created_again(db: Session) -> None:
    fresh = describe(db, DEFAULT_SCHEMA)
    db.execute("drop function horsies.heartbeat")
    db.execute(
        "create or replace function horsies.uuid_time(id uuid) returns timestamptz language sql as 'select now()'"
    )
    [step] = plan(db, DEFAULT_SCHEMA)
    assert step.found == "these differ from this release: function heartbeat, function uuid_time"
    assert repair(db, DEFAULT_SCHEMA) == ["create all functions and views again"]
    assert describe(db, DEFAULT_SCHEMA) == fresh
    assert works(db)


def test_a_renamed_schema_is_not_replaced_by_an_empty_one(db: Session) -> None:
    waiting = send(db)
    db.execute(b"alter schema horsies rename to jobs")
    found = status(db, DEFAULT_SCHEMA)
    assert (found.condition, found.renamed_to, found.is_current) == (Condition.RENAMED, ("jobs",), False)
    with pytest.raises(RepairNeededError, match=r"it was renamed to 'jobs'; set PostgresConfig\(schema='jobs'\)"):
        migrate(db, DEFAULT_SCHEMA)
    [step] = plan(db, DEFAULT_SCHEMA)
    assert step.found == "the schema 'horsies' was renamed to 'jobs'"
    assert scalar(db, "select to_regnamespace('horsies') is null")
    assert repair(db, DEFAULT_SCHEMA) == [step.action]
    assert column(db, "select id from horsies.tasks") == [waiting]
    assert works(db)


def test_a_renamed_schema_whose_app_follows_is_repaired_by_a_migration(db: Session) -> None:
    db.execute(b"alter schema horsies rename to jobs")
    [step] = plan(db, "jobs")
    assert "with other server functions" in step.found
    assert repair(db, "jobs") == ["migrate the schema"]
    assert plan(db, "jobs") == []
    assert status(db, DEFAULT_SCHEMA).condition is Condition.ABSENT


def test_a_name_that_is_taken_again_is_left_to_the_owner(db: Session) -> None:
    db.execute(b"alter schema horsies rename to jobs")
    db.execute(b"create schema horsies")
    with pytest.raises(RepairError, match="another schema has the name 'horsies' now: set PostgresConfig"):
        plan(db, DEFAULT_SCHEMA)


def test_two_renamed_schemas_are_left_to_the_owner(db: Session) -> None:
    db.execute(b"alter schema horsies rename to jobs")
    copied = "create schema more; create table more.schema_version ();"
    db.execute(f"{copied} create function more.enqueue() returns text language sql as $$ select 'horsies.tasks' $$")
    with pytest.raises(RepairError, match="renamed to 'jobs' and 'more', and nothing says which of them belongs"):
        plan(db, DEFAULT_SCHEMA)


def test_without_a_schema_there_is_nothing_to_repair(copy: Session) -> None:
    with pytest.raises(RepairError, match="not there yet; `horsies db migrate` creates it"):
        plan(copy, DEFAULT_SCHEMA)


def test_a_role_that_may_not_read_tables_gets_an_error_for_a_renamed_schema(db: Session) -> None:
    with new_role(db) as role:
        db.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.WORKER]).encode())
        db.execute(b"alter schema horsies rename to jobs")
        db.execute(f"set role {role}".encode())
        assert status(db, "jobs").condition is Condition.FUNCTIONS_OUTDATED
        with pytest.raises(RepairNeededError, match="functions contain the old name; `horsies db migrate` renews them"):
            migrate(db, "jobs")
        db.execute("reset role")
        assert migrate(db, "jobs") == ["functions"]
        db.execute(f"set role {role}".encode())
        assert migrate(db, "jobs") == []
