"""Costs of the views for monitoring: questions by key or with a limit read few rows, aggregates read no history."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.db.test_plans import _FILL_HISTORY, _PREFIX, DUE, ENDED, fill, reading
from tests.support.databases import new_database
from tests.support.factories import DrivenWorker, numbered_id
from tests.support.server import Server
from tests.support.sessions import Session, open_session

MANY = 20_000
_FILL_RUNS = """
    insert into horsies.workflows (id, root_id, name, definition_key, status, on_error, optional, total, fingerprint,
                                   started_at)
    select id, id, 'flow', 'flow.v1', 'RUNNING', 'fail', '{}', 1, 'x', now()
    from (select (%s || lpad(to_hex(n), 12, '0'))::uuid as id from generate_series(1, %s::int) as n) as made
"""
_FILL_NODES = """
    insert into horsies.workflow_nodes (workflow_id, index, node_id, kind, task_name, queue, priority, args, args_from,
                                        waits_for, allow_failed_deps, wants_meta, open_deps, status, task_id)
    select w.id, 0, 'n0', 'task', 'add', 'default', 100, '{}', '{}', '{}', false, false, 0, 'ENQUEUED', w.id
    from horsies.workflows w
"""


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def full_url(server: Server, template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Create many due tasks, as many ended ones on several days, and as many runs with a node."""
    with new_database(server, template) as url:
        with open_session(url) as session:
            fill(session, DUE, due_in=-2 * MANY, count=MANY)
            session.execute("select horsies.add_partitions(5)")
            for day in range(4):
                first = ENDED + day * MANY // 4
                session.execute(_FILL_HISTORY, (_PREFIX, first, first + MANY // 4 - 1))
                session.execute(
                    "update horsies.history set finished_at = finished_at + %s * interval '24 h'"
                    " where id between %s and %s",
                    (day, numbered_id(first), numbered_id(first + MANY // 4 - 1)),
                )
            session.execute(_FILL_RUNS, (_PREFIX, MANY))
            session.execute(_FILL_NODES)
            session.execute("vacuum")
            if request.param == "with statistics":
                session.execute("analyze")
        yield url


@pytest.fixture
def full(full_url: str) -> Iterator[Session]:
    with open_session(full_url) as session, session.transaction(force_rollback=True):
        DrivenWorker(session)
        yield session


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("select * from horsies.live_tasks where id = %s", DUE + 7),
        ("select * from horsies.all_tasks where id = %s", DUE + 7),
        ("select * from horsies.all_tasks where id = %s", ENDED + 7),
        ("select * from horsies.runs where id = %s", 7),
        ("select * from horsies.run_nodes where run_id = %s", 7),
    ],
)
def test_a_key_is_looked_up_by_indexes(full: Session, query: str, number: int) -> None:
    key: UUID = numbered_id(number)
    with reading(full) as reads:
        assert len(full.execute(query.encode(), (key,)).fetchall()) == 1
    assert reads.rows < 20
    assert reads.whole_tables.isdisjoint({"tasks", "workflows", "workflow_nodes"})


@pytest.mark.parametrize(
    "query",
    [
        "select * from horsies.live_tasks order by id desc limit 1000",
        "select * from horsies.all_tasks order by id desc limit 1000",
        "select * from horsies.all_tasks where finished_at >= now() - interval '1 hour' order by id desc limit 1000",
        "select * from horsies.runs order by started_at desc limit 1000",
        "select * from horsies.run_nodes limit 1000",
        "select * from horsies.live_tasks limit 1000",
    ],
)
def test_the_latest_are_read_and_no_more(full: Session, query: str) -> None:
    with reading(full) as reads:
        assert len(full.execute(query.encode()).fetchall()) == 1000
    assert reads.rows < 3000


@pytest.mark.parametrize("view", ["queue_status", "worker_status", "waiting_reasons", "errors", "throughput"])
def test_an_aggregate_reads_no_history(full: Session, view: str) -> None:
    with reading(full) as reads:
        full.execute(f"select * from horsies.{view}".encode()).fetchall()
    read = reads.whole_tables | reads.indexes.keys()
    assert {name for name in read if name.startswith(("history", "attempts", "workflow"))} == set()
    assert "tasks" not in reads.whole_tables


def test_throughput_of_an_hour_is_found_by_its_key(full: Session) -> None:
    full.execute(
        "insert into horsies.samples select 60, date_trunc('minute', now()) - n * interval '1 minute', 'default', 'add',"
        " 1, 0, 0, 0, 0, 0, '{}', '{}', '{}', '{}' from generate_series(1, 5000) as n"
    )
    query = (
        "select * from horsies.throughput where period_s = 60"
        " and started_at >= date_trunc('minute', now()) - interval '1 hour'"
    )
    with reading(full) as reads:
        assert len(full.execute(query.encode()).fetchall()) == 60
    assert reads.rows < 200
