"""Real workers on a queue with keys and rates: limits hold, everything runs, and workers sleep until tokens are due."""

from horsies.db.sqlfiles import bind
from tests.support.environment import Environment
from tests.support.sessions import SCHEMA
from tests.support.waiting import wait_until

APP = """
import os, time
from horsies import AppConfig, CustomQueueConfig, Horsies, PostgresConfig, RateLimit, TaskError, TaskResult

app = Horsies(AppConfig(
    broker=PostgresConfig(
        database_url=os.environ["HORSIES_DATABASE_URL"], schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies")
    ),
    queue_mode="custom",
    custom_queues=[
        CustomQueueConfig(name="keyed", max_concurrency=None, max_concurrency_per_key=1),
        CustomQueueConfig(name="rated", max_concurrency=None, rate_limit=RateLimit(limit=10, per_seconds=1, burst=2)),
        CustomQueueConfig(name="turns", max_concurrency=None, takes_turns=True),
        CustomQueueConfig(name="plain", max_concurrency=None),
    ],
))


def make(name):
    @app.task(name, queue_name=name, key_by="tenant")
    def work(tenant: str) -> TaskResult[None, TaskError]:
        time.sleep(0.02)
        return TaskResult(ok=None)

    return work


tasks = [make(name) for name in ("keyed", "rated", "turns", "plain")]
"""

SEND = """
    select count(horsies.send(queue, json_build_object('tenant', 'k' || n % 4), queue => queue, key => 'k' || n % 4))
    from unnest(array['keyed', 'rated', 'turns', 'plain']) as queue, generate_series(1, 12) as n
"""
OVERLAPS = """
    select max(busy.number) from (
        select (select count(*) from horsies.history o
                where o.queue = h.queue and o.task_key = h.task_key
                  and o.started_at <= h.started_at and o.finished_at > h.started_at) as number
        from horsies.history h where h.queue = 'keyed'
    ) as busy
"""
STARTS = "select started_at from horsies.history where queue = 'rated' order by started_at"


def test_workers_obey_keys_and_rates(environment: Environment) -> None:
    (environment.folder / "keyed.py").write_text(APP)
    workers = [environment.worker("--processes=2", app="keyed:app") for _ in range(2)]
    for worker in workers:
        worker.wait_until_ready()
    assert environment.session.execute(bind(SEND, SCHEMA)).fetchone() == (48,)
    ended = bind("select count(*) from horsies.history where status = 'COMPLETED'", SCHEMA)
    wait_until(lambda: environment.session.execute(ended).fetchone() == (48,), 20)
    assert environment.session.execute(bind(OVERLAPS, SCHEMA)).fetchone() == (1,)
    starts = [row[0] for row in environment.session.execute(bind(STARTS, SCHEMA)).fetchall()]
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            assert last - first + 1 <= 2 + 10 * (starts[last] - starts[first]).total_seconds()
    for worker in workers:
        assert worker.stop() == 0
