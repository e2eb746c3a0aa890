"""A crowd of workers on one queue: throughput and costs beside those of one worker."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psutil
import psycopg
from psycopg.sql import SQL, Identifier
from setting import measure, wait_for, worker

_FILL = b"""
    insert into horsies.tasks (id, task_name, queue, priority, args, run_at, sent_at, fingerprint)
    select lpad(to_hex(n), 32, '0')::uuid, 'noop', 'default', 100, '{"number":1}', now(), now(), '\\x00'
    from generate_series(1, %s) as n
"""
_COUNTS = b"""
    select (select coalesce(sum(calls) filter (where funcname = 'claim'), 0)
            from pg_stat_user_functions where schemaname = 'horsies')::float8,
           (select coalesce(sum(calls) filter (where funcname = 'release'), 0)
            from pg_stat_user_functions where schemaname = 'horsies')::float8,
           (select n_tup_upd from pg_stat_user_tables where schemaname = 'horsies' and relname = 'tasks')::float8,
           (select xact_commit from pg_stat_database where datname = current_database())::float8
"""
_RATE = b"""
    select count(*) filter (where finished_at > first) / extract(epoch from max(finished_at) - min(first))
    from (select finished_at, min(finished_at) over () as first from horsies.history) as outcomes
"""
_ENDED = b"select count(*) from horsies.history"
_PROCESSES = 4
"""The supervisor, the fork server and two children."""


@dataclass(frozen=True)
class Costs:
    """What a drain has cost.

    Attributes:
        rate: tasks per second, from the first outcomes to the last.
        server_s: processor time of the server, in seconds.
        workers_s: processor time of the workers and their children, in seconds.
        claims: calls of `claim`.
        releases: calls of `release`.
        updates: changed rows of waiting and claimed tasks: one for each claim and release of a task.
        commits: transactions, including those of heartbeats and maintenance.
    """

    rate: float
    server_s: float
    workers_s: float
    claims: float
    releases: float
    updates: float
    commits: float


def shared_queue(url: str, runs: int, count: int, sizes: Sequence[int]) -> None:
    """Drain a queue by crowds of these sizes, which are ready before the tasks arrive. The runs alternate."""
    with psycopg.connect(url, autocommit=True) as connection:
        database = Identifier(connection.info.dbname)
        connection.execute(SQL("alter database {} set track_functions = 'pl'").format(database))
    found = [{size: drained(url, count, size) for size in sizes} for _ in range(runs)]
    for size in sizes:
        costs = [run[size] for run in found]
        _report(f"drain, workers: {size}", "/s", [each.rate for each in costs])
        if size != sizes[0]:
            _report(f"  against workers: {sizes[0]}", "times", [run[size].rate / run[sizes[0]].rate for run in found])
        _report("  processor time of the server", "s", [each.server_s for each in costs])
        _report("  processor time of the workers", "s", [each.workers_s for each in costs])
        _report("  calls of claim", "", [each.claims for each in costs])
        _report("  calls of release", "", [each.releases for each in costs])
        _report("  updates per task", "", [each.updates / count for each in costs])
        _report("  tasks per commit", "", [count / each.commits for each in costs])


def drained(url: str, count: int, workers: int) -> Costs:
    """Drain ``count`` tasks by some workers, each with 2 processes, and return what it has cost."""
    with psycopg.connect(url, autocommit=True) as connection, ExitStack() as running:
        connection.execute("truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers")
        server = psutil.Process(connection.info.backend_pid).parent()
        assert server is not None
        started = [running.enter_context(worker("--processes=2")).pid for _ in range(workers)]
        wait_for(lambda: all(len(_family(pid)) == _PROCESSES for pid in started))
        families = [member for pid in started for member in _family(pid)]
        before = _numbers(connection, _COUNTS)
        connection.execute(_FILL, (count,))
        server_before, workers_before = _busy_seconds(server.children()), _busy_seconds(families)
        connection.execute("select horsies.notify_wake()")
        wait_for(lambda: _numbers(connection, _ENDED) == [count], 0.25)  # polls rarely, because counting takes time
        server_after, workers_after = _busy_seconds(server.children()), _busy_seconds(families)
        [rate] = _numbers(connection, _RATE)
    with psycopg.connect(url, autocommit=True) as connection:  # the sessions of the workers have reported their counts
        after = _numbers(connection, _COUNTS)
    claims, releases, updates, commits = (b - a for a, b in zip(before, after, strict=True))
    server_s, workers_s = _spent(server_before, server_after), _spent(workers_before, workers_after)
    return Costs(rate, server_s, workers_s, claims, releases, updates, commits)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _busy_seconds(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """Return the processor time of each process by its id; processes that have ended are left out."""
    found: dict[int, float] = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[process.pid] = times.user + times.system
    return found


def _spent(before: dict[int, float], after: dict[int, float]) -> float:
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def _numbers(connection: psycopg.Connection[tuple[float, ...]], query: bytes) -> list[float]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return [float(number) for number in row]


def _report(name: str, unit: str, values: Sequence[float]) -> None:
    measure(name, unit, len(values), iter(values).__next__)
