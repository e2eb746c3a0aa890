"""The testing kit in projects of users: pytest with plugins, and unittest. Nothing remains after a run."""

from pathlib import Path

import psycopg
import pytest

from horsies.testing import databases
from tests.support.kit_projects import STRICT, run

LOOP = ("-o", "asyncio_default_fixture_loop_scope=function")


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
