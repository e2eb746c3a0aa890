"""A real PgBouncer between horsies and the server, in session mode and in transaction mode."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import psycopg
import pytest

from horsies.db.migrate import migrate
from tests.chaos.servers import PostgresServer
from tests.support.environment import URL_VARIABLE, Environment, load_tasks, new_environment
from tests.support.pgbouncer import PgBouncer, PoolMode, running_pgbouncer
from tests.support.roles import HAS_ROLES
from tests.support.waiting import wait_until

FEW = 3
"""Fewer connections to the server than one worker opens to PgBouncer."""

pytestmark = pytest.mark.skipif(HAS_ROLES, reason="PgBouncer knows one user only")


class Pooled(Environment):
    """An environment whose workers and producer connect through PgBouncer. The session of the test does not."""

    def __init__(self, url: str, folder: Path, stack: ExitStack, pooler: PgBouncer, *, with_session_url: bool) -> None:
        """Prepare the folder and the producer."""
        super().__init__(url, folder, stack)
        self.variables = {URL_VARIABLE: pooler.url(url), "TEST_POOL_MODE": pooler.mode}
        if with_session_url:
            self.variables["TEST_SESSION_URL"] = url
        self.tasks = load_tasks(folder / "mixed_tasks.py", self.variables)
        stack.callback(self.tasks.app.close)


@pytest.fixture(
    params=[("session", False), ("transaction", True), ("transaction", False)],
    ids=["session", "transaction with a session URL", "transaction"],
)
def pooled(request: pytest.FixtureRequest, tcp_database_url: str, tmp_path: Path) -> Iterator[Pooled]:
    mode: PoolMode
    mode, with_session_url = request.param
    size = 20 if mode == "session" else FEW
    with running_pgbouncer(tcp_database_url, mode, pool_size=size) as pooler, ExitStack() as stack:
        yield Pooled(tcp_database_url, tmp_path, stack, pooler, with_session_url=with_session_url)


@pytest.mark.timeout(120)
def test_tasks_run_retry_send_cancel_and_drain(pooled: Pooled) -> None:
    worker = pooled.ready_worker("--processes=2", **pooled.variables)
    many = [pooled.send("ok", f"key-{number}") for number in range(30)]
    failed, late = pooled.send("boom", "broken"), pooled.send("late_payment", "late")
    inner = pooled.send("sender", "outer")
    assert [each.get(timeout_ms=30_000).ok_value for each in many] == [f"done key-{number}" for number in range(30)]
    assert failed.get(timeout_ms=30_000).err_value.error_code == "UNHANDLED_EXCEPTION"
    assert late.get(timeout_ms=30_000).err_value.error_code == "PAYMENT_LATE"
    assert inner.get(timeout_ms=30_000).ok_value == "inner said done outer:inner"
    doomed = pooled.send("sleep", "doomed", 100.0)
    child = pooled.wait_for_note("doomed").pid
    assert doomed.cancel().unwrap() is True
    wait_until(lambda: not psutil.pid_exists(child), 20, "the end of the child, long before the next heartbeat")
    running, waiting = [pooled.send("sleep", f"slow-{number}", 1.0) for number in range(2)], []
    pooled.wait_for_note("slow-0")
    pooled.wait_for_note("slow-1")
    waiting = [pooled.send("ok", f"left-{number}") for number in range(5)]
    assert waiting[0].cancel().is_ok()
    assert worker.stop(40) == 0
    assert [each.get(timeout_ms=10_000).ok_value for each in running] == ["slow-0", "slow-1"]
    assert pooled.live_tasks("PENDING") == pooled.live_tasks() == 4
    assert pooled.worker_rows() == 0
    assert "WARNING connection." not in worker.log()


@pytest.mark.timeout(120)
def test_transaction_mode_without_the_setting_is_recognised(tcp_database_url: str, tmp_path: Path) -> None:
    with (
        running_pgbouncer(tcp_database_url, "transaction", pool_size=1, knows_prepared_statements=False) as pooler,
        new_environment(tcp_database_url, tmp_path) as environment,
    ):
        wrong = {URL_VARIABLE: pooler.url(tcp_database_url), "TEST_POOL_MODE": "session"}
        environment.worker(**wrong).wait_for_log(r"worker\.(ready|failed)|HRS-211")  # leaves its prepared statements
        second = environment.worker(**wrong)
        second.wait_for_log(r"prepared statement \S+ already exists; behind PgBouncer in transaction mode, set ")
        assert second.wait() == 1
        assert "set PostgresConfig(pgbouncer_transaction_mode=True)" in second.log()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_work_continues_when_the_server_behind_it_was_restarted(mode: PoolMode, tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "server")
    server.create()
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as session:
            migrate(session, "horsies")
        with running_pgbouncer(server.url, mode) as pooler, ExitStack() as stack:
            variables = {URL_VARIABLE: pooler.url(server.url), "TEST_POOL_MODE": mode}
            pooled = Pooled(server.url, tmp_path, stack, pooler, with_session_url=False)
            worker = pooled.ready_worker("--processes=2", TEST_HEARTBEAT_MS="1000", **variables)
            keys = [f"task-{number}" for number in range(12)]
            handles = [pooled.send("sleep", key, 0.2) for key in keys]
            pooled.wait_for_note("task-3")
            server.crash()
            worker.wait_for_log(r"connection\.(lost|retrying)|heartbeat\.failed")
            server.start()
            assert [handle.get(timeout_ms=40_000).ok_value for handle in handles] == keys
            assert {key: pooled.counts()[key] for key in keys} == dict.fromkeys(keys, 1)
            assert worker.stop(40) == 0
    finally:
        server.stop()
