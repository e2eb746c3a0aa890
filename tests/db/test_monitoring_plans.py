"""Costs of the calls of `horsies.monitoring`: each finds its rows by indexes, however large the tables are."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from horsies import monitoring
from horsies.db.operations import Call
from horsies.db.queries import bulk as bulk_queries
from horsies.db.queries import declarations as declaration_queries
from horsies.db.queries import errors as error_queries
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import runs as run_queries
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries import status as status_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.monitoring.filters import parse_filter
from tests.db.test_plans import _FILL_HISTORY, _PREFIX, DUE, ENDED, fill, plans, reading
from tests.db.test_plans import nodes as nodes_of
from tests.db.test_view_plans import _FILL_NODES, _FILL_RUNS
from tests.support.databases import new_database
from tests.support.factories import DrivenWorker, numbered_id
from tests.support.server import Server
from tests.support.sessions import Session, call, open_session

MANY = 20_000
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_FILL_SAMPLES = """
    insert into horsies.samples
    select 60, %s::timestamptz - n / 10 * interval '1 minute', 'default', 'add' || n %% 10, 1, 0, 0, 0, 0, 0,
           '{}', '{}', '{}', '{}'
    from generate_series(0, %s::int) as n
"""
_FILL_GROUPS = """
    insert into horsies.error_groups (task_name, digest, error_code, frame, message, is_other, first_seen, last_seen,
                                      example_id)
    select 'add', int4send(n), 'BOOM', 'f', 'm', false, %s::timestamptz, %s::timestamptz, md5(n::text)::uuid
    from generate_series(1, 200) as n
"""
_FILL_COUNTS = """
    insert into horsies.error_counts
    select 3600, date_trunc('hour', %s::timestamptz) - h * interval '1 hour', g.id, '1', 'a', 1
    from horsies.error_groups g, generate_series(0, 99) as h
"""
_FILL_CURRENT = """
    insert into horsies.current_counts
    select md5(n::text)::uuid, %s::timestamptz, 'default', 'add' || n %% 10, 1, 0, 0 from generate_series(1, 100) as n
"""


def find(text: str, limit: int = 100) -> Call[object]:
    return monitoring_queries.find_tasks(parse_filter(text).unwrap().document(), None, limit)


TASK, RUN = numbered_id(ENDED + 7), numbered_id(7)
QUEUES = status_queries.queue_status([])
REASONS = status_queries.waiting_reasons()
WORKERS = monitoring_queries.worker_stats()
RUNS = status_queries.run_counts(3600.0)
SCHEDULES = schedule_queries.schedule_states()
WINDOW = (NOW - HOUR, NOW, None, None)

COUNTS_WAITING = 3 * MANY
"""The rows that a call may read that counts waiting tasks, up to a bound above the number of this test."""

CALLS: dict[str, tuple[list[Call[object]], int]] = {
    "all_tasks": ([find(""), find("status:failed", 1), find("id:" + str(TASK))], 2 * MANY + 5000),
    "backlog": ([status_queries.backlog("default")], COUNTS_WAITING),
    "bulk_action": ([bulk_queries.list_bulk_actions(RUN, 1)], 20),
    "bulk_actions": ([bulk_queries.list_bulk_actions(None, 100)], 1000),
    "cluster_metrics": ([QUEUES, REASONS, WORKERS, RUNS, SCHEDULES], 3 * COUNTS_WAITING),
    "diagnose": (
        [
            monitoring_queries.health(),
            WORKERS,
            monitoring_queries.waiting_names(10_000),
            declaration_queries.declared_differences(),
        ],
        COUNTS_WAITING,
    ),
    "error_counts": ([error_queries.error_counts(7, NOW - DAY, NOW, 1000)], 200),
    "errors": ([error_queries.error_groups(NOW - HOUR, NOW, None, None, 101)], 2000),
    "find_runs": ([run_queries.find_runs(None, None, None, 100)], 5000),
    "in_flight_tasks": ([status_queries.in_flight_tasks(None, 1000)], 1000),
    "live_tasks": ([find("status:pending"), find("status:pending queue:default")], 5000),
    "new_versions": ([monitoring_queries.new_versions(NOW - DAY, 100)], 1000),
    "node_details": ([run_queries.run_nodes(RUN)], 20),
    "queue_status": ([QUEUES], COUNTS_WAITING),
    "retry_forecast": ([monitoring_queries.retry_forecast(numbered_id(DUE + 7))], 2000),
    "run_counts": ([RUNS], MANY),
    "run_details": ([run_queries.run_facts(RUN)], 20),
    "run_nodes": ([workflow_queries.workflow_tasks(RUN, with_results=False)], 20),
    "run_of_task": ([run_queries.run_of_task(TASK), run_queries.run_of_task(numbered_id(DUE + 7))], 20),
    "runs": ([workflow_queries.workflow_list(None, 100)], 2000),
    "schedule_status": ([SCHEDULES], 20),
    "throughput": (
        [
            monitoring_queries.throughput(60, *WINDOW, 100_001),
            monitoring_queries.current_throughput(NOW, NOW + HOUR, None, None, 1000),
        ],
        3000,
    ),
    "waiting_reasons": ([REASONS], 2 * COUNTS_WAITING),
    "worker_children": ([monitoring_queries.worker_children()], 1000),
    "worker_status": ([WORKERS], 1000),
}
"""What each call asks the database, and how many rows that may read."""

CHANGING = {"advance_bulk", "control_bulk", "control_run", "preview_bulk"}
"""The calls that are no questions: they change tasks or runs, or store the ids of tasks for a change."""

FILLED = {"tasks", "workflows", "workflow_nodes", "samples", "error_counts"}
"""The large tables, which no call may read as a whole."""


@pytest.fixture(scope="module", params=["without statistics", "with statistics"])
def full_url(server: Server, template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Create many due tasks, as many ended ones on two days, and as many runs, samples and counts of errors."""
    with new_database(server, template) as url:
        with open_session(url) as session:
            session.execute("alter table horsies.tasks set (autovacuum_enabled = off)")
            fill(session, DUE, due_in=-2 * MANY, count=MANY)
            session.execute("select horsies.add_partitions(5)")
            session.execute(_FILL_HISTORY, (_PREFIX, ENDED, ENDED + MANY - 1))
            session.execute(_FILL_RUNS, (_PREFIX, MANY))
            session.execute(_FILL_NODES)
            session.execute("update horsies.workflows set started_at = started_at - random() * interval '1 hour'")
            session.execute(_FILL_SAMPLES, (NOW, MANY))
            session.execute(_FILL_GROUPS, (NOW - DAY, NOW))
            session.execute(_FILL_COUNTS, (NOW,))
            session.execute(_FILL_CURRENT, (NOW,))
            session.execute(
                "insert into horsies.sampling (first_minute, sampled_until) values (%s, %s)", (NOW - DAY, NOW)
            )
            session.execute("vacuum")
            if request.param == "with statistics":
                session.execute("analyze")
        yield url


