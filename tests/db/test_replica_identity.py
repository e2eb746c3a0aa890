"""Every table has a primary key, so a publication for all tables does not refuse any update or delete."""

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db import sqlfiles
from horsies.db.migrate import migrate
from horsies.db.queries import worker as worker_queries
from horsies.db.repair import plan, repair
from horsies.db.sqlfiles import DEFAULT_SCHEMA, admin, bind
from tests.support.factories import DrivenWorker, done, failed, request, send
from tests.support.schema import describe
from tests.support.sessions import Session, call, column, freeze_clock, move_clock, open_session, scalar

_UNIDENTIFIED = """
    select c.relname::text from pg_class c
    where c.relnamespace = 'horsies'::regnamespace and c.relkind in ('r', 'p')
      and (c.relreplident <> 'd'
           or not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid))
"""
_PUBLISH = "create publication everything for all tables"


def test_each_table_and_each_new_partition_has_a_primary_key(db: Session) -> None:
    before = scalar(db, "select count(*) from pg_inherits where inhparent = 'horsies.history'::regclass")
    assert call(db, worker_queries.add_partitions(40)) > 0
    assert scalar(db, "select count(*) from pg_inherits where inhparent = 'horsies.history'::regclass") > before
    assert column(db, _UNIDENTIFIED) == []


def test_an_installation_beside_a_publication_for_all_tables(empty_database_url: str) -> None:
    with open_session(empty_database_url) as session:
        session.execute(_PUBLISH)
        assert migrate(session, DEFAULT_SCHEMA)
        assert migrate(session, DEFAULT_SCHEMA) == []


@pytest.mark.parametrize("version", sorted(sqlfiles.migrations())[:-1])
def test_an_upgrade_of_each_version_beside_a_publication(empty_database_url: str, version: int) -> None:
    with open_session(empty_database_url) as session:
        install(session, version)
        session.execute(_PUBLISH)
        assert migrate(session, DEFAULT_SCHEMA)
        upgraded = describe(session, DEFAULT_SCHEMA)
        assert migrate(session, "fresh")
        assert describe(session, "fresh") == upgraded


def install(session: Session, version: int) -> None:
    """Create the tables of an earlier version."""
    session.execute(bind(admin("create_schema"), DEFAULT_SCHEMA))
    for number, sql in sqlfiles.migrations().items():
        if number <= version:
            session.execute(bind(sql, DEFAULT_SCHEMA))
    session.execute(
        "insert into horsies.schema_version (version, functions_hash, library_version) values (%s, 'old', '0.0.1')",
        (version,),
    )


def test_functions_are_renewed_and_tasks_run_beside_a_publication(db: Session) -> None:
    db.execute(_PUBLISH)
    db.execute("update horsies.schema_version set functions_hash = 'that of an older release'")
    assert migrate(db, DEFAULT_SCHEMA) == ["functions"]
    freeze_clock(db)
    move_clock(db, 1)
    send(db, request(retry=RetryPolicy.fixed([1], auto_retry_for=["BOOM"])))
    worker = DrivenWorker(db)
    assert worker.finish(failed(worker.claim_one(), "BOOM")) == ["accepted"]
    move_clock(db, 1.5)
    assert worker.finish(done(worker.claim_one())) == ["accepted"]
    call(db, worker_queries.add_partitions(20))
    move_clock(db, 3 * 86_400)
    assert call(db, worker_queries.prune(24)) > 0
    worker.stop()


def test_a_replica_identity_that_was_taken_away_is_repaired(db: Session) -> None:
    db.execute("alter table horsies.tasks replica identity nothing")
    db.execute("alter table horsies.queues drop constraint queues_pkey")
    [step] = plan(db, DEFAULT_SCHEMA)
    assert step.found == "a publication cannot identify the rows of these tables: queues, tasks"
    assert repair(db, DEFAULT_SCHEMA) == ["set their replica identity"]
    assert column(db, "select relname::text from pg_class where relname = 'queues' and relreplident = 'f'") == [
        "queues"
    ]
    assert plan(db, DEFAULT_SCHEMA) == []
