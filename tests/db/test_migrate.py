"""Creating and migrating the schema."""

import uuid
from collections.abc import Callable, Iterator
from functools import partial

import psycopg
import pytest
from psycopg import errors

from horsies.config.postgres import PostgresConfig
from horsies.db import migrate as migrations
from horsies.db import sqlfiles
from horsies.db.errors import call_failed
from horsies.db.functions import MARK
from horsies.db.migrate import (
    FirstInstallation,
    MigrationFailedError,
    NotTheOwnerError,
    SchemaTooNewError,
    migrate,
    plain_sql,
    status,
)
from horsies.db.queries import tasks as task_queries
from horsies.db.rights import Kind, grant_sql
from horsies.db.sqlfiles import DEFAULT_SCHEMA, admin, bind, functions, listen
from horsies.version import __version__
from tests.db.test_replica_identity import install
from tests.support.factories import DrivenWorker, done, request, send
from tests.support.schema import describe
from tests.support.sessions import (
    InBackground,
    NewSession,
    Session,
    column,
    open_session,
    row,
    scalar,
    wait_until_blocked,
)

ODD = 'My "odd" schéma'
LATEST = max(sqlfiles.migrations())
EVERYTHING = [*(f"{number:04}" for number in sqlfiles.migrations()), "functions"]


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Session]:
    """Yield a session of an empty database."""
    with open_session(empty_database_url) as session:
        yield session


@pytest.fixture
def second(empty: Session, empty_database_url: str) -> Iterator[Session]:
    """Yield another session of the same database."""
    assert empty
    with open_session(empty_database_url) as session:
        yield session


@pytest.fixture
def role(db: Session) -> Iterator[str]:
    """Create a role without any rights."""
    name = f"hrs_role_{uuid.uuid4().hex[:10]}"
    db.execute(f"create role {name}".encode())
    yield name
    db.execute("reset role")
    db.execute(f"drop owned by {name}".encode())
    db.execute(f"drop role {name}".encode())


def test_an_empty_database_gets_everything(empty: Session) -> None:
    before = status(empty, DEFAULT_SCHEMA)
    assert (before.current, before.latest, before.pending, before.is_current) == (
        0,
        LATEST,
        tuple(sqlfiles.migrations()),
        False,
    )
    assert migrate(empty, DEFAULT_SCHEMA) == EVERYTHING
    after = status(empty, DEFAULT_SCHEMA)
    assert (after.current, after.pending, after.functions_current, after.is_current) == (LATEST, (), True, True)
    assert scalar(empty, "select library_version from horsies.schema_version") == __version__


def test_the_second_time_there_is_nothing_to_do(db: Session) -> None:
    before = db.execute("select * from horsies.schema_version").fetchall()
    assert migrate(db, DEFAULT_SCHEMA) == []
    assert db.execute("select * from horsies.schema_version").fetchall() == before


def test_a_renamed_schema_gets_functions_that_name_it(db: Session) -> None:
    """The bodies of functions are text, so those of a renamed schema still use the old name."""
    db.execute(b"alter schema horsies rename to jobs")
    stale = status(db, "jobs")
    assert (stale.current, stale.functions_current) == (LATEST, False)
    assert "`horsies db migrate` renews them" in stale.describe()
    assert migrate(db, "jobs") == ["functions"]
    assert migrate(db, DEFAULT_SCHEMA) == EVERYTHING
    sent = task_queries.enqueue(request(), replay=False)
    assert db.execute(bind(sent.sql, "jobs"), sent.params).fetchone() == ("sent",)
    assert scalar(db, "select count(*) from jobs.tasks") == 1
    assert scalar(db, "select count(*) from horsies.tasks") == 0
    db.execute(b"drop schema jobs cascade")


def test_to_look_where_it_stands_changes_nothing(empty: Session) -> None:
    status(empty, DEFAULT_SCHEMA)
    assert scalar(empty, "select to_regnamespace('horsies') is null")


def test_of_two_at_once_one_migrates_and_the_other_waits_for_it(
    empty: Session, second: Session, empty_database_url: str, in_background: InBackground
) -> None:
    with open_session(empty_database_url) as holder:
        with holder.transaction():
            holder.execute(admin("lock").encode())
            both = [in_background(partial(migrate, session, DEFAULT_SCHEMA)) for session in (empty, second)]
            wait_until_blocked(holder, empty)
            wait_until_blocked(holder, second)
        assert sorted(one.result() for one in both) == [[], EVERYTHING]


def test_what_fails_leaves_nothing_behind(empty: Session) -> None:
    empty.execute("create schema horsies")
    empty.execute("create table horsies.workers ()")
    with pytest.raises(
        MigrationFailedError, match=r'migration 0001 .* DuplicateTable: relation "workers" already exists'
    ):
        migrate(empty, DEFAULT_SCHEMA, FirstInstallation.EXISTING_SCHEMA)
    assert column(empty, "select relname from pg_class where relnamespace = 'horsies'::regnamespace") == ["workers"]
    empty.execute("drop table horsies.workers")
    assert migrate(empty, DEFAULT_SCHEMA) == EVERYTHING


