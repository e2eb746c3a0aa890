"""Workers in unusual process environments: closed streams, few open files, a default socket time-out."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.environment import URL_VARIABLE, Environment
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


def shell(environment: Environment, script: str) -> WorkerProcess:
    """Run a line of shell that replaces itself with a worker by exec."""
    worker = WorkerProcess(["-c", script], environment.folder, {URL_VARIABLE: environment.url}, executable=Path("bash"))
    environment.at_end(worker.assert_gone)
    environment.at_end(worker.kill_all)
    return worker


@OPTIONS
def test_a_default_timeout_of_sockets_does_not_end_idle_children(environment: Environment, options: list[str]) -> None:
    (environment.folder / "timed.py").write_text(TIMED.format(keywords=""))
    worker = environment.worker("--processes=2", *options, app="timed:app")
    worker.wait_until_ready()
    wait_until(lambda: len(worker.children()) == 2)
    before = {child.pid for child in worker.children()}
    assert environment.send("sleep", "longer than the time-out", 1.0).get(timeout_ms=20_000).is_ok()
    assert {child.pid for child in worker.children()} == before
    assert worker.stop() == 0
    assert "child.died" not in worker.log()
    assert "Traceback" not in worker.log()


def test_a_program_with_such_a_timeout_waits_for_a_slow_import(environment: Environment) -> None:
    (environment.folder / "slow_jobs.py").write_text("import time\ntime.sleep(1)\n")
    (environment.folder / "timed.py").write_text(TIMED.format(keywords="processes=2"))
    worker = shell(environment, f"exec {HORSIES.with_name('python')} timed.py")
    worker.wait_until_ready()
    assert environment.send("ok", "key").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()


def test_a_waiting_producer_with_such_a_timeout_waits_as_long_as_it_says(environment: Environment) -> None:
    program = "import socket\nsocket.setdefaulttimeout(0.2)\nfrom mixed_tasks import ok\n"
    program += "print(ok.send('k').unwrap().get(20_000).ok_value)\n"
    (environment.folder / "producer.py").write_text(program)
    waiting = shell(environment, f"exec {HORSIES.with_name('python')} producer.py")
    wait_until(lambda: environment.live_tasks() == 1, describe=waiting.log)
    environment.ready_worker()
    assert waiting.wait() == 0
    assert waiting.log() == "done k\n"


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_closed_standard_streams_do_not_matter(environment: Environment, closed: str, method: str) -> None:
    """The output of tasks is then discarded, and does not reach a socket with the number of the stream."""
    (environment.folder / "timed.py").write_text(TIMED.format(keywords=""))
    worker = shell(environment, f"exec {HORSIES} worker timed:app --start-method={method} {closed}")
    printed = subprocess.run(
        [HORSIES, "send", "timed:app", "print", "hello" * 1000, "--wait"],
        cwd=environment.folder,
        env=clean_environment(**{URL_VARIABLE: environment.url}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout) == "hello" * 1000
    assert environment.send("sleep", "and continues", 0.1).get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()


def test_a_scheduler_runs_without_standard_streams(environment: Environment) -> None:
    scheduler = shell(environment, f"exec {HORSIES} scheduler mixed_tasks:app <&- >&-")
    scheduler.wait_for_log(r"scheduler\.ready")
    scheduler.signal(signal.SIGTERM)
    assert scheduler.wait() == 0


def test_few_open_files_are_enough_where_the_hard_limit_allows_more(environment: Environment) -> None:
    worker = shell(environment, f"ulimit -Sn 64; exec {HORSIES} worker mixed_tasks:app --processes=20")
    worker.wait_until_ready()
    wait_until(lambda: len(worker.children()) == 20, 30, worker.log)
    assert environment.send("ok", "key").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0
    assert "Too many open files" not in worker.log()


def test_too_few_open_files_are_refused_with_the_fix(environment: Environment) -> None:
    worker = shell(environment, f"ulimit -n 64; exec {HORSIES} worker mixed_tasks:app --processes=20")
    assert worker.wait() == 1
    assert worker.log() == (
        "error[HRS-206]: --processes=20 needs 124 open files, and the limit of this process is 64\n"
        "  = help: raise the limit (ulimit -n in a shell, LimitNOFILE= in a systemd unit), or use fewer processes\n"
    )


def test_a_small_worker_runs_with_64_open_files(environment: Environment) -> None:
    worker = shell(
        environment, f"ulimit -n 64; exec {HORSIES} worker mixed_tasks:app --processes=4 --max-tasks-per-child=2"
    )
    worker.wait_until_ready()
    sent = [environment.send("ok", f"key-{number}") for number in range(40)]
    assert all(handle.get(timeout_ms=30_000).is_ok() for handle in sent)
    assert worker.stop() == 0
    assert "Too many open files" not in worker.log()
