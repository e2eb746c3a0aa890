"""Tasks that are sent from SQL: an idle worker starts them at the commit, and the doctor compares app versions."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.sessions import SCHEMA, Session, column, scalar
from tests.support.shell import Shell
from tests.support.waiting import wait_until

TASKS = Path(__file__).with_name("sql_tasks.py")
APP = "sql_tasks:app"
RESULTS = "select result from horsies.history order by id"
VERSIONS = "select app_version from horsies.declarations where is_current"


@pytest.fixture(autouse=True)
def _tasks(tmp_path: Path) -> None:
    shutil.copy(TASKS, tmp_path)


def worker(environment: Environment) -> None:
    environment.worker(app=APP, TEST_VERSION="1", HORSIES_TEST_SCHEMA=SCHEMA).wait_until_ready()


def send(session: Session, args: str) -> None:
    scalar(session, "select horsies.send('add', %s::text::json)", args)


def test_an_idle_worker_starts_tasks_at_the_commit(environment: Environment) -> None:
    worker(environment)
    session = environment.session
    with session.transaction():
        send(session, '{"a": 5, "b": 3}')
        send(session, r'{"a": 5, "note": "größe\u0000"}')
    wait_until(lambda: len(column(session, RESULTS)) == 2, describe="both results")
    assert [json.loads(each) for each in column(session, RESULTS)] == ["8 None", "7 'größe\\x00'"]


def test_the_doctor_shows_where_live_versions_differ(environment: Environment, shell: Shell) -> None:
    worker(environment)
    env = {URL_VARIABLE: shell.url, "TEST_VERSION": "2", "HORSIES_TEST_SCHEMA": SCHEMA}
    registered = horsies(shell.folder, "db", "register", APP, **env).stdout
    assert registered == f"registered in the schema {SCHEMA!r}: 1 task of the app version '2': add\n"
    assert column(environment.session, VERSIONS) == ["2"]
    [finding] = [each for each in shell.json("doctor", code=1) if each["look"] == "declarations"]
    assert finding["found"] == "add of 1 worker with 1 is not that of 2, which was registered last (time-out)"
    assert str(finding["fix"]).startswith("finish the rollout, or register the version that sends from SQL should use")


def test_tasks_can_be_registered_before_a_worker_runs(shell: Shell) -> None:
    shell.run("db", "register", APP)
    send(shell.session, '{"a": 1}')
    assert column(shell.session, "select task_name from horsies.tasks") == ["add"]
    (shell.folder / "broken.py").write_text('import sql_tasks\napp = sql_tasks.app\napp.discover_tasks(["missing"])\n')
    assert "missing" in shell.run("db", "register", "broken:app", code=1).stderr
