"""Graceful shutdown: running tasks finish, unstarted tasks return to the queue, and the exit code is 0."""

import signal

import psycopg
import pytest

from horsies import TaskStatus
from horsies.codes import OperationalErrorCode
from horsies.db.sqlfiles import DEFAULT_SCHEMA, channel
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.proxy import Proxy
from tests.support.sessions import column, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

CRASHED = OperationalErrorCode.WORKER_CRASHED
ANSWERED_CLAIM = """
    select pid from pg_stat_activity
    where datname = current_database() and query like '%%horsies.claim%%' and state = 'idle'
      and state_change < clock_timestamp() - interval '0.2 s'
"""
STOP_SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def check_left_in_order(environment: Environment, worker: WorkerProcess) -> None:
    assert worker.wait() == 0
    worker.assert_gone()
    assert "worker.stopped" in worker.log()
    assert "Traceback" not in worker.log()
    assert environment.worker_rows() == 0


@STOP_SIGNALS
@pytest.mark.parametrize("options", [["--processes=2"], ["--concurrency=2"]], ids=" ".join)
def test_running_tasks_end_and_the_others_wait_for_the_next_worker(
    environment: Environment, number: signal.Signals, options: list[str]
) -> None:
    worker = environment.ready_worker(*options)
    running = [environment.send("sleep", "running", 1.5), environment.send("sleep_async", "running async", 1.5)]
    environment.wait_for_note("running")
    environment.wait_for_note("running async")
    waiting = [environment.send("ok", f"waiting-{n}") for n in range(10)]
    worker.signal(number)
    worker.wait_for_log(r"worker\.stopping running=2")
    check_left_in_order(environment, worker)
    assert [handle.get(timeout_ms=5_000).ok_value for handle in running] == ["running", "running async"]
    assert environment.live_tasks("PENDING") == 10
    assert scalar(environment.session, "select sum(attempt + worker_deaths) from horsies.tasks") == 0

    environment.ready_worker(*options)
    assert [handle.get(timeout_ms=20_000).ok_value for handle in waiting] == [f"done waiting-{n}" for n in range(10)]
    assert all(environment.counts()[f"waiting-{n}"] == 1 for n in range(10))


@STOP_SIGNALS
def test_a_second_signal_kills_running_tasks(environment: Environment, number: signal.Signals) -> None:
    worker = environment.ready_worker("--processes=2")
    failing = environment.send("sleep", "failing", 60)
    retried = environment.send("sleep_again", "retried", 60)
    environment.wait_for_note("failing")
    environment.wait_for_note("retried")
    worker.signal(number)
    worker.wait_for_log(r"worker\.stopping running=2")
    worker.signal(number)
    check_left_in_order(environment, worker)
    error = failing.get(timeout_ms=5_000).err_value
    assert error.error_code is CRASHED
    assert "SIGKILL" in str(error.message)
    info = retried.info().unwrap()
    assert info is not None
    assert (info.status, info.retry_count) == (TaskStatus.PENDING, 1)


