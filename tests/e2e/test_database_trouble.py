"""An unavailable, refusing, forgetful or full database: no task is lost, and none runs twice."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from horsies.db.migrate import migrate
from tests.support.environment import URL_VARIABLE, Environment, new_environment
from tests.support.proxy import Proxy
from tests.support.server import free_port, own_server
from tests.support.waiting import wait_until

END_OTHER_SESSIONS = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
"""
FILL_UP = """
    create function full_disk() returns trigger language plpgsql as $function$
    begin
        raise exception 'could not extend file: no space left on device' using errcode = 'disk_full';
    end
    $function$;
    create trigger full_disk before insert on horsies.history for each statement execute function full_disk();
"""


@pytest.fixture
def through_proxy(proxy: Proxy, tcp_database_url: str) -> dict[str, str]:
    """Return the environment of a worker that connects through a proxy and polls often."""
    return {URL_VARIABLE: proxy.url(tcp_database_url), "TEST_HEARTBEAT_MS": "1000", "TEST_POLL_MS": "1000"}


def check_all_ran_once(environment: Environment, task: str, keys: list[str]) -> None:
    environment.wait_until_all_ended()
    assert environment.ended() == {(task, "COMPLETED", None): len(keys)}
    assert {key: environment.counts()[key] for key in keys} == dict.fromkeys(keys, 1)


@pytest.mark.parametrize("options", ["--processes=2", "--concurrency=2"])
def test_outcomes_arrive_although_connections_are_cut_repeatedly(
    environment: Environment, proxy: Proxy, through_proxy: dict[str, str], options: str
) -> None:
    keys = [f"task-{n}" for n in range(40)]
    for key in keys:
        environment.send("sleep", key, 0.1)
    worker = environment.ready_worker(options, **through_proxy)
    for begun in range(4, 40, 4):
        environment.wait_for_note(f"task-{begun}")
        proxy.cut()
    check_all_ran_once(environment, "sleep", keys)
    assert worker.log().count("connection.lost") >= 5
    assert worker.stop() == 0


def test_a_reply_that_is_lost_at_any_byte_loses_and_repeats_no_task(
    environment: Environment, proxy: Proxy, through_proxy: dict[str, str]
) -> None:
    """The connection is cut before, within and right after the replies to claims and finishes.

    The tasks are too slow to wait in children, so there are many exchanges.
    """
    keys = [f"task-{n}" for n in range(200)]
    for key in keys:
        environment.send("sleep", key, 0.02)
    worker = environment.worker("--processes=2", **through_proxy)
    cuts = 0
    for size in range(0, 900, 23):
        begun = len(environment.ledger())
        wait_until(
            lambda was=begun: len(environment.ledger()) > was or not environment.live_tasks(),
            20,
            lambda cut=size: f"a task after the cut behind byte {cut - 23}, or the end, log:\n{worker.log()}",
        )
        was_accepted = proxy.accepted
        proxy.cut_after(size, "to client")
        wait_until(
            lambda was=was_accepted: proxy.accepted > was or not environment.live_tasks(), 20, "a cut, or the end"
        )
        cuts += proxy.accepted > was_accepted
    assert cuts >= 10
    check_all_ran_once(environment, "sleep", keys)


def test_a_worker_waits_for_a_server_that_refuses_at_first(
    environment: Environment, proxy: Proxy, through_proxy: dict[str, str]
) -> None:
    proxy.refuse()
    task = environment.send("ok", "patient")
    worker = environment.worker(**through_proxy)
    worker.wait_for_log(r"(?s)connection\.retrying.*connection\.retrying.*connection\.retrying")
    assert "worker.ready" not in worker.log()
    proxy.accept()
    assert task.get(timeout_ms=20_000).ok_value == "done patient"
    assert "correct-horse" not in worker.log()


def test_a_starting_worker_gives_up_after_the_configured_attempts(
    environment: Environment, proxy: Proxy, through_proxy: dict[str, str]
) -> None:
    proxy.refuse()
    worker = environment.worker(**through_proxy, TEST_DB_ATTEMPTS="3")
    assert worker.wait() == 1
    assert worker.log().count("connection.retrying") == 2
    assert "error[HRS-211]" in worker.log()
    assert "correct-horse" not in worker.log()


def test_a_running_worker_retries_for_ever(
    environment: Environment, proxy: Proxy, through_proxy: dict[str, str]
) -> None:
    worker = environment.ready_worker(**through_proxy, TEST_DB_ATTEMPTS="1")
    kept = environment.send("sleep", "kept", 0.5)
    environment.wait_for_note("kept")
    proxy.refuse()
    proxy.cut()
    environment.wait_for_note("kept:end")
    worker.wait_for_log(r"(?s)connection\.retrying.*connection\.retrying.*connection\.retrying")
    proxy.accept()
    assert kept.get(timeout_ms=20_000).ok_value == "kept"
    assert environment.send("ok", "and on").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0


def test_a_network_that_stalls_and_recovers_changes_nothing(
    environment: Environment, proxy: Proxy, through_proxy: dict[str, str]
) -> None:
    worker = environment.ready_worker(**through_proxy)
    stalled = environment.send("sleep", "stalled", 0.5)
    environment.wait_for_note("stalled")
    proxy.stall()
    environment.wait_for_note("stalled:end")
    proxy.resume()
    assert stalled.get(timeout_ms=20_000).ok_value == "stalled"
    assert "WARNING" not in worker.log()


def test_ended_sessions_are_opened_again(environment: Environment) -> None:
    """These are the sessions of the worker and of the waiting producer."""
    worker = environment.ready_worker("--processes=2", TEST_HEARTBEAT_MS="1000")
    keys = [f"task-{n}" for n in range(20)]
    handles = [environment.send("sleep", key, 0.2) for key in keys]
    for key in keys[::4]:
        environment.wait_for_note(key)
        environment.session.execute(END_OTHER_SESSIONS)
    assert [handle.get(timeout_ms=20_000).ok_value for handle in handles] == keys
    check_all_ran_once(environment, "sleep", keys)
    assert worker.stop() == 0


def test_a_full_disk_keeps_outcomes_waiting_and_stops_claims(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2")
    environment.session.execute(FILL_UP)
    kept = environment.send("ok", "kept")
    worker.wait_for_log(r"connection\.retrying .*no space left")
    environment.send("ok", "not begun")
    worker.wait_for_log(r"(?s)(connection\.retrying .*no space left.*){3}")
    assert set(environment.counts()) == {"kept"}
    environment.session.execute(b"drop trigger full_disk on horsies.history")
    assert kept.get(timeout_ms=20_000).ok_value == "done kept"
    check_all_ran_once(environment, "ok", ["kept", "not begun"])


def test_a_restart_of_the_server_loses_and_repeats_no_task(tmp_path: Path) -> None:
    settings = {"port": str(free_port())}  # the same address after the restart
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()), "pg")
        with own_server(home, settings) as server:
            url = server.url
            with psycopg.connect(url, autocommit=True) as session:
                migrate(session, "horsies")
            environment = stack.enter_context(new_environment(url, tmp_path))
            worker = environment.ready_worker("--processes=2", TEST_HEARTBEAT_MS="1000")
            keys = [f"task-{n}" for n in range(20)]
            handles = [environment.send("sleep", key, 0.2) for key in keys]
            environment.wait_for_note("task-5")
        worker.wait_for_log(r"connection\.retrying")
        with own_server(home, settings):
            assert [handle.get(timeout_ms=30_000).ok_value for handle in handles] == keys
            assert {key: environment.counts()[key] for key in keys} == dict.fromkeys(keys, 1)
            assert worker.stop() == 0
