"""The answers of the views for monitoring: they are those of the functions, and of a count by hand."""

import json
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from psycopg.rows import dict_row

from horsies.config.retry import RetryPolicy
from horsies.db import sqlfiles
from horsies.db.queries import errors as error_queries
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import status as status_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.monitoring.histograms import Histogram
from tests.support.factories import DrivenWorker, done, failed, numbered_id, request, send, send_many
from tests.support.runs import attach, finish, nodes_of, start
from tests.support.runs import node as run_node
from tests.support.sessions import NOON, Session, call, column, freeze_clock, move_clock

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
RETRY = RetryPolicy.fixed([60, 60], jitter=False, auto_retry_for=["BOOM"])
HIDDEN = "s3cret-marker"


def rows(db: Session, view: str, where: str = "true") -> list[dict[str, Any]]:
    with db.cursor(row_factory=dict_row) as cursor:
        query = sqlfiles.bind(f"select * from horsies.{view} where {where}", sqlfiles.DEFAULT_SCHEMA)
        return cursor.execute(query).fetchall()


@pytest.fixture
def mixed(db: Session) -> Session:
    """Tasks in all states: waiting, scheduled, waiting for a retry, prefetched, running, and ended in each way."""
    freeze_clock(db)
    worker = DrivenWorker(db)
    for _ in range(6):
        send(db, request(retry=RETRY, priority=7, task_key="tenant-7", timeout_ms=900))
    move_clock(db, 1)
    completed, failing, retried, crashed, *_ = worker.claim(5)
    move_clock(db, 2)
    worker.finish(done(completed), failed(failing, "OTHER"), failed(retried), failed(crashed, "WORKER_CRASHED"))
    worker.prefetch(1)
    send(db, request(delay=3600))
    call(db, task_queries.cancel(send(db)))
    left = DrivenWorker(db)
    send(db)
    left.claim(1)
    left.stop()
    return db


def test_the_tasks_are_those_of_task_info(mixed: Session) -> None:
    found = {row["id"]: row for row in rows(mixed, "all_tasks")}
    assert Counter(row["status"] for row in found.values()) == Counter(
        column(mixed, "select status from horsies.tasks union all select status from horsies.history")
    )
    assert {"PENDING", "CLAIMED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"} == {
        row["status"] for row in found.values()
    }
    for task_id, row in found.items():
        info = call(mixed, task_queries.task_info(task_id))
        assert info is not None
        shared = info._asdict().keys() & row.keys()
        assert len(shared) > 15
        assert {name: row[name] for name in shared} == {name: getattr(info, name) for name in shared}


def test_the_live_tasks_are_the_ones_of_all_tasks_that_have_not_ended(mixed: Session) -> None:
    live = {row["id"]: row for row in rows(mixed, "live_tasks")}
    every = {row["id"]: row for row in rows(mixed, "all_tasks", "finished_at is null")}
    assert live.keys() == every.keys() == set(column(mixed, "select id from horsies.tasks"))
    for task_id, row in live.items():
        info = call(mixed, task_queries.task_info(task_id))
        assert info is not None
        assert row["waits_for_retry"] == info.waits_for_retry
        shared = row.keys() & every[task_id].keys()
        assert {name: row[name] for name in shared} == {name: every[task_id][name] for name in shared}
    assert sum(row["waits_for_retry"] for row in live.values()) == 1


def test_columns_that_no_function_returns_are_those_of_the_tables(mixed: Session) -> None:
    names = "id, task_key, timeout_ms, worker_id, workflow_id, root_id, node_index"
    tables = mixed.execute(
        f"select {names} from horsies.tasks union all select {names} from horsies.history order by id".encode()
    ).fetchall()
    shown = mixed.execute(
        "select id, task_key, timeout_ms, worker_id, run_id, root_run_id, node_index from horsies.all_tasks order by id"
    ).fetchall()
    assert shown == tables
    assert any(row[1] == "tenant-7" for row in shown)


def test_the_state_of_queues_and_workers_is_that_of_the_functions(mixed: Session) -> None:
    DrivenWorker(mixed, queues=["mail"])
    call(mixed, monitoring_queries.queue_control("paused", "pause"))
    queues = [tuple(row.values()) for row in rows(mixed, "queue_status")]
    assert queues == call(mixed, status_queries.queue_status([]))
    assert [row[0] for row in queues] == ["default", "mail", "paused"]
    by_hand = Counter(column(mixed, "select status from horsies.tasks"))
    (state,) = rows(mixed, "queue_status", "queue = 'default'")
    assert state["waiting"] + state["scheduled"] == by_hand["PENDING"]
    assert (state["claimed"], state["running"]) == (by_hand["CLAIMED"], by_hand["RUNNING"])
    workers = rows(mixed, "worker_status")
    expected = call(mixed, monitoring_queries.worker_stats())
    assert [(str(row["id"]), row["claimed"], row["running"], row["state"]) for row in workers] == [
        (each.worker_id, each.claimed, each.running, "live") for each in expected
    ]
    move_clock(mixed, 100_000)
    assert {row["state"] for row in rows(mixed, "worker_status")} == {"silent"}


