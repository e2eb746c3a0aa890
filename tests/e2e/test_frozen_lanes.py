"""Server processes of a worker that are stopped for longer than a statement may take: the worker replaces them."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.environment import URL_VARIABLE, Environment
from tests.support.sessions import column
from tests.support.workers import HORSIES, WorkerProcess

LIMIT_S = 1.5
SHORT_LIMIT = f"""
import sys
from horsies.db import connection
connection._WORKER_LIMIT_S = {LIMIT_S}
from horsies.cli.main import main
sys.argv = ["horsies", "worker", "mixed_tasks:app", "--processes=2"]
main()
"""
BACKENDS = "select pid from pg_stat_activity where datname = current_database() and application_name = 'horsies'"


@pytest.fixture
def worker(environment: Environment) -> Iterator[WorkerProcess]:
    """Yield a ready worker whose statements may take 1.5 s instead of a minute."""
    env = {URL_VARIABLE: environment.url, "TEST_LEDGER": str(environment.ledger_file), "TEST_HEARTBEAT_MS": "1000"}
    env["TEST_POLL_MS"] = "1000"
    python = HORSIES.with_name("python")
    process = WorkerProcess(["-c", SHORT_LIMIT], environment.folder, env, executable=python)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.kill_all()
    process.assert_gone()


def test_a_worker_replaces_connections_whose_server_processes_are_stopped(
    environment: Environment, worker: WorkerProcess
) -> None:
    backends = column(environment.session, BACKENDS)  # no producer is connected yet
    assert len(backends) >= 2
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        meanwhile = [environment.send("ok", f"meanwhile-{number}") for number in range(8)]
        worker.wait_for_log(rf"did not answer within {LIMIT_S + 1:g} s")
        assert all(each.get(timeout_ms=20_000).is_ok() for each in meanwhile)
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)
    after = [environment.send("ok", f"after-{number}") for number in range(8)]
    assert all(each.get(timeout_ms=20_000).is_ok() for each in after)
    assert set(environment.counts().values()) == {1}
    environment.wait_until_all_ended()
    assert worker.stop() == 0
