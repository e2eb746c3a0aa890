"""A schema that also holds objects of other programs: a migration never changes or drops what horsies has not created."""

from collections.abc import Iterator

import pytest

from horsies.db import sqlfiles
from horsies.db.functions import MARK, ForeignObjectsError, signature, signatures
from horsies.db.health import drift
from horsies.db.migrate import FirstInstallation, MigrationFailedError, migrate, status
from horsies.db.sqlfiles import DEFAULT_SCHEMA, bind
from tests.support.factories import DrivenWorker, done, send
from tests.support.schema import describe
from tests.support.sessions import Session, column, open_session, scalar

EXISTING = FirstInstallation.EXISTING_SCHEMA
USERS = """
    create table public.orders (id int primary key, status text);
    insert into public.orders values (1, 'paid');
    create view public.paid_orders as select id from public.orders where status = 'paid';
    create function public.total(a int, b int) returns int language sql as 'select a + b';
    create function public.cancel(order_id int) returns text language sql as 'select ''an order''::text';
    create aggregate public.sum_of (int) (sfunc = int4pl, stype = int);
    create procedure public.tidy() language sql as 'select 1';
"""
_USERS_FUNCTIONS = """
    select p.proname::text from pg_proc p
    where p.pronamespace = 'public'::regnamespace and obj_description(p.oid, 'pg_proc') is distinct from %s order by 1
"""


@pytest.fixture
def shared(empty_database_url: str) -> Iterator[Session]:
    """A session of a database whose schema ``public`` belongs to an application."""
    with open_session(empty_database_url) as session:
        session.execute(USERS)
        yield session


def renew_functions(db: Session, schema: str = DEFAULT_SCHEMA) -> None:
    """Migrate as after an upgrade with other functions."""
    changed = "update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'"
    db.execute(bind(changed, schema))
    assert migrate(db, schema) == ["functions"]


def test_a_schema_with_tables_of_others_is_refused(shared: Session) -> None:
    with pytest.raises(
        ForeignObjectsError, match=r"'public' contains tables .*: orders, paid_orders;.*--into-existing"
    ):
        migrate(shared, "public")
    assert status(shared, "public").current == 0
    assert column(shared, "select tablename::text from pg_tables where schemaname = 'public'") == ["orders"]


def test_at_most_five_of_many_tables_are_named(shared: Session) -> None:
    for number in range(9):
        shared.execute(f"create table public.a_{number} ()".encode())
    with pytest.raises(ForeignObjectsError, match="a_0, a_1, a_2, a_3, a_4, …;"):
        migrate(shared, "public")


def test_functions_alone_and_tables_of_extensions_are_no_obstacle(empty_database_url: str) -> None:
    with open_session(empty_database_url) as session:
        session.execute("create function public.total(a int) returns int language sql as 'select a'")
        assert migrate(session, "public")
        assert scalar(session, "select public.total(3)") == 3


def test_in_a_shared_schema_everything_of_the_application_stays(shared: Session) -> None:
    migrate(shared, "public", EXISTING)
    renew_functions(shared, "public")
    assert column(shared, _USERS_FUNCTIONS, MARK) == ["cancel", "sum_of", "tidy", "total"]
    assert scalar(shared, "select public.total(2, 3)") == 5
    assert scalar(shared, "select public.cancel(1)") == "an order"
    assert column(shared, "select id from public.paid_orders") == [1]
    assert drift(shared, "public") == []
    worked = bind(
        "select horsies.enqueue(gen_random_uuid(), 'a', 'q', 1, '{}', 'x', 0, null, null, null, true)", "public"
    )
    if shared.info.server_version >= 13_00_00:
        assert shared.execute(worked).fetchone() == ("sent",)


def test_a_function_of_others_with_one_of_our_signatures_is_not_replaced(shared: Session) -> None:
    shared.execute("create function public.now() returns timestamptz language sql as 'select clock_timestamp()'")
    with pytest.raises(ForeignObjectsError, match=r"functions that horsies has not created.*: now\(\); rename or drop"):
        migrate(shared, "public", EXISTING)
    shared.execute("drop function public.now()")
    assert migrate(shared, "public", EXISTING)


