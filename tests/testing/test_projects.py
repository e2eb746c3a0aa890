"""The testing kit in projects of users: pytest with plugins, and unittest. Nothing remains after a run."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from horsies.testing import databases
from tests.support.waiting import wait_until
from tests.support.workers import clean_environment

PROJECT = Path(__file__).with_name("project")
STRICT = ("-q", "-p", "no:cacheprovider", "-W", "error")
LOOP = ("-o", "asyncio_default_fixture_loop_scope=function")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project, outside of the folders with our own settings of pytest."""
    return shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))


def run(folder: Path, *command: str, code: int = 0, **env: str) -> str:
    """Run a module of Python in the project, and return its output. Afterwards nothing of it may remain."""
    environment = clean_environment(PYTHONDONTWRITEBYTECODE="1", **env)
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output, _ = started.communicate(timeout=100)
    assert started.returncode == code, output
    wait_until(lambda: not remains(started.pid), 20, lambda: f"the end of {remains(started.pid)}")
    return output


def remains(pid: int) -> list[str]:
    """The data folders and the processes that a run has left behind."""
    left = [str(home) for home in databases._data_folder().glob(f"{databases._PREFIX}{pid}-*")]
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if f"{databases._PREFIX}{pid}-" in line:
            left.append(line)
    return left


@pytest.mark.timeout(120)
def test_xdist_shares_a_server(project: Path) -> None:
    assert "24 passed" in run(project, "pytest", *STRICT, "-p", "no:asyncio", "-n", "4", "many.py")


@pytest.mark.timeout(120)
def test_pytest_asyncio(project: Path) -> None:
    assert "4 passed" in run(project, "pytest", *STRICT, *LOOP, "with_asyncio.py")


@pytest.mark.timeout(120)
def test_anyio(project: Path) -> None:
    assert "1 passed" in run(project, "pytest", *STRICT, "-p", "no:asyncio", "with_anyio.py")


@pytest.mark.timeout(120)
def test_unittest(project: Path) -> None:
    assert "Ran 4 tests" in run(project, "unittest", "with_unittest")


@pytest.mark.timeout(120)
def test_the_report_of_a_failed_test_has_the_log_of_its_worker(project: Path) -> None:
    output = run(project, "pytest", *STRICT, "-p", "no:asyncio", "failing.py", code=1)
    assert "log of horsies worker" in output
    assert "worker.ready" in output


@pytest.mark.timeout(120)
def test_many_tests_leave_nothing_on_an_external_server(project: Path, tcp_database_url: str) -> None:
    output = run(
        project, "pytest", *STRICT, "-p", "no:asyncio", "-n", "2", "many.py", HORSIES_TEST_DATABASE_URL=tcp_database_url
    )
    assert "24 passed" in output
    with psycopg.connect(tcp_database_url) as session:
        like = f"{databases._PREFIX.replace('-', '_')}%"
        assert session.execute("select datname from pg_database where datname like %s", (like,)).fetchall() == []
        sessions = "select count(*) from pg_stat_activity where application_name = 'horsies-testing'"
        assert session.execute(sessions).fetchone() == (0,)
