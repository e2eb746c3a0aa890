"""A release that changes the table of tasks is rolled out while a long transaction reads that table."""

import shutil
import subprocess
from pathlib import Path

import horsies
from horsies.db import sqlfiles
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.sessions import open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, clean_environment

_IS_WAITING = """
    select exists (
        select from pg_locks l
        where l.relation = '{horsies}.tasks'::regclass and l.mode = 'AccessExclusiveLock' and not l.granted)
"""


def next_release(folder: Path) -> Path:
    """Copy the package into a folder, and add a migration that adds a column to the table of tasks."""
    package = folder / "horsies"
    shutil.copytree(Path(horsies.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    number = max(sqlfiles.migrations()) + 1
    statement = "alter table horsies.tasks add column note text;\n"
    (package / f"db/sql/migrations/{number:04}_note.sql").write_text(statement)
    return folder


def test_tasks_are_sent_and_run_while_the_migration_waits(environment: Environment, tmp_path: Path) -> None:
    environment.ready_worker()
    release = next_release(tmp_path / "next")
    with open_session(environment.url) as reader, reader.transaction():
        reader.execute("select count(*) from horsies.tasks")
        with subprocess.Popen(
            [HORSIES, "db", "migrate", "mixed_tasks:app"],
            cwd=tmp_path,
            env=clean_environment(**{URL_VARIABLE: environment.url, "PYTHONPATH": str(release)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as migration:
            for number in range(3):
                wait_until(lambda: scalar(environment.session, _IS_WAITING), describe="the migration to wait")
                assert environment.send("ok", f"{number}").get(timeout_ms=20_000).is_ok()
            assert migration.poll() is None
            reader.execute("commit")
            shown, _ = migration.communicate(timeout=60)
    assert migration.returncode == 0, shown
    assert shown == f"applied: {max(sqlfiles.migrations()) + 1:04}, functions\n"
