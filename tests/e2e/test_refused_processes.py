"""The operating system refuses processes and threads: running tasks continue, and the worker retries."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.environment import URL_VARIABLE, Environment, new_environment
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, WorkerProcess

AS_SOMEBODY = [] if os.getuid() else ["setpriv", "--reuid=54321", "--clear-groups"]
MAY_READ = "+dac_override,+dac_read_search"
LIMITED = """
import os
from resource import RLIMIT_NPROC, getrlimit, setrlimit
from mixed_tasks import app
os.register_at_fork(after_in_child=lambda: setrlimit(RLIMIT_NPROC, (1, getrlimit(RLIMIT_NPROC)[1])))
"""
METHODS = pytest.mark.parametrize("method", ["fork", "spawn"])


@pytest.fixture
def environment(tcp_database_url: str, tmp_path: Path) -> Iterator[Environment]:
    """Yield an environment whose workers connect with a password, so that they may run as any user."""
    with new_environment(tcp_database_url, tmp_path) as made:
        yield made


def as_somebody(
    environment: Environment, *args: str, app: str = "mixed_tasks:app", program: str = "", **env: str
) -> WorkerProcess:
    """Start a worker as a user other than root, so that limits of processes apply. It may read all files."""
    full = {URL_VARIABLE: environment.url, "TEST_LEDGER": str(environment.ledger_file), **env}
    command = [str(HORSIES.with_name("python")), program] if program else [str(HORSIES), "worker", app, *args]
    if os.getuid() != 0:
        worker = WorkerProcess(command[1:], environment.folder, full, executable=Path(command[0]))
    else:
        environment.ledger_file.touch()
        for each in (environment.folder, environment.ledger_file):
            each.chmod(0o777)
        powers = [f"--{kind}-caps={MAY_READ}" for kind in ("inh", "ambient")]
        command = [*AS_SOMEBODY[1:], *powers, f"--bounding-set=-all,{MAY_READ}", *command]
        worker = WorkerProcess(command, environment.folder, full, executable=Path(AS_SOMEBODY[0]))
    environment.at_end(worker.assert_gone)
    environment.at_end(worker.kill_all)
    return worker


def limit_processes(process: psutil.Process, most: int | None) -> None:
    """Limit the number of processes of its user; None restores the former limit."""
    limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    [hard] = [line.split()[3] for line in limits if line.startswith("Max processes")]
    subprocess.run([*AS_SOMEBODY, "prlimit", f"--pid={process.pid}", f"--nproc={most or hard}:{hard}"], check=True)


@METHODS
def test_a_refused_child_is_retried_and_running_tasks_continue(environment: Environment, method: str) -> None:
    worker = as_somebody(environment, "--processes=2", f"--start-method={method}")
    worker.wait_until_ready()
    wait_until(lambda: len(worker.children()) == 2)
    running = environment.send("sleep", "running", 3.0)
    environment.wait_for_note("running")
    limit_processes(worker.fork_server(), 1)
    died = environment.send("kill", "deadly").get(timeout_ms=20_000)
    assert str(died.err_value.error_code) == "WORKER_CRASHED"
    worker.wait_for_log(r"WARNING child\.start_refused reason=\"[^\"]+\" retry_in_s=0\.2")
    assert running.get(timeout_ms=20_000).ok_value == "running"
    assert environment.send("ok", "by the other child").get(timeout_ms=20_000).is_ok()
    assert len(worker.children()) == 1
    limit_processes(worker.fork_server(), None)
    wait_until(lambda: len(worker.children()) == 2, 20, worker.log)
    assert "Traceback" not in worker.log()
    assert worker.stop() == 0


def test_a_worker_without_any_child_ends_after_the_threshold(environment: Environment) -> None:
    worker = as_somebody(environment, TEST_STALE_MS="2000", TEST_HEARTBEAT_MS="1000")
    worker.wait_until_ready()
    limit_processes(worker.fork_server(), 1)
    assert environment.send("kill", "deadly").get(timeout_ms=20_000).is_err()
    assert worker.wait() == 1
    assert 'worker.failed reason="no child could be started for 2 seconds: ' in worker.log()
    assert "child.start_refused" in worker.log()
    assert "Traceback" not in worker.log()
    assert environment.worker_rows() == 0


def test_a_child_without_a_thread_waits_for_one(environment: Environment) -> None:
    """The liveness ping needs a thread. The limit is set after the child was forked and before it starts the thread."""
    (environment.folder / "limited.py").write_text(LIMITED)
    worker = as_somebody(environment, app="limited:app")
    worker.wait_for_log(r"WARNING child\.thread_refused")
    [child] = worker.children()
    limit_processes(child, None)
    worker.wait_until_ready()
    assert environment.send("ok", "key").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0


def test_a_worker_whose_first_process_is_refused_says_so_in_one_line(environment: Environment) -> None:
    (environment.folder / "program.py").write_text(
        "import resource, sys\nfrom mixed_tasks import app\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))\nsys.exit(app.worker().run())\n"
    )
    worker = as_somebody(environment, program="program.py")
    assert worker.wait() == 1
    assert 'ERROR worker.failed reason="no process can be started: ' in worker.log()
    assert "Traceback" not in worker.log()
