"""Rights by kind of role: what is granted, recorded, revoked, and granted again by a migration."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from horsies.db import sqlfiles
from horsies.db.migrate import NotTheOwnerError, migrate
from horsies.db.queries import identity as identity_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.rights import (
    Kind,
    RightsError,
    check_creators,
    check_rights,
    excessive_rights,
    functions_of,
    grant_sql,
    granted_to,
    lacking_rights,
    list_grants,
    own_kinds,
    revoke_sql,
)
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.db.test_function_rights import HELPERS, kinds
from tests.support.factories import DrivenWorker, done, ended_task, request, send
from tests.support.roles import acting_as, new_role
from tests.support.sessions import Session, call, column, scalar

ODD_SUFFIX = ' "odd" rôle\'s {role} horsies.'

_EXECUTABLE = """
    select p.proname::text from pg_proc p
    where p.pronamespace = 'horsies'::regnamespace and has_function_privilege(%s, p.oid, 'execute') order by 1
"""
_TABLES = """
    select c.relname::text || ' ' || privilege from pg_class c
    cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate']) as privilege
    where c.relnamespace = 'horsies'::regnamespace and c.relkind in ('r', 'p', 'v')
      and has_table_privilege(%s, c.oid, privilege)
"""


@pytest.fixture
def role(db: Session) -> Iterator[str]:
    """A role without any rights."""
    with new_role(db) as name:
        yield name


def grant(db: Session, role: str, *kinds: Kind, schema: str = DEFAULT_SCHEMA) -> None:
    """What `horsies db grant` does."""
    db.execute(grant_sql(schema, role, kinds).encode())


def revoke(db: Session, role: str, *kinds: Kind, kept: tuple[Kind, ...] = ()) -> None:
    """What `horsies db revoke` does."""
    db.execute(revoke_sql(DEFAULT_SCHEMA, role, kinds, kept).encode())


def renew_functions(db: Session) -> None:
    """Migrate as after an upgrade with other functions."""
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    assert migrate(db, DEFAULT_SCHEMA) == ["functions"]


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_the_header_of_a_function_is_read_as_written(name: str) -> None:
    assert {str(kind) for kind in granted_to(sqlfiles.functions()[name])} == kinds(name)


def test_a_new_role_may_do_nothing(db: Session, role: str) -> None:
    db.execute(f"grant usage on schema horsies to {role}")
    assert column(db, _EXECUTABLE, role) == []
    assert column(db, _TABLES, role) == []


@pytest.mark.parametrize("kind", Kind)
def test_a_role_may_execute_exactly_the_functions_whose_header_names_its_kind(
    db: Session, role: str, kind: Kind
) -> None:
    grant(db, role, kind)
    assert column(db, _EXECUTABLE, role) == sorted(name for name in sqlfiles.functions() if kind in kinds(name))
    may_read = kind in {Kind.VIEWER, Kind.OPERATOR}
    assert sorted(column(db, _TABLES, role)) == [f"{view} select" for view in sqlfiles.views() if may_read]
    assert scalar(db, "select has_schema_privilege(%s, 'horsies', 'usage')", role)
    assert not scalar(db, "select has_schema_privilege(%s, 'horsies', 'create')", role)


def test_nobody_but_the_owner_may_execute_a_helper(db: Session, role: str) -> None:
    grant(db, role, *Kind)
    assert set(column(db, _EXECUTABLE, role)) & set(HELPERS) == set()


def test_the_functions_of_the_library_suffice_for_each_kind(db: Session, role: str) -> None:
    grant(db, role, Kind.PRODUCER)
    with acting_as(db, role):
        task = send(db)
        assert call(db, task_queries.cancel(task)) == "cancelled"
        with pytest.raises(errors.InsufficientPrivilege, match="worker_start"):
            DrivenWorker(db)
        with pytest.raises(errors.InsufficientPrivilege, match="table tasks"):
            db.execute("select from horsies.tasks")
    grant(db, role, Kind.WORKER)
    with acting_as(db, role):
        send(db)
        worker = DrivenWorker(db)
        assert worker.finish(done(worker.claim_one())) == ["accepted"]
        assert call(db, worker_queries.add_partitions(20)) > 0
        assert call(db, worker_queries.prune(24)) == 0


def test_partitions_that_a_worker_creates_and_drops_belong_to_the_owner(db: Session, role: str) -> None:
    grant(db, role, Kind.WORKER)
    with acting_as(db, role):
        call(db, worker_queries.add_partitions(20))
    owners = "select distinct relowner::regrole::text from pg_class where relnamespace = 'horsies'::regnamespace"
    assert column(db, owners) == [scalar(db, "select current_user::text")]


def test_a_grant_is_recorded_once(db: Session, role: str) -> None:
    for _ in range(2):
        grant(db, role, Kind.VIEWER, Kind.ARGUMENTS)
    assert [(each.role, each.kind) for each in list_grants(db, DEFAULT_SCHEMA)] == [
        (role, Kind.ARGUMENTS),
        (role, Kind.VIEWER),
    ]
    assert scalar(db, "select count(*) from horsies.grants where granted_by = session_user") == 2


def test_a_role_of_any_name_in_a_schema_of_any_name(db: Session) -> None:
    schema = 'My {role} "odd" schema'
    migrate(db, schema)
    with new_role(db, ODD_SUFFIX) as odd:
        grant(db, odd, Kind.PRODUCER, schema=schema)
        assert [each.role for each in list_grants(db, schema)] == [odd]
        assert list_grants(db, DEFAULT_SCHEMA) == []
        with acting_as(db, odd):
            assert lacking_rights(db, schema, functions_of([Kind.PRODUCER])) == []
            assert "usage on schema horsies" in lacking_rights(db, DEFAULT_SCHEMA, functions_of([Kind.PRODUCER]))
        db.execute(revoke_sql(schema, odd, [Kind.PRODUCER]).encode())
        assert list_grants(db, schema) == []


def test_revoking_takes_everything(db: Session, role: str) -> None:
    grant(db, role, Kind.PRODUCER, Kind.WORKER)
    revoke(db, role, *Kind)
    assert column(db, _EXECUTABLE, role) == []
    assert not scalar(db, "select has_schema_privilege(%s, 'horsies', 'usage')", role)
    assert list_grants(db, DEFAULT_SCHEMA) == []
    revoke(db, role, *Kind)  # nothing is left, and nothing fails


def test_revoking_one_kind_leaves_the_other(db: Session, role: str) -> None:
    grant(db, role, Kind.PRODUCER, Kind.OPERATOR)
    revoke(db, role, Kind.OPERATOR, kept=(Kind.PRODUCER,))
    assert column(db, _EXECUTABLE, role) == sorted(functions_of([Kind.PRODUCER]))
    assert [each.kind for each in list_grants(db, DEFAULT_SCHEMA)] == [Kind.PRODUCER]


def test_a_migration_grants_again_what_is_recorded_and_no_more(db: Session, role: str) -> None:
    grant(db, role, Kind.PRODUCER)
    db.execute("drop function horsies.enqueue")
    db.execute("drop function horsies.now")  # a new function may be executed by PUBLIC at first
    db.execute(f"grant execute on all functions in schema horsies to {role}")
    renew_functions(db)
    assert column(db, _EXECUTABLE, role) == sorted(functions_of([Kind.PRODUCER]))


def test_a_migration_skips_recorded_roles_that_were_dropped(db: Session) -> None:
    db.execute("insert into horsies.grants (role_name, kind) values ('a role that was dropped', 'worker')")
    renew_functions(db)
    [left] = list_grants(db, DEFAULT_SCHEMA)
    assert not left.exists


def test_functions_that_are_replaced_keep_their_grants_throughout(db: Session, role: str) -> None:
    """A right that was granted by hand, without a record, is kept for functions that are only replaced."""
    db.execute(f"grant usage on schema horsies to {role}")
    db.execute(f"grant execute on function horsies.database_identity() to {role}")
    renew_functions(db)
    with acting_as(db, role):
        assert call(db, identity_queries.database_identity()).identity


def test_lacking_rights_are_those_of_the_kind_only(db: Session, role: str) -> None:
    grant(db, role, Kind.PRODUCER)
    with acting_as(db, role):
        assert lacking_rights(db, DEFAULT_SCHEMA, functions_of([Kind.PRODUCER])) == []
        [lacking] = lacking_rights(db, DEFAULT_SCHEMA, functions_of([Kind.WORKER]))
        assert lacking.startswith("execute on ")
        assert "functions (add_partitions, backfill_turns, claim, …)" in lacking
    assert lacking_rights(db, DEFAULT_SCHEMA, functions_of(list(Kind))) == []


def test_without_a_schema_the_right_to_create_one_is_lacking(db: Session, role: str) -> None:
    with acting_as(db, role):
        name = db.info.dbname
        assert lacking_rights(db, "missing", functions_of([Kind.WORKER])) == [f"create on database {name}"]


def test_a_role_that_is_not_to_create_a_schema_needs_no_right_to_do_so(db: Session, role: str) -> None:
    with acting_as(db, role):
        check_rights(db, "missing", Kind.WORKER, may_create=False)
        with pytest.raises(RightsError, match=r"create on database .*; run as a role that may create schemas in it: "):
            check_rights(db, "missing", Kind.WORKER, may_create=True)


def test_missing_rights_of_a_worker_are_refused_with_the_command(db: Session, role: str) -> None:
    grant(db, role, Kind.PRODUCER)
    with acting_as(db, role):
        check_rights(db, DEFAULT_SCHEMA, Kind.PRODUCER, may_create=False)
        with pytest.raises(RightsError, match=r"execute on .* functions .*horsies db grant MODULE:APP --worker "):
            check_rights(db, DEFAULT_SCHEMA, Kind.WORKER, may_create=False)
    grant(db, role, Kind.WORKER)
    with acting_as(db, role):
        check_rights(db, DEFAULT_SCHEMA, Kind.WORKER, may_create=False)


def test_a_role_that_may_not_create_the_schema_learns_which_right_it_needs(db: Session, role: str) -> None:
    message = rf'may not create the schema \'missing\', which needs: grant create on database "{db.info.dbname}" to '
    with acting_as(db, role), pytest.raises(NotTheOwnerError, match=message):
        migrate(db, "missing")


def test_a_role_has_the_kinds_that_were_granted_to_it(db: Session, role: str) -> None:
    grant(db, role, Kind.OPERATOR, Kind.ARGUMENTS)
    with acting_as(db, role):
        assert own_kinds(db, DEFAULT_SCHEMA) == {Kind.OPERATOR, Kind.ARGUMENTS}


@pytest.mark.parametrize("to_whom", ["role", "public"])
def test_a_schema_in_which_others_may_create_is_refused(db: Session, role: str, to_whom: str) -> None:
    check_creators(db, DEFAULT_SCHEMA)
    creator = role if to_whom == "role" else "public"
    db.execute(f"grant create on schema horsies to {creator}")
    with pytest.raises(RightsError, match="may create objects in the schema 'horsies'") as refused:
        check_creators(db, DEFAULT_SCHEMA)
    _, fix = str(refused.value).split("first: ")
    db.execute(fix.encode())
    check_creators(db, DEFAULT_SCHEMA)


def test_a_superuser_may_create_anyway(db: Session) -> None:
    with db.transaction(force_rollback=True):
        db.execute("create role hrs_super superuser")
        db.execute("grant create on schema horsies to hrs_super")
        check_creators(db, DEFAULT_SCHEMA)


def test_rights_on_tables_and_helpers_are_excessive(db: Session, role: str) -> None:
    grant(db, role, *Kind)
    assert excessive_rights(db, DEFAULT_SCHEMA) == []
    db.execute(f"grant select on all tables in schema horsies to {role}")  # reports may need it
    assert excessive_rights(db, DEFAULT_SCHEMA) == []
    db.execute(f"grant update on horsies.history to {role}")
    db.execute("grant execute on function horsies.now() to public")
    assert excessive_rights(db, DEFAULT_SCHEMA) == [("PUBLIC", "function now"), (role, "table history")]


def test_the_owner_need_not_be_able_to_log_in(db: Session, role: str) -> None:
    """The role of the connection migrates as a member of the owner; everything belongs to the owner."""
    db.execute(f"create schema mine authorization {role}")
    with acting_as(db, role):
        migrate(db, "mine")
    with db.transaction(force_rollback=True):
        db.execute(f"create role hrs_deployer login in role {role}")
        db.execute("update mine.schema_version set functions_hash = 'another', library_version = '0.0.1'")
        db.execute("drop function mine.heartbeat")
        db.execute("set local role hrs_deployer")
        assert migrate(db, "mine") == ["functions"]
        db.execute(f"set local role {role}")
        owners = "select distinct proowner::regrole::text from pg_proc where pronamespace = 'mine'::regnamespace"
        assert column(db, owners) == [role]


def test_what_another_role_has_created_in_earlier_migrations_is_given_to_the_owner(db: Session, role: str) -> None:
    """Before, functions belonged to the role that ran the latest migration."""
    db.execute(f"create schema mine authorization {role}")
    with acting_as(db, role):
        migrate(db, "mine")
    me = scalar(db, "select current_user::text")
    db.execute(f"alter function mine.claim owner to {me}")
    db.execute("alter table mine.history_default owner to " + me)
    db.execute("update mine.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    assert migrate(db, "mine") == ["functions"]
    assert scalar(db, "select current_user::text") == me
    assert scalar(db, "select proowner::regrole::text from pg_proc where oid = 'mine.claim'::regproc") == role
    assert (
        scalar(db, "select relowner::regrole::text from pg_class where oid = 'mine.history_default'::regclass") == role
    )


def test_a_role_that_cannot_act_as_the_owner_learns_which_role_has_to_migrate(db: Session, role: str) -> None:
    grant(db, role, Kind.WORKER)
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    owner = scalar(db, "select current_user::text")
    with acting_as(db, role), pytest.raises(NotTheOwnerError, match=f"`horsies db migrate` as the role '{owner}'"):
        migrate(db, DEFAULT_SCHEMA)


def test_results_are_read_with_the_rights_of_the_owner(db: Session, role: str) -> None:
    task = ended_task(db)
    grant(db, role, Kind.ARGUMENTS)
    with acting_as(db, role):
        found = call(db, task_queries.task_result(task))
        assert found is not None
        assert found.status == "COMPLETED"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            call(db, task_queries.enqueue(request(), replay=False))
