"""`horsies db repair`, and where the doctor and `check --live` name it."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from horsies.db import sqlfiles
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.sessions import Session, column, open_session, scalar
from tests.support.workers import HORSIES, clean_environment

LATEST = max(sqlfiles.migrations())
COMMAND = "horsies db repair MODULE:APP"
APP = """\
import os
from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult

broker = PostgresConfig(
    database_url=os.environ["HORSIES_DATABASE_URL"],
    schema=os.environ.get("SCHEMA", "horsies"),
    auto_migrate="MIGRATE" in os.environ,
)
app = Horsies(AppConfig(broker=broker))


@app.task("ship_order")
def ship_order(order: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=order)


app.discover_tasks(["orders"])
"""
_TRUNCATE = """
    do $$ begin
        execute (select 'truncate ' || string_agg(format('{horsies}.%I', relname), ', ') from pg_class
                 where relnamespace = to_regnamespace('{horsies}') and relkind in ('r', 'p'));
    end $$
"""


class Shop:
    """An app on a database whose schema is damaged by the test."""

    def __init__(self, folder: Path, session: Session, url: str) -> None:
        self.folder = folder
        self.session = session
        self.url = url

    def run(self, *args: str, answer: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command with an answer on standard input."""
        return subprocess.run(
            [HORSIES, *args],
            cwd=self.folder,
            env=clean_environment(**{URL_VARIABLE: self.url}, **env),
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )

    def repair(self, *args: str, answer: str = "", **env: str) -> tuple[int, str]:
        done = self.run("db", "repair", "orders:app", *args, answer=answer, **env)
        return done.returncode, done.stdout + done.stderr

    def doctor(self, **env: str) -> str:
        return self.run("doctor", "orders:app", **env).stdout

    def check(self, **env: str) -> tuple[int, str]:
        done = self.run("check", "orders:app", "--live", "-q", **env)
        return done.returncode, done.stderr

    def send(self, **env: str) -> int:
        return self.run("send", "orders:app", "ship_order", "1", **env).returncode


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Shop:
    """See `Shop`."""
    (tmp_path / "orders.py").write_text(APP)
    with open_session(database_url) as session:
        yield Shop(tmp_path, session, database_url)


def test_a_sound_schema_needs_no_repair(shop: Shop) -> None:
    assert shop.repair() == (0, "nothing has to be repaired\n")
    assert COMMAND not in shop.doctor()
    assert shop.check() == (0, "")


def test_the_command_shows_its_plan_and_asks(shop: Shop) -> None:
    shop.session.execute(_TRUNCATE)
    code, shown = shop.repair(answer="n\n")
    assert code == 1
    assert shown.startswith(
        "found:  the row of `schema_version` is missing, after TRUNCATE or in a dump without data\n"
    )
    assert f"action: insert it again: version {LATEST}, known from the comment on the table\n" in shown
    assert "repair the schema 'horsies' at postgresql://" in shown
    assert column(shop.session, "select version from horsies.schema_version") == []
    code, shown = shop.repair(answer="y\n")
    assert (code, "done:   insert it again" in shown) == (0, True)
    assert column(shop.session, "select version from horsies.schema_version") == [LATEST]
    assert shop.repair() == (0, "nothing has to be repaired\n")


def test_emptied_tables_are_named_and_work(shop: Shop) -> None:
    shop.session.execute(_TRUNCATE)
    assert "the row of `schema_version` is missing" in shop.doctor()
    assert COMMAND in shop.doctor()
    code, shown = shop.check()
    assert (code, "horsies db repair MODULE:APP" in shown) == (1, True)
    assert shop.send() == 0
    assert column(shop.session, "select version from horsies.schema_version") == []  # without auto_migrate
    assert shop.send(MIGRATE="1") == 0
    assert column(shop.session, "select version from horsies.schema_version") == [LATEST]
    assert shop.check()[0] == 0


def test_a_renamed_schema_is_named_and_repaired(shop: Shop) -> None:
    shop.session.execute(b"alter schema horsies rename to jobs")
    for shown in (shop.doctor(), shop.check()[1], shop.check(MIGRATE="1")[1]):
        assert "it was renamed to 'jobs'" in shown
        assert COMMAND in shown
    assert shop.send(MIGRATE="1") == 1
    assert scalar(shop.session, "select to_regnamespace('horsies') is null")
    code, shown = shop.repair("--yes")
    assert code == 0, shown
    assert shop.send() == 0


def test_an_app_with_the_new_name_of_a_renamed_schema_needs_a_migration(shop: Shop) -> None:
    shop.session.execute(b"alter schema horsies rename to jobs")
    code, shown = shop.check(SCHEMA="jobs")
    assert code == 1
    assert "`horsies db migrate` renews them" in shown
    code, shown = shop.repair("--yes", SCHEMA="jobs")
    assert (code, "done:   migrate the schema" in shown) == (0, True)
    assert shop.send(SCHEMA="jobs") == 0
    assert shop.check(SCHEMA="jobs") == (0, "")


def test_a_version_that_is_not_recorded_is_named_and_repaired(shop: Shop) -> None:
    shop.session.execute(_TRUNCATE)
    shop.session.execute("comment on table horsies.schema_version is null")
    for shown in (shop.doctor(), shop.check()[1], shop.check(MIGRATE="1")[1]):
        assert "its version is not recorded" in shown
        assert COMMAND in shown
    code, shown = shop.repair("--yes")
    assert (code, f"done:   record version {LATEST}" in shown) == (0, True)
    assert shop.send() == 0


def test_changed_functions_are_named_and_repaired(shop: Shop) -> None:
    shop.session.execute("drop function horsies.task_result(uuid)")
    assert "these differ from this release: function task_result" in shop.doctor()
    assert COMMAND in shop.doctor()
    assert shop.repair("--yes")[0] == 0
    assert COMMAND not in shop.doctor()


def test_what_cannot_be_repaired_is_an_error(shop: Shop) -> None:
    shop.session.execute("drop schema horsies cascade")
    code, shown = shop.repair("--yes")
    assert (code, "not there yet; `horsies db migrate` creates it" in shown) == (1, True)


def test_a_worker_whose_tables_are_emptied_goes_on(environment: Environment) -> None:
    worker = environment.ready_worker(TEST_HEARTBEAT_MS="1000")
    while True:  # until it is not the victim of a deadlock with statements of the worker
        try:
            environment.session.execute(_TRUNCATE)
            break
        except psycopg.errors.DeadlockDetected:
            continue
    worker.wait_for_log(r"worker\.fenced")
    assert environment.send("ok", "after").get(timeout_ms=20_000).is_ok()
    assert worker.stop() == 0