def test_running_tasks_may_finish_within_the_shutdown_timeout(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2", "--shutdown-timeout=2")
    short = environment.send("sleep", "short", 0.5)
    long = environment.send("sleep", "long", 60)
    environment.wait_for_note("short")
    environment.wait_for_note("long")
    worker.signal(signal.SIGTERM)
    check_left_in_order(environment, worker)
    assert short.get(timeout_ms=5_000).ok_value == "short"
    assert long.get(timeout_ms=5_000).err_value.error_code is CRASHED


def test_a_claim_in_flight_at_the_stop_is_returned_to_the_queue(environment: Environment) -> None:
    """The claim waits for a lock while the worker is stopped. The tasks that it then claims were never started."""
    worker = environment.ready_worker()
    task = environment.tasks.ok.with_options(delay=3600).send("claimed late").unwrap()
    with psycopg.connect(environment.url) as blocker:
        blocker.execute("lock table horsies.tasks in access exclusive mode")
        blocker.execute("update horsies.tasks set run_at = now()")
        environment.session.execute("select pg_notify(%s, '')", (channel("wake", DEFAULT_SCHEMA),))
        claiming = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and strpos(query, 'claim') > 0"
        wait_until(lambda: scalar(environment.session, claiming), describe="a claim that waits for the lock")
        worker.signal(signal.SIGTERM)
        worker.wait_for_log(r"worker\.stopping")
    check_left_in_order(environment, worker)
    wait_until(lambda: not scalar(environment.session, claiming), describe="the end of the claim")
    assert environment.live_tasks("PENDING") == 1
    assert scalar(environment.session, "select attempt from horsies.tasks") == 0
    environment.ready_worker()
    assert task.get(timeout_ms=20_000).ok_value == "done claimed late"
    assert environment.counts()["claimed late"] == 1


def test_claims_of_a_reply_after_the_stop_are_returned_to_the_queue(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    worker = environment.ready_worker(**{URL_VARIABLE: proxy.url(tcp_database_url), "TEST_POLL_MS": "1000"})
    assert environment.send("ok", "before").get(timeout_ms=20_000).is_ok()
    wait_until(lambda: column(environment.session, ANSWERED_CLAIM), describe="a claim whose reply has long come")
    proxy.stall("to client")
    task = environment.send("ok", "claimed late")
    wait_until(lambda: environment.live_tasks("RUNNING"), describe="a claim whose reply is under way")
    worker.signal(signal.SIGTERM)
    worker.wait_for_log(r"worker\.stopping running=0")
    proxy.resume()
    check_left_in_order(environment, worker)
    assert environment.live_tasks("PENDING") == 1
    environment.ready_worker()
    assert task.get(timeout_ms=20_000).ok_value == "done claimed late"
    assert environment.counts()["claimed late"] == 1


@STOP_SIGNALS
def test_a_worker_that_still_waits_for_the_database_can_be_stopped(
    environment: Environment, proxy: Proxy, tcp_database_url: str, number: signal.Signals
) -> None:
    proxy.refuse()
    worker = environment.worker(**{URL_VARIABLE: proxy.url(tcp_database_url)})
    worker.wait_for_log(r"connection\.retrying")
    worker.signal(number)
    assert worker.wait() == 0
    worker.assert_gone()
    assert "Traceback" not in worker.log()


def test_a_worker_is_stopped_while_the_database_is_away_and_loses_no_outcome(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    worker = environment.ready_worker(**{URL_VARIABLE: proxy.url(tcp_database_url)})
    task = environment.send("sleep", "ended without a database", 0.5)
    environment.wait_for_note("ended without a database")
    proxy.refuse()
    proxy.cut()
    environment.wait_for_note("ended without a database:end")
    worker.signal(signal.SIGTERM)
    worker.wait_for_log(r"worker\.stopping")
    worker.wait_for_log(r"connection\.retrying")
    proxy.accept()
    check_left_in_order(environment, worker)
    assert task.get(timeout_ms=5_000).ok_value == "ended without a database"


def test_many_workers_come_and_go_under_load_and_every_task_runs_once(environment: Environment) -> None:
    handles = [environment.send("ok", f"task-{n}") for n in range(400)]
    steady = environment.ready_worker()
    for _ in range(4):
        visitor = environment.ready_worker("--processes=2")
        visitor.stop()
        assert visitor.wait() == 0
    environment.wait_until_all_ended()
    assert [handle.get(timeout_ms=5_000).ok_value for handle in handles] == [f"done task-{n}" for n in range(400)]
    assert set(environment.counts().values()) == {1}
    assert environment.worker_rows() == 1
    steady.stop()
    check_left_in_order(environment, steady)


@STOP_SIGNALS
def test_a_worker_that_is_stopped_while_it_imports_leaves_nothing(
    environment: Environment, number: signal.Signals
) -> None:
    slow = "import time\nprint('importing', flush=True)\ntime.sleep(3)\nfrom mixed_tasks import app\n"
    (environment.folder / "slow_import.py").write_text(slow)
    worker = environment.worker(app="slow_import:app")
    worker.wait_for_log("importing")
    worker.signal(number)
    assert worker.wait() == (130 if number == signal.SIGINT else 0)
    worker.assert_gone()
    assert "Traceback" not in worker.log()
