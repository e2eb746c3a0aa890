"""`crash`, `disconnect` and `worker`."""

import asyncio
import os
from pathlib import Path

import psycopg
import pytest

from horsies import OperationalErrorCode, TaskSendErrorCode
from horsies.testing import TestQueue
from horsies.testing.faults import CRASH_POINTS, CrashPoint, DisconnectPoint
from tests.testing import shop
from tests.testing.shop import add, app, charge, charge_once, write_pid


@pytest.fixture
def charges(database_url: str) -> psycopg.Connection:
    session = psycopg.connect(database_url, autocommit=True)
    session.execute("create table charges (amount int)")
    return session


@pytest.mark.parametrize(("at", "times"), list(zip(CRASH_POINTS, (1, 1, 2, 1), strict=True)))
def test_a_task_that_is_not_idempotent_is_repeated(queue: TestQueue, at: CrashPoint, times: int) -> None:
    queue.crash(at, charge)
    charge.send(5).unwrap()
    queue.advance("1 hour")
    report = queue.drain()
    assert report.attempts[0].lost
    assert shop.charged == [5] * times
    assert [each.status for each in queue.outcomes()] == ["COMPLETED"]


@pytest.mark.parametrize("at", CRASH_POINTS)
def test_its_transactional_version_is_not(queue: TestQueue, charges: psycopg.Connection, at: CrashPoint) -> None:
    queue.crash(at)
    charge_once.send(5).unwrap()
    queue.advance("1 hour")
    assert queue.drain().attempts[0].lost
    assert charges.execute("select amount from charges").fetchall() == [(5,)]
    assert [each.status for each in queue.outcomes()] == ["COMPLETED"]
    charges.close()


def test_a_lost_attempt_without_retries_fails_as_with_a_dead_worker(queue: TestQueue) -> None:
    queue.crash("begun", times=2)
    add.send(1).unwrap()
    add.send(2).unwrap()
    add.send(3).unwrap()
    assert [each.lost for each in queue.drain()] == [True, True, False]
    codes = [each.error_code for each in queue.outcomes()]
    assert codes == [OperationalErrorCode.WORKER_CRASHED, OperationalErrorCode.WORKER_CRASHED, None]


def test_other_tasks_are_not_lost(queue: TestQueue) -> None:
    queue.crash("claimed", charge)
    assert queue.run(add, 1).unwrap() == 2
    with pytest.raises(ValueError, match="crash takes at='claimed' or 'begun'"):
        queue.crash("later")  # type: ignore[arg-type]


@pytest.mark.parametrize(("at", "sent"), [("before", 0), ("after", 1)])
def test_a_lost_connection_fails_the_next_send(queue: TestQueue, at: DisconnectPoint, sent: int) -> None:
    queue.disconnect(at)
    failed = add.send(1).unwrap_err()
    assert (failed.code, failed.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
    queue.assert_sent(add, 1, count=sent)
    add.retry_send(failed).unwrap()
    queue.assert_sent(add, 1)


@pytest.mark.parametrize(("at", "sent"), [("before", 0), ("after", 2)])
def test_a_lost_connection_fails_many_sends_at_once(queue: TestQueue, at: DisconnectPoint, sent: int) -> None:
    queue.disconnect(at)
    failed = asyncio.run(app.send_many_async([add.args(1), add.args(2)])).unwrap_err()
    assert failed.retryable
    assert len(queue.sent(add)) == sent
    app.retry_send_many(failed).unwrap()
    assert len(queue.sent(add)) == 2


@pytest.mark.timeout(120)
def test_a_real_worker_runs_tasks_in_its_own_process(queue: TestQueue, tmp_path: Path) -> None:
    with queue.worker() as worker:
        write_pid.send(str(tmp_path / "pid")).unwrap().get(40_000).unwrap()
        pid = worker.pid
        queue.advance("30 days")  # heartbeats follow the real time, so nobody takes the worker for dead
        add.send(1).unwrap().get(40_000).unwrap()
        workers = asyncio.run(app.get_broker().get_worker_stats()).unwrap()
    assert [each.is_stale for each in workers if each.pid == pid] == [False]
    assert int((tmp_path / "pid").read_text()) not in {os.getpid(), pid}
    assert "worker.ready" in worker.log()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    worker.log_file.unlink()
