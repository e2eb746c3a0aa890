"""`cancel` on a worker: what runs is ended at the cost of its own child, what waits never begins."""

import os

import pytest

from horsies import OutcomeCode
from tests.support.proxy import Proxy
from tests.support.scene import URL_VARIABLE, Scene
from tests.support.sessions import scalar
from tests.support.waiting import wait_until

QUICK = 300
BUSY = """
    select count(*) from pg_stat_activity
    where datname = current_database() and client_addr is not null and pid <> pg_backend_pid()
      and (state <> 'idle' or state_change > clock_timestamp() - interval '200 ms')
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", ["--processes=2", "--concurrency=2"])
def test_a_running_task_ends_and_its_neighbour_does_not(scene: Scene, how: str) -> None:
    worker = scene.ready_worker(how)
    doomed, neighbour = scene.send("sleep", "doomed", 60.0), scene.send("sleep", "neighbour", 1.0)
    child = scene.wait_for_note("doomed").pid
    scene.wait_for_note("neighbour")

    assert doomed.cancel().unwrap() is True
    assert doomed.get(timeout_ms=10_000).err_value.error_code is OutcomeCode.TASK_CANCELLED
    wait_until(lambda: not is_alive(child), 20, "the end of the child")
    assert neighbour.get(timeout_ms=10_000).is_ok()
    assert doomed.cancel().unwrap() is False
    assert scene.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert scene.counts()["doomed"] == scene.counts()["neighbour"] == scene.counts()["after"] == 1
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_cancelling_among_quick_tasks_harms_no_other(scene: Scene) -> None:
    handles = {f"quick-{number}": scene.send("ok", f"quick-{number}") for number in range(QUICK)}
    worker = scene.ready_worker("--processes=2")
    scene.wait_for_note("quick-0")
    cancelled = {key for key, handle in list(handles.items())[::3] if handle.cancel().unwrap()}
    scene.wait_until_all_ended(60)

    ended = scene.ended()
    assert ended["ok", "CANCELLED", "TASK_CANCELLED"] == len(cancelled)
    assert ended["ok", "COMPLETED", None] == QUICK - len(cancelled)
    begun = scene.counts()
    assert begun.keys() >= handles.keys() - cancelled
    assert set(begun.values()) == {1}
    assert worker.stop() == 0


def test_a_notice_that_overtakes_the_reply_to_the_claim_ends_the_task(
    scene: Scene, proxy: Proxy, tcp_database_url: str
) -> None:
    worker = scene.ready_worker(
        **{URL_VARIABLE: proxy.url(tcp_database_url), "TEST_SESSION_URL": tcp_database_url}, TEST_POLL_MS="60000"
    )
    assert scene.send("ok", "before").get(timeout_ms=10_000).is_ok()
    wait_until(lambda: not scalar(scene.session, BUSY), 20, "a worker that waits")
    proxy.stall("to client")
    doomed = scene.send("sleep", "doomed", 60.0)
    wait_until(lambda: scene.live_tasks("RUNNING") == 1, 20, "the claim, whose reply is on its way")
    assert doomed.cancel().unwrap() is True
    assert doomed.get(timeout_ms=10_000).err_value.error_code is OutcomeCode.TASK_CANCELLED
    proxy.resume()
    assert scene.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert worker.stop() == 0


def test_a_notice_that_names_no_task_is_nothing_to_a_worker(scene: Scene) -> None:
    worker = scene.ready_worker()
    for payload in ("", "nonsense", "0" * 32):
        scene.session.execute("select pg_notify('horsies.cancel', %s)", (payload,))
    assert scene.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert worker.stop() == 0
