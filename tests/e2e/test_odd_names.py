"""A worker and a producer with a role, database and schema whose names need quotes."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from horsies import TaskStatus
from horsies.codes import OperationalErrorCode
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE, load_tasks
from tests.support.odd import LONGEST_SCHEMAS, ODD_PASSWORD, odd_database
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

SCHEMA = LONGEST_SCHEMAS["all at once"]
TASKS = f"""
import time
from pathlib import Path

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult, WorkerResilienceConfig

app = Horsies(AppConfig(
    broker=PostgresConfig(schema={SCHEMA!r}, auto_migrate=False),
    resilience=WorkerResilienceConfig(notify_poll_interval_ms=300_000),  # notices, or nothing within this test
))


@app.task("reverse")
def reverse(text: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=text[::-1])


@app.task("hang")
def hang(mark: str) -> TaskResult[None, TaskError]:
    Path(mark).touch()
    time.sleep(60)
    return TaskResult(ok=None)
"""


@pytest.fixture
def odd_url(server: Server) -> Iterator[str]:
    with odd_database(server) as url:
        yield url


@pytest.fixture
def worker(odd_url: str, tmp_path: Path) -> Iterator[WorkerProcess]:
    """Yield a worker of the app, of which no process may remain."""
    (tmp_path / "odd.py").write_text(TASKS)
    (said, status) = command(tmp_path, odd_url, "migrate")
    assert (said.split(",")[0], status) == ("applied: 0001", 0)
    worker = WorkerProcess(["worker", "odd:app", "--processes=2"], tmp_path, {URL_VARIABLE: odd_url})
    yield worker
    worker.kill_all()
    worker.assert_gone()


@pytest.fixture
def tasks(worker: WorkerProcess, odd_url: str, tmp_path: Path) -> Iterator[ModuleType]:
    """Return the producer's copy of the app when the worker is ready."""
    worker.wait_until_ready()
    module = load_tasks(tmp_path / "odd.py", {URL_VARIABLE: odd_url})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, odd_url)
        yield module
    module.app.close()


def command(folder: Path, url: str, name: str) -> tuple[str, int]:
    """Run ``horsies db NAME odd:app``; return its output and its exit code."""
    done: subprocess.CompletedProcess[str] = horsies(folder, "db", name, "odd:app", **{URL_VARIABLE: url})
    for secret in (ODD_PASSWORD, quote(ODD_PASSWORD, safe="")):
        assert secret not in done.stdout + done.stderr
    return done.stdout or done.stderr, done.returncode


def test_the_schema_is_looked_for_printed_and_found(odd_url: str, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(TASKS)
    said, status = command(tmp_path, odd_url, "status")
    assert (f"schema {SCHEMA!r} at " in said, "not there yet" in said, status) == (True, True, 1)
    script, status = command(tmp_path, odd_url, "sql")
    assert status == 0
    with psycopg.connect(odd_url, autocommit=True) as session:
        session.execute(script.encode())
    said, status = command(tmp_path, odd_url, "status")
    assert ("up to date" in said, urlsplit(odd_url).path in said, status) == (True, True, 0)


def test_sends_and_results_are_noticed_across_processes(tasks: ModuleType, worker: WorkerProcess) -> None:
    for text in ("kůň", "🐎"):  # at the second send the worker is idle and must be woken
        handle = tasks.reverse.send(text).unwrap()
        assert handle.get(timeout_ms=20_000).ok_value == text[::-1]
        info = handle.info().unwrap()
        assert info is not None
        assert info.status is TaskStatus.COMPLETED
    assert quote(ODD_PASSWORD, safe="") not in worker.log()
    assert worker.stop() == 0


def test_the_fork_server_reports_the_death_of_a_killed_supervisor(
    tasks: ModuleType, worker: WorkerProcess, tmp_path: Path
) -> None:
    handle = tasks.hang.send(str(tmp_path / "mark")).unwrap()
    wait_until((tmp_path / "mark").exists, 20, "the task to begin")
    worker.signal(signal.SIGKILL)
    assert handle.get(timeout_ms=20_000).err_value.error_code is OperationalErrorCode.WORKER_CRASHED
