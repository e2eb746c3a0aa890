"""Monitoring: the time of each question beside many rows, and what sampling costs while a queue is drained.

Each question is measured as a caller sees it. For a question with a long answer, a second line shows the time of the
database alone, until the reply has arrived: decoding it takes most of the time.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import crowd
import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict
from setting import measure

from horsies import AppConfig, Horsies, PostgresConfig
from horsies.db.sqlfiles import admin, bind
from horsies.monitoring import (
    all_tasks,
    backlog,
    cluster_metrics,
    diagnose,
    error_counts,
    errors,
    find_runs,
    in_flight_tasks,
    live_tasks,
    node_details,
    queue_status,
    run_counts,
    run_details,
    run_nodes,
    run_of_task,
    runs,
    schedule_status,
    throughput,
    waiting_reasons,
    worker_status,
)
from horsies.monitoring.broker import Broker

FILTERS = [
    "",
    "status:failed",
    "status:failed since:1h",
    "queue:queue_1",
    "task:task_7",
    "task:task_*",
    "task:missing",
    "error:BOOM",
    "key:missing",
    "status:pending",
    "-queue:queue_1 task:task_7",
]

_WAITING = """
    insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select lpad(to_hex(n), 32, '0')::uuid, 'task_' || n % 20, 'queue_' || n % 3, 100, '{{"number":1}}',
           now() - n * interval '1 ms', now(), '\\x00'
    from generate_series(1, {count}) as n
"""
_ENDED = """
    insert into horsies.history
        (id, task_name, queue, priority, args, status, result, error_code, run_at, attempt, sent_at, started_at,
         finished_at, fingerprint)
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n), 19, '0'))::uuid,
           'task_' || n % 20, 'queue_' || n % 3, 100, '{{"number":1}}', state.status,
           case when state.status = 'FAILED' then '{{"error_code": "BOOM", "message": "no"}}'::json else '1' end,
           case when state.status = 'FAILED' then 'BOOM' end, at, 1, at, at, at, '\\x00'
    from generate_series({count}, 1, -1) as n
    cross join lateral (select now() - n * interval '{gap_us} microseconds' as at) as moment
    cross join lateral (select case when n % 50 = 0 then 'FAILED' else 'COMPLETED' end as status) as state
"""


_RUN = "00000000-0000-0000-0000-000000000001"
_RUNS = """
    insert into horsies.workflows (id, root_id, name, definition_key, status, on_error, optional, total, fingerprint,
                                   started_at)
    select made.id, made.id, 'flow', 'flow.v1', 'RUNNING', 'fail', '{}', 10, '\\x00', now() - made.n * interval '1 s'
    from (select n, lpad(to_hex(n), 32, '0')::uuid as id from generate_series(1, 20000) as n) as made;
    insert into horsies.workflow_nodes (workflow_id, index, node_id, kind, task_name, queue, priority, args, args_from,
                                        waits_for, allow_failed_deps, wants_meta, open_deps, status, task_id)
    select w.id, i, 'n' || i, 'task', 'task_1', 'queue_1', 100, '{}', '{}', '{}', false, false, 0, 'ENQUEUED', w.id
    from horsies.workflows w cross join generate_series(0, 9) as i
