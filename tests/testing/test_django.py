"""The testing kit in a project of Django: over Django's connection, in the transaction of a test."""

import shutil
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from horsies.db.sqlfiles import qualifier
from tests.docs.test_documents import ROOT, blocks
from tests.support.callers import OLDEST_FOR_DJANGO
from tests.support.kit_projects import run

PROJECT = Path(__file__).with_name("django_project")
PAGE = ROOT / "docs" / "testing.md"
VARIABLES = {"user": "PGUSER", "password": "PGPASSWORD", "host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE"}


@pytest.fixture
def django_env(tcp_database_url: str) -> dict[str, str]:
    """The variables with which the settings of the project name the database."""
    with psycopg.connect(tcp_database_url) as connection:
        if connection.info.server_version < OLDEST_FOR_DJANGO:
            pytest.skip("this Django needs a newer PostgreSQL")
    parts = conninfo_to_dict(tcp_database_url)
    return {variable: str(parts.get(name, "")) for name, variable in VARIABLES.items()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, with the test of the page docs/testing.md."""
    copy = shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    [shown] = [code for code in blocks(PAGE, "python") if "django" in code]
    (copy / "orders" / "test_page.py").write_text(shown)
    return copy


@pytest.mark.timeout(180)
@pytest.mark.parametrize("schema", ["horsies", 'My "odd" schema'])
def test_the_tests_of_a_project(project: Path, django_env: dict[str, str], schema: str) -> None:
    env = django_env | {"PROJECT_SCHEMA": schema}
    run(project, "manage", "makemigrations", "orders", **env)
    output = run(project, "manage", "test", "--pattern", "test*.py", "--keepdb", **env)
    assert "Ran 38 tests" in output
    with psycopg.connect(dbname=f"test_{env['PGDATABASE']}", **login(env), autocommit=True) as session:
        left = (
            f"select count(*) from {qualifier(schema)}.tasks union all select count(*) from {qualifier(schema)}.history"
        )
        assert session.execute(left.encode()).fetchall() == [(0,), (0,)]
    parallel = run(project, "manage", "test", "--pattern", "test*.py", "--no-input", "--parallel=2", **env)
    assert "Ran 38 tests" in parallel  # and deletes the test databases


def login(env: dict[str, str]) -> dict[str, str]:
    return {name: env[variable] for name, variable in VARIABLES.items() if name != "dbname"}
