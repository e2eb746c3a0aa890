"""`ping_workers` and `horsies workers --ping`: workers answer at once, and seldom enough to bear any number of pings."""

import asyncio

from horsies import AppConfig, Horsies, PostgresConfig
from horsies.monitoring.broker import Broker
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.roles import as_role
from tests.support.sessions import SCHEMA, scalar
from tests.support.waiting import wait_until

SELDOM = {"TEST_STALE_MS": "600000", "TEST_HEARTBEAT_MS": "60000"}


def broker_of(environment: Environment) -> Broker:
    config = PostgresConfig(database_url=as_role(environment.url, "operator"), schema=SCHEMA)
    app = Horsies(AppConfig(broker=config))
    environment.at_end(app.close)
    return app.get_broker()


def test_workers_answer_before_their_next_regular_heartbeat(environment: Environment) -> None:
    workers = [environment.ready_worker(**SELDOM) for _ in range(2)]
    broker = broker_of(environment)
    pids = {each.pid for each in workers}
    assert {each.pid for each in broker.ping_workers(2, timeout_ms=20_000).unwrap()} == pids
    answers = asyncio.run(broker.ping_workers_async(2, timeout_ms=20_000)).unwrap()
    assert {each.pid for each in answers} == pids
    env = {URL_VARIABLE: environment.url}
    enough = horsies(
        environment.folder, "workers", "mixed_tasks:app", "--ping", "--min-responses=2", "--timeout=20", **env
    )
    assert (enough.returncode, len(enough.stdout.splitlines())) == (0, 3), enough.stderr
    few = horsies(environment.folder, "workers", "mixed_tasks:app", "--ping", "--min-responses=3", "--timeout=0", **env)
    assert few.returncode == 1
    assert "of at least 3 workers answered within 0 s" in few.stderr
    assert [worker.stop() for worker in workers] == [0, 0]


def test_any_number_of_pings_causes_one_heartbeat_a_second(environment: Environment) -> None:
    session = environment.session
    session.execute(f"alter database \"{session.info.dbname}\" set track_functions = 'all'".encode())
    worker = environment.ready_worker(**SELDOM)
    broker = broker_of(environment)
    assert len(broker.ping_workers(timeout_ms=20_000).unwrap()) == 1
    began, before = session.execute("select clock_timestamp(), beats from horsies.workers").fetchall()[0]
    for _ in range(3):
        for _ in range(100):
            session.execute("select horsies.request_heartbeats()")
        assert len(broker.ping_workers(timeout_ms=20_000).unwrap()) == 1
    beats = scalar(session, "select beats from horsies.workers") - before
    seconds = scalar(session, "select extract(epoch from clock_timestamp() - %s)", began)
    assert 3 <= beats <= seconds + 1
    assert worker.stop() == 0
    calls = "select coalesce(sum(calls), 0)::int from pg_stat_user_functions where funcname = %s and schemaname = %s"
    wait_until(lambda: scalar(session, calls, "heartbeat", SCHEMA) >= beats)
    assert scalar(session, calls, "reconcile", SCHEMA) <= 2, "the first heartbeat and the stop, and no ping"