def test_a_migration_that_fails_says_what_to_do_and_not_to_check_the_password(db: Session) -> None:
    """An index that was created by hand stands for any change by hand that is in the way of a later migration."""
    db.execute("drop schema horsies cascade")
    install(db, 57)
    db.execute("create index worker_versions_by_version on horsies.worker_versions (app_version)")
    with pytest.raises(MigrationFailedError) as caught:
        migrate(db, DEFAULT_SCHEMA)
    assert status(db, DEFAULT_SCHEMA).current == 57
    error = PostgresConfig(database_url="postgresql://localhost/jobs").unusable(call_failed(caught.value).message)
    [note] = error.notes
    assert note == (
        "the migration 0058 of the schema 'horsies' failed, and nothing was changed: "
        'DuplicateTable: relation "worker_versions_by_version" already exists'
    )
    assert error.help_text == (
        "undo what was changed or created by hand in this schema (`horsies db sql` prints what should be there), and "
        "migrate again"
    )


NAMES = [ODD, "UPPER", "select", "a.b", "semi;colon", "--comment", "horsies.tasks", "x" * 48]


@pytest.mark.parametrize("schema", NAMES)
def test_a_schema_of_any_name_is_the_same_and_works(db: Session, schema: str) -> None:
    def run(sql: str, *params: object) -> list[tuple[object, ...]]:
        cursor = db.execute(bind(sql, schema), params)
        return cursor.fetchall() if cursor.description else []

    assert migrate(db, schema) == EVERYTHING
    assert migrate(db, schema) == []
    assert describe(db, schema) == describe(db, DEFAULT_SCHEMA)
    worker, task = uuid.uuid4(), uuid.uuid4()
    db.execute(listen(migrations.sqlfiles.channel("done", schema)))
    run("select horsies.worker_start(%s, 'h', 1, 'n', 'b', 'p', 's', 'v', 1, 1, '{q}', '{2}', 9, '{add}', 60)", worker)
    run("select horsies.enqueue(%s, 'add', 'q', 1, '{}', 'x', 0, null, null, null, true)", task)
    assert run("select id, attempt from horsies.claim(%s, 1, 1, 1, null, '{q}', '{add}')", worker) == [(task, 1)]
    run("select horsies.reap(%s, 10)", worker)
    run("select horsies.announce()")
    assert run("select task_name, status from horsies.task_result(%s)", task) == [("add", "FAILED")]
    assert run("select horsies.maintenance_lock(), horsies.add_partitions(15), horsies.prune(0)") == [(True, 1, 0)]
    (notice,) = db.notifies(timeout=10, stop_after=1)
    assert notice.payload[:32] == task.hex


def test_two_schemas_in_a_database_do_not_meet(db: Session) -> None:
    migrate(db, ODD)
    send(db)
    assert db.execute(bind("select count(*) from horsies.tasks", ODD)).fetchone() == (0,)


@pytest.mark.parametrize("schema", ["", "x" * 49, "it's", "100%", "back\\slash", "a$b", "new\nline"])
def test_a_name_that_cannot_be_used_is_refused_before_anything_is_done(db: Session, schema: str) -> None:
    for refused in (lambda: migrate(db, schema), lambda: status(db, schema), lambda: plain_sql(schema)):
        with pytest.raises(ValueError, match=r"schema name .* (contains|must have 1 to 48)"):
            refused()


def test_the_schema_of_a_newer_library_is_refused(db: Session) -> None:
    db.execute("update horsies.schema_version set version = 99")
    with pytest.raises(
        SchemaTooNewError, match=rf"'horsies'.* version 99, .* versions up to {LATEST}: upgrade horsies"
    ):
        migrate(db, DEFAULT_SCHEMA)
    found = status(db, DEFAULT_SCHEMA)
    assert (found.current, found.latest, found.pending) == (99, LATEST, ())


def test_one_that_became_newer_while_we_waited_is_refused_too(
    empty: Session, second: Session, empty_database_url: str, in_background: InBackground
) -> None:
    with open_session(empty_database_url) as holder:
        with holder.transaction():
            migrate(holder, DEFAULT_SCHEMA)
            waiting = in_background(lambda: migrate(empty, DEFAULT_SCHEMA))
            wait_until_blocked(second, empty)
            holder.execute("update horsies.schema_version set version = 99")
        with pytest.raises(SchemaTooNewError):
            waiting.result()