"""


def monitoring(url: str, runs_of_each: int, waiting: int, ended: int) -> None:
    """Measure each call of `horsies.monitoring` beside many waiting and ended tasks."""
    with crowd.place(url, fill(waiting, ended)) as place, psycopg.connect(place, autocommit=True) as connection:
        sample_all(connection)
        name = str(conninfo_to_dict(place)["dbname"])
        app = Horsies(AppConfig(broker=PostgresConfig(database_url=urlsplit(url)._replace(path=f"/{name}").geturl())))
        for name, ask in questions(app.get_broker()).items():
            asked(connection, "select horsies.count_waiting()")  # as maintenance does all the time
            measure(name, "ms", runs_of_each, lambda ask=ask: timed(ask))
        for name, statement in STATEMENTS.items():
            asked(connection, "select horsies.count_waiting()")
            measure(name, "ms", runs_of_each, lambda statement=statement: replied(connection, statement))
        app.close()


def fill(waiting: int, ended: int) -> str:
    """Return statements that insert waiting tasks, ended tasks and workflow runs."""
    return ";".join((_WAITING.format(count=waiting), _ENDED.format(count=ended, gap_us=4000), _RUNS))


def sample_all(connection: psycopg.Connection[Any]) -> None:
    """Do what maintenance has done about such tasks: count them by minute, and count their errors."""
    for statement in ("sample(720)", "sample_errors()"):
        while asked(connection, f"select horsies.{statement}"):
            continue
    connection.execute("vacuum (analyze)")


def questions(broker: Broker) -> dict[str, Callable[[], Any]]:
    """Return the calls to measure, by name."""
    now = datetime.now(UTC)
    hour, day = now - timedelta(hours=1), now - timedelta(days=1)
    calls: dict[str, Callable[[], Any]] = {
        "queue_status": lambda: queue_status(broker),
        "waiting_reasons": lambda: waiting_reasons(broker),
        "backlog": lambda: backlog(broker, "queue_1"),
        "worker_status": lambda: worker_status(broker),
        "run_counts": lambda: run_counts(broker),
        "runs": lambda: runs(broker),
        "schedule_status": lambda: schedule_status(broker),
        "throughput of an hour by minute": lambda: throughput(broker, hour, now),
        "errors of a day": lambda: errors(broker, day, now),
        "error_counts of a day": lambda: error_counts(broker, 1, day, now),
        "find_runs": lambda: find_runs(broker),
        "find_runs by a name that is missing": lambda: find_runs(broker, workflow="missing"),
        "run_nodes": lambda: run_nodes(broker, _RUN),
        "run_details": lambda: run_details(broker, _RUN),
        "node_details": lambda: node_details(broker, _RUN),
        "run_of_task": lambda: run_of_task(broker, _RUN),
        "diagnose": lambda: diagnose(broker),
        "in_flight_tasks": lambda: in_flight_tasks(broker),
        "cluster_metrics": lambda: cluster_metrics(broker),
    }
    for text in FILTERS:
        calls[f"live_tasks {text!r}"] = lambda text=text: live_tasks(broker, text)
        calls[f"all_tasks {text!r}"] = lambda text=text: all_tasks(broker, text)
    return calls


STATEMENTS = {
    "database: throughput of an hour by minute": "select * from horsies.throughput("
    "60, now() - interval '1 hour', now(), null, null, 100001)",
    "view queue_status": "select * from horsies.queue_status",
    "view waiting_reasons": "select * from horsies.waiting_reasons",
    "view worker_status": "select * from horsies.worker_status",
    "view errors": "select * from horsies.errors",
    "view throughput of an hour": "select * from horsies.throughput"
    " where period_s = 60 and started_at >= now() - interval '1 hour'",
    "view throughput of an hour, sums": "select started_at, sum(completed), sum(failed) from horsies.throughput"
    " where period_s = 60 and started_at >= now() - interval '1 hour' group by started_at",
    "view live_tasks, the latest 1,000": "select * from horsies.live_tasks order by id desc limit 1000",
    "view all_tasks, the latest 1,000": "select * from horsies.all_tasks order by id desc limit 1000",
    "view all_tasks by id": "select * from horsies.all_tasks where id = '00000000-0000-0000-0000-000000000001'",
    "view runs, the latest 1,000": "select * from horsies.runs order by started_at desc limit 1000",
    "view runs by id": "select * from horsies.runs where id = '00000000-0000-0000-0000-000000000001'",
    "view run_nodes of a run": "select * from horsies.run_nodes where run_id = '00000000-0000-0000-0000-000000000001'",
}
"""The statements to measure, by name: the views, and a server function with a long answer."""


def replied(connection: psycopg.Connection[Any], statement: str) -> float:
    """Return the time until the whole reply has arrived, which is not decoded."""
    start = time.perf_counter()
    connection.execute(statement.encode())
    return (time.perf_counter() - start) * 1000


def timed(ask: Callable[[], Any]) -> float:
    start = time.perf_counter()
    ask().unwrap()
    return (time.perf_counter() - start) * 1000


def sampling(url: str, runs_of_each: int, ended: int) -> None:
    """Measure the processor time of the server for the samples of one minute in which many tasks have ended.

    The call also counts the rows of the three minutes before.
    """
    fill = _ENDED.format(count=5 * ended, gap_us=60_000_000 // ended)
    with crowd.place(url, fill) as place, psycopg.connect(place, autocommit=True) as connection:
        server = psutil.Process(int(asked(connection, "select pg_backend_pid()")))
        end = connection.execute("select date_trunc('minute', max(finished_at)) from horsies.history").fetchone()
        connection.execute(bind(admin("test_clock"), "horsies"))
        connection.execute(bind(admin("freeze_clock"), "horsies"), end)
        while asked(connection, "select horsies.sample(720)"):
            continue

        def once() -> float:
            connection.execute("delete from horsies.samples where started_at >= horsies.now() - interval '1 minute'")
            connection.execute("update horsies.sampling set sampled_until = horsies.now() - interval '1 minute'")
            before = server.cpu_times()
            asked(connection, "select horsies.sample(720)")
            after = server.cpu_times()
            return after.user + after.system - before.user - before.system

        used = measure("processor time of one call of sample", "s", runs_of_each, once)
        counted = asked(
            connection,
            "select sum(completed + failed) from horsies.samples"
            " where period_s = 60 and started_at = horsies.now() - interval '1 minute'",
        )
        measure("  tasks of the minute", "", 1, lambda: counted)
        share = [100 * each / (60 * (os.cpu_count() or 1)) for each in used.values]
        measure("  of all processors in a minute", "%", len(share), iter(share).__next__)


def asked(connection: psycopg.Connection[Any], query: str) -> float:
    row = connection.execute(query.encode()).fetchone()
    return 0 if row is None or row[0] is None else float(row[0])
