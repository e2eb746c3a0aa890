"""A role that may open hardly any connection: a worker runs tasks all the same, and says what it lacks."""

import pytest

from horsies.db.restrictions import SCHEDULER_CONNECTIONS, WORKER_CONNECTIONS
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.limited import limited_role
from tests.support.server import Server
from tests.support.sessions import scalar
from tests.support.waiting import wait_until

COUNT = "select count(*) from pg_stat_activity where datname = current_database() and usename like 'limited%%'"
WITH_SCHEDULER = WORKER_CONNECTIONS + SCHEDULER_CONNECTIONS


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_a_worker_runs_tasks_over_few_connections(environment: Environment, server: Server, connections: int) -> None:
    with limited_role(server, environment.url, connections) as url:
        worker = environment.ready_worker(**{URL_VARIABLE: url, "TEST_HEARTBEAT_MS": "1000", "TEST_POLL_MS": "1000"})
        handles = [environment.send("ok", f"task {number}") for number in range(20)]
        assert all(handle.get(timeout_ms=30_000).is_ok() for handle in handles)
        worker.wait_for_log(r"connection\.(shared|retrying) .*too many connections")
        known = scalar(environment.session, "select beats from horsies.workers")
        wait_until(lambda: scalar(environment.session, "select beats from horsies.workers") > known, 10, worker.log)
        assert worker.stop() == 0
    assert environment.worker_rows() == 0


def test_a_scheduler_in_a_worker_sends_tasks_over_one_connection(environment: Environment, server: Server) -> None:
    with limited_role(server, environment.url, 1) as url:
        worker = environment.ready_worker("--scheduler", **{URL_VARIABLE: url})
        worker.wait_for_log("scheduler.lead_acquired schedules=never")
        wait_until(lambda: scalar(environment.session, "select count(*) from horsies.schedules"), 10, worker.log)
        environment.session.execute("update horsies.schedules set next_run_at = now()")
        environment.wait_for_note("scheduled")
        assert worker.stop() == 0


@pytest.mark.parametrize(("options", "most"), [([], WORKER_CONNECTIONS), (["--scheduler"], WITH_SCHEDULER)])
def test_a_worker_opens_no_more_connections_than_a_check_says(
    environment: Environment, server: Server, options: list[str], most: int
) -> None:
    with limited_role(server, environment.url, -1) as url:
        worker = environment.ready_worker("--processes=3", *options, **{URL_VARIABLE: url, "TEST_CHECK_MS": "1000"})
        handles = [environment.send("ok", f"task {number}") for number in range(200)]
        seen = [scalar(environment.session, COUNT)]
        while environment.live_tasks():
            seen.append(scalar(environment.session, COUNT))
        assert all(handle.get(timeout_ms=30_000).is_ok() for handle in handles)
        assert 3 <= max(seen) <= most
        assert worker.stop() == 0