def test_functions_of_another_release_are_recreated(db: Session) -> None:
    fresh = describe(db, DEFAULT_SCHEMA)
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    db.execute("drop function horsies.expire")
    db.execute("drop function horsies.heartbeat")
    for signature in ("heartbeat(living_worker uuid)", "claim(of_an_old_release int)"):
        db.execute(f"create function horsies.{signature} returns boolean language sql as 'select false'".encode())
        db.execute(f"comment on function horsies.{signature} is '{MARK}'".encode())
    found = status(db, DEFAULT_SCHEMA)
    assert (found.pending, found.functions_current, found.is_current) == ((), False, False)
    assert found.describe() == f"version {LATEST} with other server functions; `horsies db migrate` renews them"
    assert migrate(db, DEFAULT_SCHEMA) == ["functions"]
    assert describe(db, DEFAULT_SCHEMA) == fresh
    assert scalar(db, "select library_version from horsies.schema_version") == __version__
    assert DrivenWorker(db).heartbeat()


def test_functions_of_a_newer_release_are_left_alone(db: Session) -> None:
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '99.0.0'")
    assert status(db, DEFAULT_SCHEMA).is_current
    assert migrate(db, DEFAULT_SCHEMA) == []


def test_claims_and_prepared_calls_survive_new_functions(db: Session, new_session: NewSession) -> None:
    working = new_session()
    working.prepare_threshold = 0
    worker = DrivenWorker(working)
    for _ in range(8):
        send(working)
        assert worker.finish(done(worker.claim_one())) == ["accepted"]
    send(working)
    fence = worker.claim_one()
    db.execute("update horsies.schema_version set functions_hash = 'another'")
    assert migrate(db, DEFAULT_SCHEMA) == ["functions"]
    assert worker.finish(done(fence)) == ["accepted"]
    send(working)
    assert worker.finish(done(worker.claim_one())) == ["accepted"]


@pytest.mark.parametrize("schema", [DEFAULT_SCHEMA, ODD])
def test_the_plain_script_makes_the_same_schema(empty: Session, second: Session, schema: str) -> None:
    empty.execute(plain_sql(schema).encode())
    assert status(empty, schema).is_current
    assert migrate(empty, schema) == []
    by_hand = describe(empty, schema)
    second.execute(b"drop schema " + bind("horsies.;", schema)[:-1] + b" cascade")
    migrate(second, schema)
    assert by_hand == describe(second, schema)


def test_the_plain_script_is_one_transaction(empty: Session) -> None:
    empty.execute("create schema horsies")
    with pytest.raises(errors.DuplicateSchema):
        empty.execute(plain_sql(DEFAULT_SCHEMA).encode())
    empty.rollback()
    assert column(empty, "select relname from pg_class where relnamespace = 'horsies'::regnamespace") == []


def grant_use(db: Session, role: str) -> None:
    """Grant a role only the rights that sending and working require."""
    db.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.PRODUCER, Kind.WORKER]).encode())


def test_a_role_that_may_create_nothing_works_with_a_current_schema(db: Session, role: str) -> None:
    grant_use(db, role)
    db.execute(f"set role {role}".encode())
    assert migrate(db, DEFAULT_SCHEMA) == []
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert worker.finish(done(fence)) == ["accepted"]
    db.execute("reset role")
    assert row(db, "history", fence.task_id)["status"] == "COMPLETED"


OUTDATED: dict[str, Callable[[Session], object]] = {
    "no schema": lambda db: db.execute("drop schema horsies cascade"),
    "other functions": lambda db: db.execute("update horsies.schema_version set functions_hash = 'another'"),
}


@pytest.mark.parametrize("how", OUTDATED)
def test_a_role_that_may_create_nothing_gets_an_error_if_there_is_something_to_do(
    db: Session, role: str, how: str
) -> None:
    grant_use(db, role)
    OUTDATED[how](db)
    db.execute(f"set role {role}".encode())
    with pytest.raises((errors.InsufficientPrivilege, NotTheOwnerError)):
        migrate(db, DEFAULT_SCHEMA)


def test_a_role_may_migrate_a_schema_that_was_made_for_it(db: Session, role: str) -> None:
    db.execute(f"create schema mine authorization {role}".encode())
    db.execute(f"set role {role}".encode())
    assert migrate(db, "mine") == EVERYTHING
    db.execute("reset role")
    assert describe(db, "mine") == describe(db, DEFAULT_SCHEMA)


def test_a_migration_does_not_depend_on_the_search_path_or_the_settings_of_the_session(empty: Session) -> None:
    empty.execute("create schema elsewhere")
    empty.execute("set search_path = elsewhere")
    empty.execute("set standard_conforming_strings = off")
    empty.execute("set datestyle = 'German, DMY'")
    empty.execute("set timezone = 'Pacific/Kiritimati'")
    migrate(empty, DEFAULT_SCHEMA)
    assert column(empty, "select relname from pg_class where relnamespace = 'elsewhere'::regnamespace") == []
    made = column(empty, "select proname from pg_proc where pronamespace = 'horsies'::regnamespace order by 1")
    assert made == sorted(functions())


def test_connections_of_any_driver_of_psycopg_will_do(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as plain:
        assert migrate(plain, DEFAULT_SCHEMA) == EVERYTHING
