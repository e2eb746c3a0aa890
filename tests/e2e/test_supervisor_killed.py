"""SIGKILL of every process of a worker: no process is left over, no task is lost, and none runs twice unexpectedly."""

import os
import signal
from collections import Counter

import pytest

from horsies import TaskStatus
from horsies.codes import OperationalErrorCode
from tests.support.environment import Environment
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, lives

CRASHED = OperationalErrorCode.WORKER_CRASHED
MANY = 150


def send_load(environment: Environment) -> None:
    """Send short tasks, a task that leaves a process behind, and tasks that run until the worker is killed."""
    environment.send("spawn", "spawn")
    for number in range(MANY):
        environment.send("sleep", f"sleep-{number}", 0.05)
        environment.send("sleep_again", f"again-{number}", 0.05)


def begun(environment: Environment, prefix: str) -> Counter[str]:
    """Count how often each task of a kind started."""
    return Counter(
        {key: n for key, n in environment.counts().items() if key.startswith(prefix) and not key.endswith(":end")}
    )


def check_nothing_was_lost(environment: Environment) -> None:
    """Check that every task has ended, and that only crashed tasks with a retry policy started twice."""
    ended = environment.ended()
    crashed = ended["sleep", "FAILED", "WORKER_CRASHED"]
    assert ended["sleep", "COMPLETED", None] == MANY - crashed
    assert ended["sleep_again", "COMPLETED", None] == MANY
    assert sum(ended.values()) == 2 * MANY + 1
    assert set(begun(environment, "sleep-").values()) == {1}
    assert max(begun(environment, "again-").values()) <= 2
    retried = {str(row[0]) for row in environment.session.execute("select task_id from horsies.attempts")}
    assert sum(n > 1 for n in begun(environment, "again-").values()) <= len(retried) <= 4
    assert crashed + len(retried) <= 4  # four children were running one each


@pytest.mark.parametrize("other", ["running", "started later"])
def test_the_tasks_of_a_killed_supervisor_are_recovered(environment: Environment, other: str) -> None:
    doomed = environment.ready_worker("--processes=4")
    send_load(environment)
    environment.wait_for_note("spawn")
    environment.wait_for_note("sleep-20")
    helper = environment.ready_worker("--processes=4") if other == "running" else None

    doomed.signal(signal.SIGKILL)
    assert doomed.wait() == -signal.SIGKILL
    doomed.assert_gone()  # including the process that the task `spawn` left behind
    if helper is None:
        environment.ready_worker("--processes=4")
    environment.wait_until_all_ended(60)
    check_nothing_was_lost(environment)
    assert environment.worker_rows() == 1


def test_tasks_of_a_killed_worker_fail_without_waiting_for_a_threshold(environment: Environment) -> None:
    """The fork server reports the death to the database before any other worker can notice it."""
    doomed = environment.ready_worker()
    handle = environment.send("sleep", "cut short", 60)
    environment.wait_for_note("cut short")
    doomed.signal(signal.SIGKILL)
    error = handle.get(timeout_ms=20_000).err_value
    assert error.error_code is CRASHED
    assert "worker" in str(error.message)
    assert environment.worker_rows() == 0
    doomed.assert_gone()
    assert environment.counts()["cut short:end"] == 0


