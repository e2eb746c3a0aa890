"""`database_identity`: distinguishes the schema of one database from all others."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from horsies.db.migrate import migrate
from horsies.db.queries import identity as identity_queries
from horsies.db.queries.identity import DatabaseIdentity, DatabasePlace
from horsies.db.sqlfiles import DEFAULT_SCHEMA, bind
from tests.support.databases import new_database
from tests.support.server import Server, database_name
from tests.support.sessions import Session, call, open_session, scalar

NUMBERS = DatabaseIdentity("6f1c0f5e-3d0b-4d8e-9a53-0c2f5d1f8f00", "16384", "7300000000000000001")


@pytest.fixture
def role(db: Session) -> Iterator[str]:
    """Create a role that may read the schema but no settings of the server."""
    name = f"hrs_role_{uuid.uuid4().hex[:10]}"
    db.execute(f"create role {name}")
    db.execute(f"grant usage on schema horsies to {name}; grant select on all tables in schema horsies to {name}")
    yield name
    db.execute("reset role")
    db.execute(f"drop owned by {name}; drop role {name}")


def identity(session: Session, schema: str = DEFAULT_SCHEMA) -> DatabaseIdentity:
    asked = identity_queries.database_identity()
    return asked.decode(session.execute(bind(asked.sql, schema), asked.params).fetchall())


def test_it_is_the_same_over_each_connection_and_after_a_migration(db: Session, other: Session) -> None:
    before = identity(db)
    assert before == identity(other)
    db.execute("update horsies.schema_version set functions_hash = 'another', library_version = '0.0.1'")
    assert migrate(db, DEFAULT_SCHEMA) == ["functions"]
    assert identity(db) == before
    assert before.database_oid == str(
        scalar(db, "select oid::int8 from pg_database where datname = current_database()")
    )
    assert before.system_identifier == str(scalar(db, "select system_identifier from pg_control_system()"))


def test_two_schemas_of_one_database_have_two(db: Session) -> None:
    migrate(db, "jobs")
    ours, theirs = identity(db), identity(db, "jobs")
    assert ours.identity != theirs.identity
    assert not ours.matches(theirs)
    assert replace(theirs, identity=ours.identity).matches(ours)


def test_a_copy_of_a_database_shares_the_schemas_identity_only(db: Session, server: Server, database_url: str) -> None:
    source = database_name(database_url)
    ours = identity(db)
    db.close()
    with new_database(server, source) as url, open_session(url) as copy:
        theirs = identity(copy)
    assert (theirs.identity, theirs.system_identifier) == (ours.identity, ours.system_identifier)
    assert not theirs.matches(ours)


def test_it_survives_the_loss_of_its_row(db: Session) -> None:
    before = identity(db)
    db.execute("truncate horsies.schema_version")
    assert identity(db) == before


def test_an_owner_who_may_not_read_the_servers_identifier_does_without(db: Session, role: str) -> None:
    ours = identity(db)
    db.execute("revoke execute on function pg_control_system() from public")
    db.execute(f"grant select on horsies.schema_version to {role}")
    for function in ("database_identity", "schema_record"):
        db.execute(f"alter function horsies.{function}() owner to {role}")
    theirs = identity(db)
    assert theirs == replace(ours, system_identifier=None)
    assert theirs.matches(ours)
    assert "system identifier not readable" in theirs.describe()


@pytest.mark.parametrize(
    "changed",
    [
        {"identity": "0f1c0f5e-3d0b-4d8e-9a53-0c2f5d1f8f00"},
        {"database_oid": "16385"},
        {"system_identifier": "7300000000000000002"},
    ],
)
def test_each_part_tells_databases_apart(changed: dict[str, str]) -> None:
    assert NUMBERS.matches(NUMBERS)
    assert not NUMBERS.matches(replace(NUMBERS, **changed))


def test_where_a_connection_leads_is_found_also_without_the_schema(
    db: Session, empty_database_url: str, tcp_database_url: str
) -> None:
    here = call(db, identity_queries.find_identity())
    assert (here.has_schema, here.database) == (True, db.info.dbname)
    unseen = DatabasePlace(has_schema=True, database="shop", host=None, port="5432", sockets=None)
    assert unseen.describe() == "the database 'shop' over a Unix socket, port 5432"
    quoted = replace(unseen, sockets='"/srv/a ""b"""')
    assert quoted.describe() == "the database 'shop' over the Unix socket in '/srv/a \"b\"', port 5432"
    remote = replace(unseen, host="fd00::1")
    assert remote.describe() == "the database 'shop' at [fd00::1]:5432"
    with open_session(empty_database_url) as empty:
        assert call(empty, identity_queries.find_identity()).has_schema is False
    with open_session(tcp_database_url) as session:
        place = call(session, identity_queries.find_identity())
        assert place.describe().endswith(f" at 127.0.0.1:{session.info.port}")


def test_the_folder_of_the_socket_is_named_to_those_who_may_see_it(db: Session) -> None:
    seen = call(db, identity_queries.find_identity())
    with db.transaction(force_rollback=True):
        db.execute("create role socket_guest")
        db.execute("grant usage on schema horsies to socket_guest")
        db.execute("set local role socket_guest")
        unseen = call(db, identity_queries.find_identity())
    assert seen.sockets is not None
    assert (unseen.sockets, unseen.port) == (None, str(db.info.port))


def test_names_are_escaped_and_may_come_as_bytes(server: Server, template: str) -> None:
    with new_database(server, template, suffix="\n'x") as url, psycopg.connect(url) as session:
        session.execute("set client_encoding = 'SQL_ASCII'")
        asked = identity_queries.find_identity()
        place = asked.decode(session.execute(bind(asked.sql, DEFAULT_SCHEMA)).fetchall())
    assert "\n" not in place.describe()
    assert "\\n'x" in place.describe()
