"""``@app.on_child_process_start``: hooks run in each child before it takes tasks."""

import psutil
import pytest

from tests.support.environment import Environment
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

HOOKED = """
import os
import time
from pathlib import Path

from mixed_tasks import app, note


@app.on_child_process_start
def first() -> None:
    note("first")


@app.on_child_process_start
def second():
    note("second")
    {body}
"""
METHODS = pytest.mark.parametrize("method", ["fork", "spawn"])


def hooked(environment: Environment, body: str, *args: str) -> WorkerProcess:
    (environment.folder / "hooked.py").write_text(HOOKED.format(body=body))
    return environment.worker(*args, app="hooked:app")


def notes_of(environment: Environment, pid: int) -> list[str]:
    return [entry.key for entry in environment.ledger() if entry.pid == pid]


@METHODS
@pytest.mark.parametrize("options", [["--processes=2"], ["--concurrency=2"]], ids=" ".join)
def test_hooks_run_in_their_order_in_each_child_before_it_takes_work(
    environment: Environment, method: str, options: list[str]
) -> None:
    task = environment.send("ok", "task")
    worker = hooked(environment, "time.sleep(0.2)", f"--start-method={method}", *options)
    assert task.get(timeout_ms=40_000).is_ok()
    assert notes_of(environment, environment.wait_for_note("task").pid) == ["first", "second", "task"]

    environment.send("kill", "deadly").get(timeout_ms=40_000)
    assert environment.send("ok", "next").get(timeout_ms=40_000).is_ok()
    children = {entry.pid for entry in environment.ledger()}
    wait_until(
        lambda: all(notes_of(environment, pid)[:2] == ["first", "second"] for pid in children), describe=worker.log
    )
    assert {process.pid for process in (worker.fork_server(), psutil.Process(worker.pid))} & children == set()
    assert worker.stop() == 0


@METHODS
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('no model')", "raised ValueError: no model, at "),
        ("raise SystemExit('bye')", "raised SystemExit: bye, at "),
        ("raise OSError('postgresql://me:hunter2@host/db')", "raised OSError: postgresql://me:***@host/db, at "),
        ("import asyncio\n    return asyncio.sleep(1)", "returned a coroutine"),
    ],
)
def test_a_hook_that_fails_stops_the_worker_and_is_named(
    environment: Environment, method: str, body: str, says: str
) -> None:
    task = environment.send("ok", "task")
    worker = hooked(environment, body, "--processes=2", f"--start-method={method}")
    assert worker.wait() == 1
    worker.assert_gone()
    [failed] = [line for line in worker.log().splitlines() if " worker.failed " in line]
    assert f"the child hook second ({environment.folder / 'hooked.py'}:14) {says}" in failed
    assert "hunter2" not in worker.log()
    assert "Traceback" not in worker.log()
    assert environment.live_tasks("PENDING") == 1
    assert task.get(timeout_ms=0).is_err()


def test_a_worker_is_ready_when_a_child_has_run_its_hooks(environment: Environment) -> None:
    worker = hooked(environment, "while not Path('go').exists(): time.sleep(0.01)")
    environment.wait_for_note("second")
    wait_until(lambda: environment.worker_rows() == 1)
    assert "worker.ready" not in worker.log()
    (environment.folder / "go").touch()
    worker.wait_until_ready()
    assert worker.stop() == 0


def test_a_hook_that_kills_its_child_stops_the_worker(environment: Environment) -> None:
    worker = hooked(environment, "os._exit(9)")
    assert worker.wait() == 1
    worker.assert_gone()
    assert "children keep dying before they can take work; the last one exited with code 9" in worker.log()


def test_a_hook_that_fails_later_lets_running_tasks_end(environment: Environment) -> None:
    worker = hooked(environment, "if Path('gone').exists(): raise ValueError('gone')", "--processes=2")
    worker.wait_until_ready()
    running = environment.send("sleep", "running", 1.5)
    environment.wait_for_note("running")
    (environment.folder / "gone").touch()
    assert str(environment.send("kill", "deadly").get(timeout_ms=20_000).err_value.error_code) == "WORKER_CRASHED"
    assert worker.wait() == 1
    worker.assert_gone()
    assert "the child hook second" in worker.log()
    assert running.get(timeout_ms=5_000).ok_value == "running"
    assert environment.worker_rows() == 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("@app.on_child_process_start\nasync def warm() -> None:\n    return\n", "it is asynchronous"),
        ("@app.on_child_process_start\ndef warm(child: int) -> None:\n    return\n", "it takes child"),
        ("app.on_child_process_start(5)\n", "it is not callable"),
    ],
)
def test_an_unsuitable_hook_is_refused_with_its_line(environment: Environment, source: str, says: str) -> None:
    (environment.folder / "hooked.py").write_text(f"from mixed_tasks import app\n\n{source}")
    worker = environment.worker(app="hooked:app")
    assert worker.wait() == 1
    assert worker.log().startswith("error[HRS-214]: ")
    assert says in worker.log()
    assert "--> hooked.py:3\n" in worker.log()
    assert "Traceback" not in worker.log()
