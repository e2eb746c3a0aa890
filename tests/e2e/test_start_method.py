"""``--start-method spawn``: each child imports the app, for apps that cannot be forked."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.environment import URL_VARIABLE, Environment
from tests.support.workers import WorkerProcess, clean_environment

TICKING = """
import threading
import time

from mixed_tasks import app

ticker = threading.Thread(target=time.sleep, args=(600,), name="ticker", daemon=True)
ticker.start()
"""
OWN = """
import os
import sys

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult

app = Horsies(AppConfig(broker=PostgresConfig(database_url=os.environ["HORSIES_DATABASE_URL"])))


@app.task("ok")
def ok(key: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"{key} in {__name__}")

"""
RUN = "sys.exit(app.worker(start_method='spawn', processes=2).run())\n"
GUARDED = f"if __name__ == '__main__':\n    {RUN}"
SPAWN = "--start-method=spawn"


@pytest.fixture
def ticking(environment: Environment) -> Environment:
    (environment.folder / "ticking.py").write_text(TICKING)
    return environment


def spawned(environment: Environment, *args: str, app: str = "ticking:app") -> WorkerProcess:
    worker = environment.worker(SPAWN, *args, app=app)
    worker.wait_until_ready()
    return worker


def test_threads_that_an_import_left_are_refused_with_the_fix(ticking: Environment) -> None:
    worker = ticking.worker(app="ticking:app")
    assert worker.wait() == 1
    assert "error[HRS-210]: importing the app left threads running: ticker" in worker.log()
    assert "--start-method spawn" in worker.log()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [["--processes=2"], ["--concurrency=3"]], ids=" ".join)
def test_spawned_children_run_tasks_of_an_app_with_threads(ticking: Environment, options: list[str]) -> None:
    worker = spawned(ticking, *options)
    quick = [ticking.send("ok", f"quick-{number}") for number in range(100)]
    others = [ticking.send("ok_async", "async"), ticking.send("boom_mapped", "mapped"), ticking.send("slow", "slow")]
    assert all(handle.get(timeout_ms=40_000).is_ok() for handle in quick)
    codes = [handle.get(timeout_ms=40_000).err for handle in others]
    assert [str(error.error_code) if error else None for error in codes] == [None, "NOT_THERE", "TASK_TIMEOUT"]
    assert set(ticking.counts().values()) == {1}
    for child in worker.children():
        assert psutil.Process(child.pid).ppid() == worker.fork_server().pid
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()


@pytest.mark.timeout(120)
def test_a_spawned_child_has_the_threads_of_its_import_and_a_separate_session(ticking: Environment) -> None:
    worker = spawned(ticking)
    assert ticking.send("ok", "one").get(timeout_ms=40_000).is_ok()
    [child] = worker.children()
    assert child.pid == ticking.wait_for_note("one").pid
    assert child.num_threads() >= 2
    session = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[3]
    assert int(session) == child.pid


@pytest.mark.timeout(120)
def test_a_spawned_child_that_dies_is_replaced_and_fails_its_task_only(ticking: Environment) -> None:
    worker = spawned(ticking, "--processes=2")
    long = ticking.send("sleep", "long", 2.0)
    ticking.wait_for_note("long")
    for number in range(3):
        error = ticking.send("kill", f"deadly-{number}").get(timeout_ms=40_000).err_value
        assert str(error.error_code) == "WORKER_CRASHED"
    assert ticking.send("ok", "next").get(timeout_ms=40_000).is_ok()
    assert long.get(timeout_ms=40_000).is_ok()
    assert worker.stop() == 0


@pytest.mark.timeout(120)
def test_spawned_children_are_recycled(ticking: Environment) -> None:
    handles = [ticking.send("ok", f"quick-{number}") for number in range(6)]
    worker = spawned(ticking, "--max-tasks-per-child=2")
    assert all(handle.get(timeout_ms=60_000).is_ok() for handle in handles)
    pids = [entry.pid for entry in ticking.ledger()]
    assert sorted(pids.count(pid) for pid in set(pids)) == [2, 2, 2]
    assert worker.stop() == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", ["supervisor", "fork server"])
def test_spawned_children_outlive_neither_supervisor_nor_fork_server(ticking: Environment, victim: str) -> None:
    worker = spawned(ticking, "--processes=2")
    ticking.send("sleep", "long", 600)
    ticking.wait_for_note("long")
    psutil.Process(worker.pid if victim == "supervisor" else worker.fork_server().pid).kill()
    worker.assert_gone(20)
    ticking.wait_until_all_ended()
    assert ticking.ended() == {("sleep", "FAILED", "WORKER_CRASHED"): 1}


@pytest.mark.timeout(120)
def test_a_second_ctrl_c_kills_tasks_in_spawned_children(ticking: Environment) -> None:
    worker = spawned(ticking)
    ticking.send("sleep", "long", 600)
    ticking.wait_for_note("long")
    worker.signal(signal.SIGINT)
    worker.wait_for_log(r"worker\.stopping running=1")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 0
    worker.assert_gone()


def test_an_import_that_fails_in_children_only_stops_the_worker(environment: Environment) -> None:
    source = (
        "import os\nfrom mixed_tasks import app\n\nif os.path.exists('used'):\n    raise OSError('no second time')\n"
    )
    (environment.folder / "once.py").write_text(f"{source}open('used', 'w').close()\n")
    worker = environment.worker(SPAWN, app="once:app")
    assert worker.wait() == 1
    worker.assert_gone()
    assert "worker.failed" in worker.log()
    assert "OSError: no second time" in worker.log()
    assert "Traceback" not in worker.log()


def run_script(environment: Environment, source: str, *, module: bool = False) -> subprocess.CompletedProcess[str]:
    (environment.folder / "own.py").write_text(source)
    command = [sys.executable, "-m", "own"] if module else [sys.executable, "own.py"]
    return subprocess.run(
        command,
        cwd=environment.folder,
        env=clean_environment(**{URL_VARIABLE: environment.url}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


STOPS_ITSELF = """
import signal
import threading

