"""The supervisor kills a child whose interpreter is stopped and sends no liveness pings."""

import os
import signal

from horsies.codes import OperationalErrorCode
from tests.support.environment import Environment
from tests.support.waiting import wait_until
from tests.support.workers import lives

IMPATIENT = {"TEST_STALE_MS": "2000", "TEST_HEARTBEAT_MS": "1000", "TEST_POLL_MS": "1000"}


def test_a_stopped_child_is_killed_and_replaced(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2", **IMPATIENT)
    stuck = environment.send("sleep", "stuck", 60)
    pid = environment.wait_for_note("stuck").pid
    os.kill(pid, signal.SIGSTOP)
    assert stuck.get(timeout_ms=20_000).err_value.error_code is OperationalErrorCode.WORKER_CRASHED
    worker.wait_for_log(rf"child\.hung .*pid={pid}\b")
    assert not lives(pid)
    wait_until(lambda: len(worker.children()) == 2, describe="another child in its place")
    assert environment.send("ok", "and on").get(timeout_ms=20_000).is_ok()


def test_an_idle_child_that_is_stopped_is_also_killed(environment: Environment) -> None:
    worker = environment.ready_worker(**IMPATIENT)
    assert environment.send("ok", "first").get(timeout_ms=20_000).is_ok()
    [child] = worker.children()
    child.suspend()
    worker.wait_for_log(rf"child\.hung .*pid={child.pid}\b")
    assert environment.send("ok", "second").get(timeout_ms=20_000).is_ok()


def test_a_task_may_take_longer_than_the_threshold(environment: Environment) -> None:
    """The interpreter keeps running while the task waits."""
    worker = environment.ready_worker(**IMPATIENT)
    assert environment.send("sleep", "long", 5).get(timeout_ms=20_000).ok_value == "long"
    assert "child.hung" not in worker.log()


def test_a_short_stop_of_a_child_changes_nothing(environment: Environment) -> None:
    worker = environment.ready_worker()
    paused = environment.send("sleep", "paused", 0.5)
    pid = environment.wait_for_note("paused").pid
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    assert paused.get(timeout_ms=20_000).ok_value == "paused"
    assert "child.hung" not in worker.log()