def test_a_table_of_others_with_one_of_our_names_is_not_touched(shared: Session) -> None:
    shared.execute("create table public.tasks (title text)")
    with pytest.raises(MigrationFailedError, match='"tasks" already exists'):
        migrate(shared, "public", EXISTING)
    assert column(shared, "select tablename::text from pg_tables where schemaname = 'public' order by 1") == [
        "orders",
        "tasks",
    ]


def test_a_renewal_creates_what_is_missing_and_drops_what_was_ours(db: Session) -> None:
    db.execute("drop function horsies.heartbeat")
    db.execute("create function horsies.retired(a int) returns int language sql as 'select a'")
    db.execute(f"comment on function horsies.retired is '{MARK}'".encode())
    db.execute("create function horsies.users_own(a int) returns int language sql as 'select a'")
    renew_functions(db)
    assert scalar(db, "select to_regproc('horsies.retired') is null")
    assert scalar(db, "select horsies.users_own(4)") == 4
    assert DrivenWorker(db).heartbeat()


@pytest.mark.parametrize("earlier", ["horsies.now() returns date", "horsies.cancel(id uuid) returns text"])
def test_another_result_type_or_parameter_name_needs_a_drop(db: Session, earlier: str) -> None:
    name = earlier.partition("(")[0]
    fresh = describe(db, DEFAULT_SCHEMA)
    db.execute(f"drop function {name}".encode())
    db.execute(f"create function {earlier} language sql as 'select null::{earlier.rsplit(maxsplit=1)[-1]}'".encode())
    db.execute(f"comment on function {name} is '{MARK}'".encode())
    renew_functions(db)
    assert describe(db, DEFAULT_SCHEMA) == fresh


def test_a_function_that_is_only_replaced_keeps_its_identity(db: Session) -> None:
    """So views of users on our functions, and grants, survive an upgrade."""
    before = scalar(db, "select 'horsies.task_info'::regproc::oid")
    db.execute("create view public.info as select * from horsies.worker_stats()")
    renew_functions(db)
    assert scalar(db, "select 'horsies.task_info'::regproc::oid") == before
    assert column(db, "select id from public.info") == []


def test_functions_of_a_version_without_marks_are_recognized(db: Session) -> None:
    fresh = describe(db, DEFAULT_SCHEMA)
    marking = sqlfiles.migrations()[13]
    for name in sqlfiles.views():
        db.execute(f"drop view horsies.{name}".encode())
    for name in signatures():
        is_old = f"'{name}'" in marking
        change = f"comment on function horsies.{name} is null" if is_old else f"drop function horsies.{name}"
        db.execute(change.encode())
    db.execute("create function horsies.neighbours(boot text, namespace text) returns int language sql as 'select 1'")
    db.execute("create or replace function horsies.durable() returns void language sql as ''")
    db.execute("create function horsies.users_own(a int) returns int language sql as 'select a'")
    db.execute("drop table horsies.grants")
    db.execute(bind(marking, DEFAULT_SCHEMA))
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    assert migrate(db, DEFAULT_SCHEMA) == ["functions"]
    assert scalar(db, "select horsies.users_own(4)") == 4
    db.execute("drop function horsies.users_own")
    assert describe(db, DEFAULT_SCHEMA) == fresh


def test_without_comments_a_schema_of_the_same_release_is_recognized(db: Session) -> None:
    """A dump may be restored without comments."""
    for name in signatures():
        db.execute(f"comment on function horsies.{name} is null".encode())
    for name in sqlfiles.views():
        db.execute(f"comment on view horsies.{name} is null".encode())
    renew_functions(db)
    marked = "select count(*) from pg_proc p where obj_description(p.oid, 'pg_proc') = %s"
    assert scalar(db, marked, MARK) == len(signatures())


def test_work_goes_on_after_a_renewal(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    renew_functions(db)
    assert worker.finish(done(fence)) == ["accepted"]


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_a_signature_is_the_one_that_postgresql_has(db: Session, name: str) -> None:
    found = f"horsies.{signature(sqlfiles.functions()[name])}"
    assert scalar(db, "select to_regprocedure(%s)::oid = %s::regproc::oid", found, f"horsies.{name}")


def test_text_that_creates_no_function_has_no_signature() -> None:
    with pytest.raises(ValueError, match="does not create a function"):
        signature("select 1")