def stop() -> None:
    key = "script"
    print(ok.send(key).unwrap().get(timeout_ms=40_000).ok_value)
    os.kill(os.getpid(), signal.SIGTERM)

"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("module", [False, True], ids=["own.py", "-m own"])
def test_a_custom_program_can_spawn_children_although_it_has_threads(environment: Environment, *, module: bool) -> None:
    start = "    threading.Thread(target=stop).start()\n"
    done = run_script(environment, f"{OWN}{STOPS_ITSELF}if __name__ == '__main__':\n{start}    {RUN}", module=module)
    assert (done.returncode, done.stdout) == (0, "script in own\n"), done.stderr
    assert "worker.stopped" in done.stderr


def test_an_app_that_children_would_not_find_is_refused(environment: Environment) -> None:
    hidden = (OWN + GUARDED).replace("app = Horsies(", "box = {}\nbox['app'] = Horsies(")
    done = run_script(environment, hidden.replace("@app.", "@box['app'].").replace("app.worker", "box['app'].worker"))
    assert done.returncode == 1
    assert "[HRS-207]" in done.stderr
    assert "no module has it as a global variable" in done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_is_not_run_while_the_app_is_imported(environment: Environment, method: str) -> None:
    """Otherwise each process that imports the app would start another worker."""
    (environment.folder / "own.py").write_text(OWN + RUN)
    worker = environment.worker(f"--start-method={method}", app="own:app")
    assert worker.wait() == 1
    worker.assert_gone()
    assert "error[HRS-210]: a worker is run while the app is imported" in worker.log()
    assert "own.py:14" in worker.log()


def test_a_program_with_threads_cannot_fork(environment: Environment) -> None:
    thread = (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), name='ticker', daemon=True).start()\n"
    )
    done = run_script(environment, OWN + thread + GUARDED.replace("start_method='spawn', ", ""))
    assert done.returncode == 1
    assert "error[HRS-210]: this process has threads, so no worker can be forked from it: ticker" in done.stderr
    assert "--start-method spawn" in done.stderr