def test_the_reasons_are_those_of_the_function(mixed: Session) -> None:
    found = [tuple(row.values()) for row in rows(mixed, "waiting_reasons")]
    assert found == call(mixed, status_queries.waiting_reasons())
    assert sum(row[3] for row in found) == len(column(mixed, "select id from horsies.tasks where status = 'PENDING'"))


def test_runs_and_nodes_are_those_of_the_functions(db: Session) -> None:
    freeze_clock(db)
    run = start(db, run_node(), run_node(0), run_node(kind="workflow", task_name="horsies.build:child"))
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), run_node(), output=0)
    other = start(db, run_node())
    move_clock(db, 5)
    finish(db, DrivenWorker(db), child)
    found = {row["id"]: row for row in rows(db, "runs")}
    assert found.keys() == {run, child, other}
    assert (found[child]["parent_run_id"], found[child]["root_run_id"], found[run]["parent_run_id"]) == (run, run, None)
    for run_id, row in found.items():
        state = call(db, workflow_queries.workflow_state(run_id))
        assert state is not None
        shared = state._asdict().keys() & row.keys()
        assert shared >= {"name", "status", "total", "completed", "failed", "skipped", "started_at", "finished_at"}
        assert {name: row[name] for name in shared} == {name: getattr(state, name) for name in shared}
    for run_id in found:
        nodes = rows(db, "run_nodes", f"run_id = '{run_id}'")
        shown = [
            (row["index"], row["node_id"], row["status"], row["child_run_id"], row["started_at"], row["finished_at"])
            for row in sorted(nodes, key=lambda row: row["index"])
        ]
        assert shown == [
            (each.node_index, each.node_id, each.status, each.child_id, each.started_at, each.finished_at)
            for each in nodes_of(db, run_id)
        ]


def test_a_node_runs_from_the_first_start_of_its_task_on(db: Session) -> None:
    run = start(db, run_node())
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert [row["status"] for row in rows(db, "run_nodes")] == ["RUNNING"]
    worker.release(fence)
    assert [row["status"] for row in rows(db, "run_nodes")] == ["ENQUEUED"] == [nodes_of(db, run)[0].status]


def test_errors_are_the_groups_of_the_last_day(db: Session) -> None:
    freeze_clock(db)
    assert rows(db, "errors") == []
    db.execute(
        "insert into horsies.sampling (first_minute, sampled_until, errors_since, errors_until) values (%s, %s, %s, %s)",
        (NOON - 90 * HOUR, NOON, NOON - 90 * HOUR, NOON),
    )
    assert rows(db, "errors") == []
    db.execute(
        "insert into horsies.error_groups (task_name, digest, error_code, frame, message, is_other, first_seen,"
        " last_seen, example_id) select 'add', int4send(n), 'BOOM', 'f', 'm', false, %s, %s, %s"
        " from generate_series(1, 4) n",
        (NOON - 90 * HOUR, NOON, numbered_id(1)),
    )
    db.execute(
        "insert into horsies.error_counts select 3600, %s::timestamptz - h * interval '1 hour', g.id, '1', 'a', g.id"
        " from generate_series(1, 48) as h, horsies.error_groups g where g.id < 4 or h > 30",
        (NOON,),
    )
    move_clock(db, 60)
    found = rows(db, "errors")
    assert [(row["id"], row["failures_in_24_hours"]) for row in found] == [(3, 72), (2, 48), (1, 24)]
    expected = call(db, error_queries.error_groups(NOON - 24 * HOUR, NOON + MINUTE, None, None, 10))
    assert [(row["id"], row["failures_in_24_hours"], row["as_of"]) for row in found] == [
        (row.id, row.number, row.clock) for row in expected
    ]


def sample_all(db: Session) -> None:
    assert all(iter(lambda: call(db, monitoring_queries.sample(None)), 0))


