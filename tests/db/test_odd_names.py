"""Databases, roles and schemas whose names need quotes or have the maximum length."""

from collections.abc import Iterator

import pytest

from horsies.config.app import PostgresConfig
from horsies.config.postgres import schema_name_problem
from horsies.db.connect import Database
from horsies.db.migrate import migrate, plain_sql, status
from horsies.db.operations import Call
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.sqlfiles import DEFAULT_SCHEMA, channel, listen
from tests.support.factories import DrivenWorker, done, request, send
from tests.support.odd import LONGEST_SCHEMAS, odd_database
from tests.support.schema import describe
from tests.support.server import Server
from tests.support.sessions import Session, column, scalar


@pytest.fixture
def odd_url(server: Server) -> Iterator[str]:
    """The database of a role, both with odd names."""
    with odd_database(server) as url:
        yield url


@pytest.fixture(params=LONGEST_SCHEMAS)
def schema(request: pytest.FixtureRequest) -> str:
    """The name of a schema."""
    return LONGEST_SCHEMAS[request.param]


def test_the_owner_of_an_odd_database_migrates_and_works(odd_url: str) -> None:
    database = Database(PostgresConfig(database_url=odd_url))
    database.prepare()
    with database.connect() as session:
        assert status(session, DEFAULT_SCHEMA).is_current
        send(session)
        worker = DrivenWorker(session)
        fence = worker.claim_one()
        assert worker.finish(done(fence)) == ["accepted"]
        assert column(session, "select status from horsies.history where id = %s", fence.task_id) == ["COMPLETED"]


def test_the_longest_names_of_schemas_are_whole_and_work(odd_url: str, schema: str) -> None:
    database = Database(PostgresConfig(database_url=odd_url, schema=schema))
    database.prepare()
    with database.connect() as session:

        def run[R](call: Call[R]) -> R:
            return call.decode(session.execute(database.statement(call), call.params).fetchall())

        assert column(session, "select nspname from pg_namespace where nspname = %s", schema) == [schema]
        for kind in ("wake", "done"):
            session.execute(listen(channel(kind, schema)))
        wanted = request()
        assert run(task_queries.enqueue(wanted, replay=False)) == "sent"
        run(worker_queries.notify_wake())
        run(worker_queries.notify_done([wanted.task_id], with_results=False))
        heard = [(notice.channel, notice.payload) for notice in session.notifies(timeout=10, stop_after=2)]
        assert heard == [(channel("wake", schema), ""), (channel("done", schema), wanted.task_id.hex)]


def test_the_printed_script_makes_a_schema_of_the_longest_name(db: Session, schema: str) -> None:
    db.execute(plain_sql(schema).encode())
    assert status(db, schema).is_current
    assert migrate(db, schema) == []
    assert describe(db, schema) == describe(db, DEFAULT_SCHEMA)


@pytest.mark.parametrize("schema", ['"' * 25, "🐎" * 12 + '"', "ž" * 25])
def test_a_name_whose_channels_would_be_cut_off_is_refused(db: Session, schema: str) -> None:
    longest = scalar(db, "select current_setting('max_identifier_length')::int")
    problem = schema_name_problem(schema)
    assert problem is not None
    assert "must have 1 to 48" in problem
    fits = '"' * 24
    assert len(channel("wake", fits).encode()) <= longest
