"""Query plans of workflow functions: the cost depends on the ended nodes' dependents, not on the size of the run."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker, done, failed
from tests.support.runs import control, node, start, statuses
from tests.support.sessions import Session, open_session, scalar

WIDE = 5_000


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
