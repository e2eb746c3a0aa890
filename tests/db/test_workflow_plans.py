"""Query plans of workflow functions: the cost depends on the ended nodes' dependents, not on the size of the run."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker, done, failed
from tests.support.runs import control, node, start, statuses
from tests.support.sessions import Session, column, open_session, scalar

WIDE = 5_000
RUNS = 5_000
_COPY_RUNS = """
    insert into horsies.workflows
    select (jsonb_populate_record(w, jsonb_build_object('id', new.id, 'root_id', new.id))).*
    from horsies.workflows w cross join (select md5(n::text)::uuid from generate_series(1, %s) as n) as new (id)
"""


@pytest.fixture
def large(database_url: str) -> Iterator[tuple[Session, UUID]]:
    """Start a run of one node, many nodes that wait for it, and one node that waits for all of those."""
    with open_session(database_url) as session:
        session.execute("alter table horsies.workflow_nodes set (autovacuum_enabled = off)")
        for _ in range(12):  # plans are made while the tables are small
            small = start(session, node(), node(0))
            worker = DrivenWorker(session)
            worker.finish(done(worker.claim_one()))
            control(session, small, "cancel")
        run = start(session, *(node() for _ in range(WIDE)), node(*range(WIDE)))
        yield session, run


def test_one_end_reads_its_dependents_only(large: tuple[Session, UUID]) -> None:
    session, run = large
    worker = DrivenWorker(session)
    fences = worker.claim(10)
    with reading(session) as reads:
        worker.finish(done(fences[0]))
    assert reads.whole_tables == set()
    assert reads.rows < 60
    assert reads.blocks < 400
    with reading(session) as reads:
        worker.finish(*map(done, fences))
    assert reads.rows < 250
    assert statuses(session, run)[-1] == "PENDING"


def test_a_wide_join_is_updated_once_per_batch(large: tuple[Session, UUID]) -> None:
    session, run = large
    worker = DrivenWorker(session)
    while fences := worker.claim(1000):
        if len(fences) > 1:
            with reading(session) as reads:
                worker.finish(*map(done, fences))
            assert reads.whole_tables == set()
            assert reads.rows < 25 * len(fences)
        worker.finish(*(done(fence) for fence in fences))
    assert scalar(session, "select status from horsies.workflows where id = %s", run) == "COMPLETED"


def test_a_chain_that_is_skipped_costs_its_length(database_url: str) -> None:
    with open_session(database_url) as session:
        run = start(session, node(), *(node(index) for index in range(300)))
        worker = DrivenWorker(session)
        fence = worker.claim_one()
        with reading(session) as reads:
            worker.finish(failed(fence))
        assert reads.whole_tables == set()
        assert reads.rows < 300 * 25
        worker.finish(failed(fence))
        assert set(statuses(session, run)[1:]) == {"SKIPPED"}


def test_a_task_of_a_held_run_makes_nobody_read_all_runs(db: Session, other: Session) -> None:
    db.execute("alter table horsies.workflows set (autovacuum_enabled = off)")
    run = start(db, *(node() for _ in range(20)))
    tasks = column(db, "select id from horsies.tasks where workflow_id = %s", run)
    with other.transaction():
        other.execute("select from horsies.workflows where id = %s for update", (run,))
        for _ in range(8):  # plans are made while the table is small
            assert scalar(db, "select horsies.lock_free_roots(%s::uuid[])", tasks) == []
        db.execute(_COPY_RUNS, (RUNS,))
        with reading(db) as reads:
            assert scalar(db, "select horsies.lock_free_roots(%s::uuid[])", tasks) == []
    assert reads.blocks < 150, reads.blocks
