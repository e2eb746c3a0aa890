"""SIGTERM, SIGINT and SIGHUP stop a worker and a scheduler at any time, even during the import and as PID 1."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.environment import URL_VARIABLE, Environment
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, WorkerProcess

SLOW = """
import time
print("importing", flush=True)
try:
    time.sleep(600)
except BaseException:
    print("swallowed", flush=True)
from mixed_tasks import app
"""
COMMANDS = pytest.mark.parametrize("command", ["worker", "scheduler"])
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
NEW_PIDS = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
MAY_UNSHARE = subprocess.run([*NEW_PIDS, "true"], capture_output=True, check=False).returncode == 0
AS_PID_1 = pytest.mark.skipif(not MAY_UNSHARE, reason="a new namespace of process ids takes root")


def start(
    environment: Environment, *command: str, executable: Path = HORSIES, within: tuple[str, ...] = ()
) -> WorkerProcess:
    env = {URL_VARIABLE: environment.url, "TEST_LEDGER": str(environment.ledger_file)}
    args = [*within[1:], str(HORSIES), *command] if within else list(command)
    worker = WorkerProcess(args, environment.folder, env, executable=Path(within[0]) if within else executable)
    environment.at_end(worker.assert_gone)
    environment.at_end(worker.kill_all)
    return worker


def code_of(number: signal.Signals) -> int:
    return 130 if number == signal.SIGINT else 0


@COMMANDS
@SIGNALS
def test_the_import_is_ended_at_once(environment: Environment, command: str, number: signal.Signals) -> None:
    (environment.folder / "slow.py").write_text(SLOW)
    process = start(environment, command, "slow:app")
    process.wait_for_log("importing")
    process.signal(number)
    assert process.wait() == code_of(number)
    process.assert_gone()
    assert "Traceback" not in process.log()
    assert "swallowed" not in process.log()
    assert environment.worker_rows() == 0


@AS_PID_1
@COMMANDS
@SIGNALS
def test_the_first_process_of_a_container_ends_during_the_import(
    environment: Environment, command: str, number: signal.Signals
) -> None:
    (environment.folder / "slow.py").write_text(SLOW)
    process = start(environment, command, "slow:app", within=tuple(NEW_PIDS))
    process.wait_for_log("importing")
    [first] = psutil.Process(process.pid).children()
    os.kill(first.pid, number)
    assert process.wait() == code_of(number)
    assert "swallowed" not in process.log()


@AS_PID_1
@COMMANDS
def test_the_first_process_of_a_container_stops_gracefully(environment: Environment, command: str) -> None:
    task = environment.send("sleep", "running", 1.0)
    process = start(environment, command, "mixed_tasks:app", within=tuple(NEW_PIDS))
    process.wait_for_log(rf"{command}\.ready")
    if command == "worker":
        environment.wait_for_note("running")
    [first] = psutil.Process(process.pid).children()
    os.kill(first.pid, signal.SIGTERM)
    assert process.wait() == 0
    assert f"{command}.stopped" in process.log()
    assert command == "scheduler" or task.get(timeout_ms=5_000).ok_value == "running"


@AS_PID_1
def test_other_commands_end_as_the_first_process_as_well(environment: Environment) -> None:
    environment.send("ok", "waits for ever")
    process = start(environment, "send", "mixed_tasks:app", "ok", "key", "--wait", within=tuple(NEW_PIDS))
    wait_until(lambda: environment.live_tasks() == 2, describe=process.log)
    [first] = psutil.Process(process.pid).children()
    os.kill(first.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM


def test_repeated_hangups_of_a_terminal_are_a_graceful_stop(environment: Environment) -> None:
    worker = environment.ready_worker()
    running = environment.send("sleep", "running", 2.0)
    environment.wait_for_note("running")
    worker.signal(signal.SIGHUP)
    worker.wait_for_log(r"worker\.stopping running=1")
    worker.signal(signal.SIGHUP)
    worker.signal(signal.SIGTERM)  # the end of a session may also send it; a second one would kill
    assert worker.wait() == 0
    assert running.get(timeout_ms=5_000).ok_value == "running"
    assert "worker.stop_forced" not in worker.log()


def test_a_scheduler_stops_when_its_terminal_is_closed(environment: Environment) -> None:
    scheduler = start(environment, "scheduler", "mixed_tasks:app")
    scheduler.wait_for_log(r"scheduler\.ready")
    scheduler.signal(signal.SIGHUP)
    assert scheduler.wait() == 0
    assert "scheduler.stopped" in scheduler.log()


@COMMANDS
def test_nohup_keeps_it_running(environment: Environment, command: str) -> None:
    process = start(environment, command, "mixed_tasks:app", within=("nohup",))
    process.wait_for_log(rf"{command}\.ready")
    process.signal(signal.SIGHUP)
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert f"{command}.stopped" in process.log()
    status = Path(f"/proc/{process.pid}/status")
    assert not status.exists()


def test_a_worker_that_waits_for_a_change_of_its_app_can_be_stopped(environment: Environment) -> None:
    (environment.folder / "broken.py").write_text("1 / 0\n")
    worker = environment.worker("--reload", app="broken:app")
    worker.wait_for_log(r"worker\.waiting")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "Traceback" not in worker.log()


def test_a_program_has_its_own_handlers_back_after_its_worker(environment: Environment) -> None:
    program = """
import os, signal, sys, threading
from mixed_tasks import app
mine = signal.signal(signal.SIGTERM, lambda *_: None)
before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)]
class Stops(__import__("logging").Handler):
    def emit(self, record):
        if record.getMessage().startswith("worker.ready "):
            os.kill(os.getpid(), signal.SIGTERM)
import horsies.worker.main as run, logging
configure = run.configure_logging
worker = app.worker()
def also(*args):
    configure(*args)
    logging.getLogger().addHandler(Stops())
run.configure_logging = also
code = worker.run()
after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)]
print("same" if before == after else (before, after), signal.set_wakeup_fd(-1))
sys.exit(code)
"""
    (environment.folder / "program.py").write_text(program)
    process = start(environment, "program.py", executable=HORSIES.with_name("python"))
    assert process.wait() == 0
    assert "same -1\n" in process.log()