def test_a_worker_stops_when_its_fork_server_dies(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2")
    grandchild = environment.send("spawn", "spawn").get(timeout_ms=20_000).ok_value
    running = environment.send("sleep", "cut short", 60)
    environment.wait_for_note("cut short")
    worker.fork_server().kill()
    assert running.get(timeout_ms=20_000).err_value.error_code is CRASHED
    assert worker.wait() == 1
    assert "the fork server died" in worker.log()
    worker.assert_gone()
    assert not lives(grandchild)
    assert environment.worker_rows() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_killed_child_fails_only_its_own_task(environment: Environment, number: signal.Signals) -> None:
    worker = environment.ready_worker("--processes=3")
    handles = {key: environment.send("sleep", key, 1.5) for key in ("first", "second", "third")}
    victim = [environment.wait_for_note(key).pid for key in handles][1]
    os.kill(victim, number)
    error = handles["second"].get(timeout_ms=20_000).err_value
    assert error.error_code is CRASHED
    assert f"was killed by signal {number.value} ({number.name})" in str(error.message)
    for key in ("first", "third"):
        assert handles[key].get(timeout_ms=20_000).ok_value == key
    wait_until(lambda: len(worker.children()) == 3, describe="another child in its place")
    assert environment.send("ok", "and on").get(timeout_ms=20_000).ok_value == "done and on"


def test_a_killed_idle_child_fails_no_task(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2")
    assert environment.send("ok", "before").get(timeout_ms=20_000).is_ok()
    for child in worker.children():
        child.kill()
    handles = [environment.send("ok", f"after-{number}") for number in range(20)]
    environment.wait_until_all_ended()
    crashed = [handle for handle in handles if handle.get(timeout_ms=20_000).is_err()]
    assert len(crashed) <= 2  # tasks assigned to a child whose death was not yet known
    assert all(environment.counts()[f"after-{number}"] <= 1 for number in range(20))


def kill_together(worker: WorkerProcess) -> None:
    """Kill supervisor and fork server at the same moment."""
    fork_server = worker.fork_server()
    os.kill(worker.pid, signal.SIGSTOP)
    fork_server.suspend()
    fork_server.kill()
    worker.signal(signal.SIGKILL)


def test_a_dead_supervisor_and_fork_server_leave_nothing_and_are_detected(environment: Environment) -> None:
    impatient = {"TEST_STALE_MS": "2000", "TEST_HEARTBEAT_MS": "1000", "TEST_CHECK_MS": "1000"}
    doomed = environment.ready_worker("--processes=2", **impatient)
    failing = environment.send("sleep", "cut short", 60)
    again = environment.send("sleep_again", "again", 2)
    environment.wait_for_note("cut short")
    environment.wait_for_note("again")
    kill_together(doomed)
    doomed.assert_gone()
    assert environment.live_tasks("RUNNING") == 2
    environment.ready_worker(**impatient)
    assert failing.get(timeout_ms=30_000).err_value.error_code is CRASHED
    assert again.get(timeout_ms=30_000).ok_value == "again"
    info = again.info().unwrap()
    assert info is not None
    assert (info.status, info.retry_count) == (TaskStatus.COMPLETED, 1)
    assert environment.counts()["cut short"] == 1
    assert environment.counts()["again:end"] == 1
    assert environment.worker_rows() == 1


def test_the_next_worker_on_this_host_proves_the_death_of_both(environment: Environment) -> None:
    """The test does not wait for the threshold, which is minutes long."""
    doomed = environment.ready_worker("--processes=2")
    failing = environment.send("sleep", "cut short", 60)
    again = environment.send("sleep_again", "again", 2)
    environment.wait_for_note("cut short")
    environment.wait_for_note("again")
    kill_together(doomed)
    doomed.assert_gone()
    assert environment.live_tasks("RUNNING") == 2
    following = environment.ready_worker()
    assert failing.get(timeout_ms=20_000).err_value.error_code is CRASHED
    assert again.get(timeout_ms=20_000).ok_value == "again"
    assert "worker.dead_found" in following.log()
    assert environment.worker_rows() == 1


def test_a_worker_whose_fork_server_lives_is_not_proven_dead(environment: Environment) -> None:
    """Its children may be running, because a stopped fork server cannot kill them yet."""
    doomed = environment.ready_worker()
    running = environment.send("sleep", "runs on", 3)
    environment.wait_for_note("runs on")
    fork_server = doomed.fork_server()
    fork_server.suspend()
    doomed.signal(signal.SIGKILL)
    following = environment.ready_worker()
    environment.wait_for_note("runs on:end")
    assert "worker.dead_found" not in following.log()
    assert environment.worker_rows() == 2
    fork_server.resume()
    assert running.get(timeout_ms=20_000).err_value.error_code is CRASHED
    assert environment.counts()["runs on"] == 1


def test_a_child_and_the_fork_server_die_while_the_supervisor_is_busy(environment: Environment) -> None:
    """The supervisor requests a child from the dead fork server. This must only confirm the end that it already knows."""
    worker = environment.ready_worker("--processes=2")
    [child, _] = worker.children()
    fork_server = worker.fork_server()
    worker.signal(signal.SIGSTOP)
    child.kill()
    wait_until(lambda: not lives(child.pid), describe="the fork server to see its child dead")
    fork_server.kill()
    wait_until(lambda: not lives(fork_server.pid))
    worker.signal(signal.SIGCONT)
    assert worker.wait() == 1
    assert "the fork server died" in worker.log()
    assert "Traceback" not in worker.log()