@pytest.fixture
def full(full_url: str) -> Iterator[Session]:
    with open_session(full_url) as session, session.transaction(force_rollback=True):
        DrivenWorker(session).claim(100)
        yield session


def test_each_call_has_its_bound() -> None:
    """Calls that have no asynchronous form ask nothing."""
    asking = {name for name in monitoring.__all__ if f"{name}_async" in monitoring.__all__}
    assert asking - CHANGING == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_reads_by_indexes_and_within_its_bound(full: Session, name: str) -> None:
    asked, most = CALLS[name]
    with reading(full) as reads:
        for each in asked:
            call(full, each)
    wanted = {"tasks"} if name == "diagnose" else set[str]()  # which counts live rows up to a bound
    assert reads.whole_tables & FILLED <= wanted
    assert reads.rows <= most


AGGREGATES = sorted(CALLS.keys() - {"all_tasks", "live_tasks", "diagnose", "run_of_task"})


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_reads_no_history(full: Session, name: str) -> None:
    with reading(full) as reads:
        for each in CALLS[name][0]:
            call(full, each)
    read = reads.whole_tables | reads.indexes.keys()
    assert {each for each in read if each.startswith(("history", "attempts"))} == set()


@pytest.mark.parametrize("text", ["task:missing", "key:missing", "worker:missing", "-worker:missing task:missing"])
def test_a_search_joins_no_workers_with_its_tasks(full: Session, text: str) -> None:
    """The workers of a filter are looked up once. A join with each task would take a third of the time."""
    found = plans(full)
    call(full, find(text))
    scans = [
        node
        for plan in found
        for node in nodes_of(plan)
        if node.get("Relation Name") == "workers" and node["Actual Loops"] > 0
    ]
    assert sum(node["Actual Loops"] for node in scans) <= 2
    assert scans


def test_counts_of_samples_cost_no_percentiles(full: Session) -> None:
    """Only the histograms of selected percentiles are read, and each once for all of its percentiles."""

    def scans(columns: str) -> int:
        query = f"explain (analyze, format json) select {columns} from horsies.throughput where period_s = 60"
        [[explained]] = full.execute(query.encode()).fetchall()
        found = [node for node in nodes_of(json.loads(explained)[0]["Plan"]) if node["Node Type"] == "Function Scan"]
        assert all(node["Actual Loops"] > 0 for node in found)
        return len(found)

    assert scans("started_at, completed") == 0
    assert scans("wait_p50_s, wait_p95_s, wait_p99_s") == scans("run_p99_s") == 1
    assert scans("*") == 2
