"""A planned exit of a child runs the same steps as the end of a Python program."""

from pathlib import Path

import pytest

from horsies import TaskError, TaskResult
from tests.support.environment import Environment
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, lives

LEAVING = """
import asyncio
import atexit
import logging.handlers
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from horsies import TaskError, TaskResult
from mixed_tasks import app

imported = open("imported.txt", "a")
imported.write("import\\n")
shared = tempfile.TemporaryDirectory()
Path("shared.txt").write_text(shared.name)
atexit.register(lambda: say("atexit of the import"))

log = logging.getLogger("memory")
log.propagate = False
log.addHandler(logging.handlers.MemoryHandler(1000, target=logging.FileHandler("memory.log", delay=True)))


def say(what: str) -> None:
    with Path("said.txt").open("a") as file:
        file.write(f"{os.getpid()} {what}\\n")


@app.on_child_process_start
def begin() -> None:
    global own
    own = open("own.txt", "a")
    atexit.register(say, "atexit of the child")


@app.on_child_process_stop
def first() -> None:
    say("first hook")
    {first}


@app.on_child_process_stop
def second() -> None:
    say("second hook")
    {second}


@app.task("write")
def write(line: str) -> TaskResult[int, TaskError]:
    imported.write(line + "\\n")
    own.write(line + "\\n")
    log.warning(line)
    return TaskResult(ok=os.getpid())


@app.task("leave_work")
async def leave_work(line: str) -> TaskResult[int, TaskError]:
    async def background() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            say("background task was cancelled")

    def slow() -> None:
        time.sleep(0.2)
        say("thread has ended")

    global kept
    kept = asyncio.create_task(background())
    threading.Thread(target=slow).start()
    ThreadPoolExecutor(1).submit(slow)
    await asyncio.sleep(0)
    return TaskResult(ok=os.getpid())
"""
ORDER = ["second hook", "first hook", "atexit of the child", "atexit of the import"]


def leaving(environment: Environment, *args: str, first: str = "pass", second: str = "pass") -> WorkerProcess:
    (environment.folder / "leaving.py").write_text(LEAVING.replace("{first}", first).replace("{second}", second))
    worker = environment.worker("--processes=1", *args, app="leaving:app")
    worker.wait_until_ready()
    return worker


def call(environment: Environment, name: str, line: str) -> int:
    """Run a task that only the worker's module has; return the id of its process."""

    def stand_in(line: str) -> TaskResult[int, TaskError]:
        raise AssertionError(line)

    return environment.tasks.app.task(name)(stand_in).send(line).unwrap().get(timeout_ms=20_000).ok_value


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def said(environment: Environment, pid: int) -> list[str]:
    found = (line.split(" ", 1) for line in lines(environment.folder / "said.txt"))
    return [what for who, what in found if int(who) == pid]


@pytest.mark.parametrize("options", [[], ["--concurrency=3"], ["--start-method=spawn"]], ids=" ".join)
def test_a_stop_runs_hooks_and_atexit_functions_and_flushes_files(environment: Environment, options: list[str]) -> None:
    worker = leaving(environment, *options)
    pids = {call(environment, "write", f"line {number}") for number in range(3)}
    assert worker.stop() == 0
    [pid] = pids
    assert said(environment, pid) == ORDER
    written = [f"line {number}" for number in range(3)]
    assert lines(environment.folder / "own.txt") == written
    assert lines(environment.folder / "memory.log") == written
    imports = lines(environment.folder / "imported.txt")
    assert [line for line in imports if line != "import"] == written
    assert imports.count("import") == 1 or "spawn" in str(options)  # with spawn, each process imports the app
    assert "child.died" not in worker.log()


def test_each_recycled_child_ends_like_a_program_and_leaves_what_is_shared(environment: Environment) -> None:
    worker = leaving(environment, "--max-tasks-per-child=2")
    pids = [call(environment, "write", f"line {number}") for number in range(5)]
    assert len(set(pids)) == 3
    for pid in pids[:4]:
        wait_until(lambda pid=pid: not lives(pid), describe=worker.log)
        assert said(environment, pid) == ORDER
    assert Path((environment.folder / "shared.txt").read_text()).is_dir()
    assert worker.stop() == 0
    assert sorted(lines(environment.folder / "own.txt")) == [f"line {number}" for number in range(5)]
    assert lines(environment.folder / "imported.txt").count("import") == 1
    assert "child.died" not in worker.log()


@pytest.mark.parametrize("options", [[], ["--concurrency=3"]], ids=" ".join)
def test_background_work_ends_before_the_child(environment: Environment, options: list[str]) -> None:
    worker = leaving(environment, *options)
    pid = call(environment, "leave_work", "")
    assert worker.stop() == 0
    assert said(environment, pid) == [
        "background task was cancelled",
        "second hook",
        "first hook",
        "thread has ended",
        "thread has ended",
        "atexit of the child",
        "atexit of the import",
    ]


def test_a_hook_that_raises_is_logged_and_the_rest_follows(environment: Environment) -> None:
    worker = leaving(
        environment, first="raise SystemExit('bye')", second="raise OSError('postgresql://me:hunter2@host/db')"
    )
    pid = call(environment, "write", "line")
    assert worker.stop() == 0
    assert said(environment, pid) == ORDER
    failed = [line for line in worker.log().splitlines() if " child.exit_step_failed " in line]
    assert ["the child hook second" in failed[0], "the child hook first" in failed[1]] == [True, True]
    assert "OSError: postgresql://me:***@host/db" in failed[0]
    assert "SystemExit: bye" in failed[1]
    assert lines(environment.folder / "own.txt") == ["line"]


def test_the_end_of_a_child_is_bounded_in_time_and_files_are_flushed_anyway(environment: Environment) -> None:
    worker = leaving(environment, second="time.sleep(600)")
    pid = call(environment, "write", "line")
    assert worker.stop() == 0
    assert said(environment, pid) == ["second hook"]
    assert lines(environment.folder / "own.txt") == ["line"]
    assert "child.exit_timed_out" in worker.log()
    assert 'step="the child hook second' in worker.log()


def test_a_child_that_is_killed_runs_none_of_it(environment: Environment) -> None:
    worker = leaving(environment)
    pid = call(environment, "write", "line")
    environment.send("kill", "deadly").get(timeout_ms=20_000)
    assert said(environment, pid) == []
    assert worker.stop() == 0
