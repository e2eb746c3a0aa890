"""Workers in processes that are set up oddly: closed streams, few files, a default time-out of sockets."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.scene import URL_VARIABLE, Scene
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, WorkerProcess, clean_environment

TIMED = """
import socket
import time
socket.setdefaulttimeout(0.3)
from mixed_tasks import *

@app.task("print")
def print_task(text: str) -> TaskResult[str, TaskError]:
    import subprocess
    print(text, flush=True)
    subprocess.run(["echo", text], check=True)
    return TaskResult(ok=text)

if __name__ == "__main__":
    import sys
    app.discover_tasks(["slow_jobs"])
    sys.exit(app.worker({keywords}).run())
"""
OPTIONS = pytest.mark.parametrize("options", [[], ["--concurrency=2"], ["--start-method=spawn"]], ids=" ".join)


def shell(scene: Scene, script: str) -> WorkerProcess:
    """Run a line of shell, which is to become a worker by exec."""
    worker = WorkerProcess(["-c", script], scene.folder, {URL_VARIABLE: scene.url}, executable=Path("bash"))
    scene.at_end(worker.assert_gone)
    scene.at_end(worker.kill_all)
    return worker


@OPTIONS
def test_a_default_timeout_of_sockets_does_not_end_idle_children(scene: Scene, options: list[str]) -> None:
    (scene.folder / "timed.py").write_text(TIMED.format(keywords=""))
    worker = scene.worker("--processes=2", *options, app="timed:app")
    worker.wait_until_ready()
    wait_until(lambda: len(worker.children()) == 2)
    before = {child.pid for child in worker.children()}
    assert scene.send("sleep", "longer than the time-out", 1.0).get(timeout_ms=20_000).is_ok()
    assert {child.pid for child in worker.children()} == before
    assert worker.stop() == 0
    assert "child.died" not in worker.log()
    assert "Traceback" not in worker.log()


def test_a_program_with_such_a_timeout_waits_for_a_slow_import(scene: Scene) -> None:
    (scene.folder / "slow_jobs.py").write_text("import time\ntime.sleep(1)\n")
    (scene.folder / "timed.py").write_text(TIMED.format(keywords="processes=2"))
    worker = shell(scene, f"exec {HORSIES.with_name('python')} timed.py")
    worker.wait_until_ready()
    assert scene.send("ok", "key").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()


def test_a_waiting_producer_with_such_a_timeout_waits_as_long_as_it_says(scene: Scene) -> None:
    program = "import socket\nsocket.setdefaulttimeout(0.2)\nfrom mixed_tasks import ok\n"
    program += "print(ok.send('k').unwrap().get(20_000).ok_value)\n"
    (scene.folder / "producer.py").write_text(program)
    waiting = shell(scene, f"exec {HORSIES.with_name('python')} producer.py")
    wait_until(lambda: scene.live_tasks() == 1, describe=waiting.log)
    scene.ready_worker()
    assert waiting.wait() == 0
    assert waiting.log() == "done k\n"


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_closed_standard_streams_do_not_matter(scene: Scene, closed: str, method: str) -> None:
    """What a task prints then goes nowhere, and not into a socket that got the stream's number."""
    (scene.folder / "timed.py").write_text(TIMED.format(keywords=""))
    worker = shell(scene, f"exec {HORSIES} worker timed:app --start-method={method} {closed}")
    printed = subprocess.run(
        [HORSIES, "send", "timed:app", "print", "hello" * 1000, "--wait"],
        cwd=scene.folder,
        env=clean_environment(**{URL_VARIABLE: scene.url}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(printed.stdout) == "hello" * 1000
    assert scene.send("sleep", "and goes on", 0.1).get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()


def test_a_scheduler_runs_without_standard_streams(scene: Scene) -> None:
    scheduler = shell(scene, f"exec {HORSIES} scheduler mixed_tasks:app <&- >&-")
    scheduler.wait_for_log(r"scheduler\.ready")
    scheduler.signal(signal.SIGTERM)
    assert scheduler.wait() == 0


def test_few_open_files_are_enough_where_the_hard_limit_allows_more(scene: Scene) -> None:
    worker = shell(scene, f"ulimit -Sn 64; exec {HORSIES} worker mixed_tasks:app --processes=20")
    worker.wait_until_ready()
    wait_until(lambda: len(worker.children()) == 20, 30, worker.log)
    assert scene.send("ok", "key").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0
    assert "Too many open files" not in worker.log()


def test_too_few_open_files_are_refused_with_the_way_out(scene: Scene) -> None:
    worker = shell(scene, f"ulimit -n 64; exec {HORSIES} worker mixed_tasks:app --processes=20")
    assert worker.wait() == 1
    assert worker.log() == (
        "error[HRS-206]: --processes=20 needs 124 open files, and the limit of this process is 64\n"
        "  = help: raise the limit (ulimit -n in a shell, LimitNOFILE= in a systemd unit), or use fewer processes\n"
    )


def test_a_small_worker_runs_with_64_open_files(scene: Scene) -> None:
    worker = shell(scene, f"ulimit -n 64; exec {HORSIES} worker mixed_tasks:app --processes=4 --max-tasks-per-child=2")
    worker.wait_until_ready()
    sent = [scene.send("ok", f"key-{number}") for number in range(40)]
    assert all(handle.get(timeout_ms=30_000).is_ok() for handle in sent)
    assert worker.stop() == 0
    assert "Too many open files" not in worker.log()
