"""Monitoring: the time of each question beside many rows, and what sampling costs while a queue is drained."""

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
    errors,
    live_tasks,
    queue_status,
    run_counts,
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


def monitoring(url: str, runs_of_each: int, waiting: int, ended: int) -> None:
    """Measure each call of `horsies.monitoring` beside many waiting and ended tasks."""
    fill = _WAITING.format(count=waiting) + ";" + _ENDED.format(count=ended, gap_us=4000)
    with crowd.place(url, fill) as place:
        with psycopg.connect(place, autocommit=True) as connection:
            for statement in ("sample(720)", "sample_errors()", "count_waiting()"):
                while asked(connection, f"select horsies.{statement}"):
                    continue
        name = str(conninfo_to_dict(place)["dbname"])
        app = Horsies(AppConfig(broker=PostgresConfig(database_url=urlsplit(url)._replace(path=f"/{name}").geturl())))
        for name, ask in questions(app.get_broker()).items():
            measure(name, "ms", runs_of_each, lambda ask=ask: timed(ask))
        app.close()


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
    }
    for text in FILTERS:
        calls[f"live_tasks {text!r}"] = lambda text=text: live_tasks(broker, text)
        calls[f"all_tasks {text!r}"] = lambda text=text: all_tasks(broker, text)
    return calls


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
