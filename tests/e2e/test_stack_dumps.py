"""SIGQUIT to a supervisor: all processes of the worker dump their stacks to the log, and continue."""

import signal

import pytest

from tests.support.environment import Environment
from tests.support.waiting import wait_until


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_all_processes_dump_their_stacks(environment: Environment, method: str) -> None:
    worker = environment.ready_worker("--processes=2", f"--start-method={method}")
    running = [environment.send("sleep", key, 3) for key in ("first", "second")]
    for key in ("first", "second"):
        environment.wait_for_note(key)
    worker.signal(signal.SIGQUIT)
    wait_until(lambda: "mixed_tasks.py" in worker.log(), describe="the stack of a task")
    assert "fork_server.py" in worker.log()
    assert "asyncio" in worker.log()
    assert [handle.get(timeout_ms=20_000).ok_value for handle in running] == ["first", "second"]
    assert worker.stop() == 0
