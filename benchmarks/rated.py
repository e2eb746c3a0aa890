"""How exactly rates are kept by real workers, and what they cost a claim."""

from contextlib import ExitStack
from typing import LiteralString

import floor
import psycopg
from bench_limits import OF_KEY, OF_QUEUE
from flow_kit import CLAIMED, PLAIN, TURNS, KeyedWorker, median_blocks, queue, waiting
from setting import measure, wait_for, worker

from horsies import RateLimit

KEYS = 10
ENDLESS = RateLimit(limit=1_000_000, per_seconds=1, burst=1_000_000)
"""A rate that never stops a claim of the benchmark."""

_SEND = """
    select count(horsies.send('keyed_noop', json_build_object('key', k.key), queue => %s, key => k.key))
    from generate_series(1, %s) as n cross join lateral (select (n %% %s::int)::text) as k (key)
"""
# The rate that the starts of each key reached after the burst, and the largest number of starts that any window had
# beyond those that it may have.
_REACHED = """
    with starts as (
        select started_at, key, row_number() over (partition by key order by started_at) as nth
        from (select started_at, case when queue = 'rated' then '' else task_key end as key
              from horsies.history where queue = %s) as h
    ), spans as (
        select (count(*) - %s) / extract(epoch from max(started_at) - min(started_at)) as rate
        from starts group by key
    )
    select (select min(rate) from spans), (select max(rate) from spans), max(
        last.nth - first.nth + 1 - %s - %s * extract(epoch from last.started_at - first.started_at))
    from starts as first join starts as last on last.key = first.key and last.nth >= first.nth
"""
_ENDED = "select count(*) from horsies.history where queue = %s"
_EXCHANGES = """
    select sum(w.number) from (
        select max(exchange_no) - min(exchange_no) as number from horsies.history where queue = %s group by worker_id
    ) as w
"""


def accuracy(url: str, count: int) -> None:
    """Run tasks of a queue with a rate, and of one with a rate of each key, in 4 workers with 2 processes."""
    with psycopg.connect(url, autocommit=True) as connection, ExitStack() as running:
        connection.execute("truncate horsies.tasks, horsies.history, horsies.attempts, horsies.workers")
        for _ in range(4):
            running.enter_context(worker("--processes=2", app="bench_limits:app"))
        for name, rate in (("rated", OF_QUEUE), ("rated_keys", OF_KEY)):
            connection.execute(_SEND, (name, count, KEYS))
            wait_for(lambda: asked(connection, _ENDED, name) == count, 0.1)  # noqa: B023 - called before the next one
            per_second = rate.limit / rate.per_seconds
            row = connection.execute(_REACHED, (name, rate.depth, rate.depth, per_second)).fetchone()
            assert row is not None
            slowest, fastest, beyond = (float(each) for each in row)
            shares = [100 * slowest / per_second, 100 * fastest / per_second]
            measure(f"reached of {per_second:g}/s, {name}", "%", 2, iter(shares).__next__)
            measure("  starts of a window beyond the rate", "", 1, iter([max(0.0, beyond)]).__next__)
            measure("  exchanges for each start", "", 1, iter([asked(connection, _EXCHANGES, name) / count]).__next__)


def asked(connection: psycopg.Connection[tuple[object, ...]], query: LiteralString, name: str) -> float:
    """Return the number that a query about a queue finds."""
    row = connection.execute(query, (name,)).fetchone()
    assert row is not None
    return float(str(row[0]))


def cost(url: str, runs: int, keys: int, each: int) -> None:
    """Compare claims of a queue without limits, with a rate, and with a rate of each key."""
    arrival, turns, endless = waiting(keys, each, turns=False), waiting(keys, each), ENDLESS.to_json()
    fills = {
        "no rate": (arrival, PLAIN),
        "rate of the queue": (arrival, PLAIN._replace(rate=endless)),
        "turns": (turns, TURNS),
        "rate of each key": (turns, TURNS._replace(rate_per_key=endless)),
    }
    with ExitStack() as stack:
        workers = {
            name: KeyedWorker(stack.enter_context(floor.connect(stack.enter_context(queue(url, fill, flow)))))
            for name, (fill, flow) in fills.items()
        }
        for each_worker in workers.values():
            each_worker.explain()  # plans the statements of the functions
        found = [{name: median_blocks(each, [None] * 10) for name, each in workers.items()} for _ in range(runs)]
    for name in workers:
        measure(f"blocks of a claim of {CLAIMED}, {name}", "", runs, iter([run[name][0] for run in found]).__next__)
        measure(f"a claim of {CLAIMED}, {name}", "ms", runs, iter([run[name][1] for run in found]).__next__)
        if name != "no rate":
            ratios = [run[name][0] / run["no rate"][0] for run in found]
            measure("  blocks against no rate", "times", runs, iter(ratios).__next__)
