"""Failover to a standby: workers and producers that know both hosts follow it, and none works on a standby."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from horsies.db.migrate import migrate
from tests.chaos.servers import PostgresServer
from tests.support.environment import URL_VARIABLE, new_environment
from tests.support.server import PASSWORD


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """Yield a primary with synchronous replication, and its standby."""
    primary, standby = PostgresServer(tmp_path / "primary"), PostgresServer(tmp_path / "standby")
    try:
        primary.create()
        primary.start()
        with psycopg.connect(primary.url, autocommit=True) as session:
            migrate(session, "horsies")
        standby.copy(primary)
        standby.start()
        primary.wait_for_copies(1)
        yield primary, standby
    finally:
        primary.stop()
        standby.stop()


@pytest.mark.timeout(120)
def test_work_continues_on_the_standby(pair: tuple[PostgresServer, PostgresServer], tmp_path: Path) -> None:
    primary, standby = pair
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in pair)
    with new_environment(
        f"postgresql://postgres:{PASSWORD}@{hosts}/postgres?target_session_attrs=read-write", tmp_path
    ) as environment:
        worker = environment.ready_worker("--processes=2", TEST_HEARTBEAT_MS="1000")
        waiting = environment.worker(**{URL_VARIABLE: standby.url})
        waiting.wait_for_log(
            r"connection\.retrying .*session is read-only"
        )  # also refused with only one host and without target_session_attrs
        keys = [f"task-{number}" for number in range(20)]
        handles = [environment.send("sleep", key, 0.2) for key in keys]
        environment.wait_for_note("task-5")
        primary.crash()
        worker.wait_for_log(r"connection\.retrying")
        assert "worker.ready" not in waiting.log()
        standby.promote()
        waiting.wait_until_ready(30)
        assert [handle.get(timeout_ms=30_000).ok_value for handle in handles] == keys
        assert {key: environment.counts()[key] for key in keys} == dict.fromkeys(keys, 1)
        assert PASSWORD not in worker.log() + waiting.log()
        assert [worker.stop(), waiting.stop()] == [0, 0]
