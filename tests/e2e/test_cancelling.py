"""`cancel` on a worker: running tasks are stopped, and waiting tasks never start."""

import os

import pytest

from horsies import OutcomeCode
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.proxy import Proxy
from tests.support.sessions import works_over_tcp
from tests.support.waiting import wait_until

QUICK = 300


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", ["--processes=2", "--concurrency=2"])
def test_a_running_task_ends_and_a_concurrent_one_does_not(environment: Environment, how: str) -> None:
    worker = environment.ready_worker(how)
    doomed, other = environment.send("sleep", "doomed", 60.0), environment.send("sleep", "other", 1.0)
    child = environment.wait_for_note("doomed").pid
    environment.wait_for_note("other")

    assert doomed.cancel().unwrap() is True
    assert doomed.get(timeout_ms=10_000).err_value.error_code is OutcomeCode.TASK_CANCELLED
    wait_until(lambda: not is_alive(child), 20, "the end of the child")
    assert other.get(timeout_ms=10_000).is_ok()
    assert doomed.cancel().unwrap() is False
    assert environment.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert environment.counts()["doomed"] == environment.counts()["other"] == environment.counts()["after"] == 1
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_cancelling_among_quick_tasks_affects_no_other(environment: Environment) -> None:
    handles = {f"quick-{number}": environment.send("ok", f"quick-{number}") for number in range(QUICK)}
    worker = environment.ready_worker("--processes=2")
    environment.wait_for_note("quick-0")
    cancelled = {key for key, handle in list(handles.items())[::3] if handle.cancel().unwrap()}
    environment.wait_until_all_ended(60)

    ended = environment.ended()
    assert ended["ok", "CANCELLED", "TASK_CANCELLED"] == len(cancelled)
    assert ended["ok", "COMPLETED", None] == QUICK - len(cancelled)
    begun = environment.counts()
    assert begun.keys() >= handles.keys() - cancelled
    assert set(begun.values()) == {1}
    assert worker.stop() == 0


def test_a_notice_that_overtakes_the_reply_to_the_claim_ends_the_task(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    worker = environment.ready_worker(
        **{URL_VARIABLE: proxy.url(tcp_database_url), "TEST_SESSION_URL": tcp_database_url}, TEST_POLL_MS="60000"
    )
    assert environment.send("ok", "before").get(timeout_ms=10_000).is_ok()
    wait_until(lambda: not works_over_tcp(environment.session), 20, "a worker that waits")
    proxy.stall("to client")
    doomed = environment.send("sleep", "doomed", 60.0)
    wait_until(lambda: environment.live_tasks("RUNNING") == 1, 20, "the claim, whose reply is on its way")
    assert doomed.cancel().unwrap() is True
    assert doomed.get(timeout_ms=10_000).err_value.error_code is OutcomeCode.TASK_CANCELLED
    proxy.resume()
    assert environment.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert worker.stop() == 0


def test_a_worker_ignores_a_notice_that_names_no_task(environment: Environment) -> None:
    worker = environment.ready_worker()
    for payload in ("", "nonsense", "0" * 32):
        environment.session.execute("select pg_notify('horsies.cancel', %s)", (payload,))
    assert environment.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert worker.stop() == 0