def test_the_throughput_is_counted_and_known_until_the_last_minute(db: Session) -> None:
    freeze_clock(db)
    sample_all(db)
    worker = DrivenWorker(db)
    send_many(db, 5)
    worker.finish(*map(done, worker.claim(4)))
    send(db, request(name="greet"))
    move_clock(db, 60)
    worker = DrivenWorker(db, names=["add", "greet"])
    fences = worker.claim(2)
    worker.finish(*map(failed, fences))
    move_clock(db, 61)
    sample_all(db)
    found = rows(db, "throughput", "period_s = 60")
    assert Counter({(row["started_at"], row["task_name"]): (row["completed"], row["failed"]) for row in found}) == {
        (NOON, "add"): (4, 0),
        (NOON + MINUTE, "add"): (0, 1),
        (NOON + MINUTE, "greet"): (0, 1),
    }
    assert {row["known_until"] for row in found} == {NOON + 2 * MINUTE}
    (slow,) = [row for row in found if row["task_name"] == "greet"]
    assert slow["wait_p50_s"] == pytest.approx(60, rel=0.1)


def test_the_current_minute_is_what_workers_have_counted(db: Session) -> None:
    freeze_clock(db)
    sample_all(db)
    begin = NOON.timestamp()
    for number in (2, 3):
        counts = [[begin, "default", "add", number, 1, 0], [begin, "mail", "greet", 0, 0, number]]
        call(db, worker_queries.heartbeat(DrivenWorker(db).id, 0, json.dumps(counts)))
    found = {row["queue"]: row for row in rows(db, "throughput", "period_s = 60 and started_at > '2031-01-01'")}
    assert {row["is_current"] for row in found.values()} == {True}
    names = ("started_at", "task_name", "completed", "failed", "retried", "cancelled", "wait_p50_s", "known_until")
    assert {queue: tuple(row[name] for name in names) for queue, row in found.items()} == {
        "default": (NOON, "add", 5, 2, 0, None, None, NOON),
        "mail": (NOON, "greet", 0, 0, 5, None, None, NOON),
    }
    worker = DrivenWorker(db)
    send(db)
    worker.finish(done(worker.claim_one()))
    move_clock(db, 60)
    sample_all(db)
    (row,) = rows(db, "throughput", "period_s = 60")
    assert (row["started_at"], row["completed"], row["is_current"]) == (NOON, 1, False)


def test_percentiles_are_those_of_the_library(db: Session) -> None:
    dice = random.Random(8)  # noqa: S311
    for number in range(200):
        buckets = sorted(dice.sample(range(100), dice.randrange(6)))
        counts = [dice.choice([1, 2, 7, 100, 12345]) for _ in buckets]
        db.execute(
            "insert into horsies.samples values (60, %s, 'default', 'add', 1, 0, 0, 0, 0, 0, %s, %s, %s, %s)",
            (NOON + number * MINUTE, buckets, counts, buckets[::2], counts[::2]),
        )
    found = rows(db, "throughput")
    assert len(found) == 200
    for row in found:
        for kind in ("wait", "run"):
            histogram = Histogram.of(row[f"{kind}_buckets"], row[f"{kind}_counts"])
            for part, fraction in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                expected = histogram.percentile(fraction)
                assert row[f"{kind}_{part}_s"] == (None if expected is None else pytest.approx(expected))


def test_no_view_shows_arguments_results_errors_progress_or_secrets(db: Session) -> None:
    worker = DrivenWorker(db)
    value = f'{{"a":"{HIDDEN}"}}'.encode()
    run = start(db, run_node(args={"a": HIDDEN}))
    for _ in range(3):
        send(db, request(args=value, retry=RETRY))
    of_run, first, second, _ = worker.claim(4)
    error = f'{{"error_code": "BOOM", "message": "m", "data": "{HIDDEN}", "exception": null}}'.encode()
    failures = [failed(second), failed(of_run, "OTHER")]
    worker.finish(done(first, value), *(each._replace(result=error) for each in failures))
    assert column(db, "select status from horsies.workflows") == ["FAILED"]
    for table, columns in {
        "tasks": ("secret_args", "progress", "postponed"),
        "history": ("secret_args", "secret_result", "progress", "postponed"),
        "workflows": ("error",),
        "workflow_nodes": ("result", "summary"),
    }.items():
        for name in columns:
            db.execute(f"update horsies.{table} set {name} = '{value.decode()}'".encode())
    assert column(db, "select 1 from horsies.tasks t where t::text like %s", f"%{HIDDEN}%")
    assert column(db, "select 1 from horsies.history t where t::text like %s", f"%{HIDDEN}%")
    for view in sqlfiles.views():
        shown = column(db, f"select v::text from horsies.{view} as v")
        assert [text for text in shown if HIDDEN in text] == []
    assert rows(db, "runs", f"id = '{run}'")
