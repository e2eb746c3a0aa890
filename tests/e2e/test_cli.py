"""The command line, on a real database and with real workers."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from horsies import TaskStatus
from horsies.version import __version__
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.sessions import SCHEMA_VARIABLE, scalar
from tests.support.workers import HORSIES, WorkerProcess

SHOP = """
import os
from horsies import AppConfig, CustomQueueConfig, Horsies, PostgresConfig, TaskError, TaskResult

app = Horsies(AppConfig(
    broker=PostgresConfig(
        database_url=os.environ["HORSIES_DATABASE_URL"], schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies")
    ),
    queue_mode="custom",
    custom_queues=[
        CustomQueueConfig(name="mail", priority=1, max_concurrency=None),
        CustomQueueConfig(name="reports", priority=2, max_concurrency=None),
    ],
))


@app.task("mail", queue_name="mail")
def mail(to: str, copies: int = 1) -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"{copies} to {to}")


@app.task("report", queue_name="reports")
def report(numbers: list[float], title: str | None = None) -> TaskResult[dict[str, float | str | None], TaskError]:
    return TaskResult(ok={"title": title, "sum": sum(numbers)})


@app.task("refuse", queue_name="mail")
def refuse(message: str = "today", until: str = "monday") -> TaskResult[int, TaskError]:
    return TaskResult(err=TaskError(error_code="SHUT", message=f"not {message}", data={"until": until}))
"""


class Shop:
    """A folder with an app in ``shop.py``, and its database."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.env = {URL_VARIABLE: environment.url}
        (environment.folder / "shop.py").write_text(SHOP)

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return horsies(self.environment.folder, *args, **{**self.env, **env})

    def worker(self, *args: str, app: str = "shop:app", **env: str) -> WorkerProcess:
        worker = self.environment.worker(*args, app=app, **env)
        worker.wait_until_ready()
        return worker


@pytest.fixture
def shop(environment: Environment) -> Shop:
    return Shop(environment)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_send_prints_the_id_of_the_task(shop: Shop) -> None:
    task_id = said(shop.run("send", "shop:app", "mail", "ann"))
    row = shop.environment.session.execute(
        "select id, task_name, queue, priority, args::text from horsies.tasks"
    ).fetchall()
    assert row == [(UUID(task_id), "mail", "mail", 1, '{"to":"ann"}')]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["mail", "ann"], "1 to ann"),
        (["mail", "ann", "2"], "2 to ann"),
        (["mail", "5", "--json", '{"copies": 3}'], "3 to 5"),
        (["mail", "--json", '{"to": "bob", "copies": 4}'], "4 to bob"),
        (["report", "--", "[-1, 2.5]"], {"title": None, "sum": 1.5}),
        (["report", "[1e3]", "null"], {"title": None, "sum": 1000.0}),
    ],
)
def test_send_and_wait_prints_the_result(shop: Shop, args: list[str], expected: object) -> None:
    shop.worker()
    assert json.loads(said(shop.run("send", "--wait", "shop:app", *args))) == expected


def test_send_and_wait_prints_the_error(shop: Shop) -> None:
    shop.worker()
    done = shop.run("send", "shop:app", "refuse", "--wait", "--timeout=30")
    assert done.returncode == 1
    assert "SHUT: not today" in done.stderr
    assert 'data: {"until": "monday"}' in done.stderr
    assert not done.stdout


def test_send_and_wait_escapes_control_characters(shop: Shop) -> None:
    shop.worker()
    hostile = "\u202etxt.exe\u009b31m"
    printed = said(shop.run("send", "shop:app", "mail", hostile, "--wait", "--timeout=30"))
    assert printed.isprintable()
    assert json.loads(printed) == f"1 to {hostile}"
    failed = shop.run("send", "shop:app", "refuse", hostile, hostile, "--wait", "--timeout=30")
    assert failed.stderr.startswith("task ")
    assert r"SHUT: not \u202etxt.exe\x9b31m" in failed.stderr
    assert r'data: {"until": "\u202etxt.exe\u009b31m"}' in failed.stderr


def test_a_wait_that_times_out_does_not_stop_the_task(shop: Shop) -> None:
    done = shop.run("send", "shop:app", "mail", "ann", "--wait", "--timeout=0.5")
    assert done.returncode == 1
    assert "WAIT_TIMEOUT" in done.stderr
    assert shop.environment.live_tasks("PENDING") == 1


def test_send_can_delay(shop: Shop) -> None:
    said(shop.run("send", "shop:app", "mail", "ann", "--delay=90.5"))
    delay = "select extract(epoch from run_at - sent_at)::float from horsies.tasks"
    assert scalar(shop.environment.session, delay) == 90.5


def test_a_negative_number_follows_two_dashes(environment: Environment) -> None:
    (environment.folder / "minus.py").write_text(
        "from mixed_tasks import app\nfrom horsies import TaskError, TaskResult\n\n\n"
        "@app.task('subtract')\ndef subtract(a: int, b: int) -> TaskResult[int, TaskError]:\n"
        "    return TaskResult(ok=a - b)\n"
    )
    worker = environment.worker(app="minus:app")
    worker.wait_until_ready()
    done = horsies(
        environment.folder,
        "send",
        "minus:app",
        "subtract",
        "--wait",
        "--",
        "-5",
        "-3",
        HORSIES_DATABASE_URL=environment.url,
    )
    assert said(done) == "-2"


def test_the_schema_is_created_shown_and_left_unchanged(shop: Shop, empty_database_url: str) -> None:
    def db(*args: str) -> subprocess.CompletedProcess[str]:
        return shop.run("db", *args, HORSIES_DATABASE_URL=empty_database_url)

    missing = db("status")
    assert (missing.returncode, "not there yet" in missing.stdout) == (1, True)
    assert json.loads(db("status", "--json").stdout)["current"] == 0
    assert said(db("migrate", "shop:app")).startswith("applied: 0001")
    assert said(db("migrate")) == "the schema is up to date"
    assert "up to date" in said(db("status", "shop:app"))
    assert json.loads(said(db("status", "--json")))["is_current"] is True


def test_the_printed_sql_makes_the_same_schema(shop: Shop, empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as session:
        session.execute(said(shop.run("db", "sql")).encode())
    assert "up to date" in said(shop.run("db", "status", HORSIES_DATABASE_URL=empty_database_url))
    shop.worker(HORSIES_DATABASE_URL=empty_database_url)
    sent = shop.run("send", "shop:app", "mail", "ann", "--wait", HORSIES_DATABASE_URL=empty_database_url)
    assert said(sent) == '"1 to ann"'


@pytest.mark.parametrize("schema", ['Ünusual "name", quoted', "select"])
def test_a_schema_name_that_needs_quotes_works_from_end_to_end(shop: Shop, schema: str) -> None:
    """It works in tables, functions and channels, and in producers, workers and the command line."""
    env = {SCHEMA_VARIABLE: schema}
    assert said(shop.run("db", "migrate", "shop:app", **env)).startswith("applied: 0001")
    worker = shop.worker("--processes=2", **env)
    for title in ("first", "second"):
        result = said(shop.run("send", "shop:app", "report", "[1, 2]", title, "--wait", "--timeout=30", **env))
        assert json.loads(result) == {"title": title, "sum": 3.0}
    worker.children()[0].kill()
    assert said(shop.run("send", "shop:app", "mail", "ann", "--wait", "--timeout=30", **env)) == '"1 to ann"'
    assert worker.stop() == 0
    assert scalar(shop.environment.session, "select count(*) from horsies.history") == 0  # nothing strayed


def test_a_worker_takes_its_app_from_a_file_and_its_queues_from_a_list(shop: Shop) -> None:
    folder = shop.environment.folder / "some folder"
    folder.mkdir()
    (folder / "shop_tasks.py").write_text(SHOP)
    worker = shop.worker("--queues=mail", app="some folder/shop_tasks.py:app")
    report = said(shop.run("send", "shop:app", "report", "[1]"))
    assert said(shop.run("send", "shop:app", "mail", "ann", "--wait")) == '"1 to ann"'
    assert (
        scalar(shop.environment.session, "select status from horsies.tasks where id = %s", report) == TaskStatus.PENDING
    )
    assert re.search(r"worker\.starting .*queues=mail ", worker.log())
    shop.worker("--queues=reports, mail")
    shop.environment.wait_until_all_ended()
    assert shop.environment.ended()["report", "COMPLETED", None] == 1


def test_tasks_of_the_highest_priority_start_first(shop: Shop) -> None:
    for n in range(3):
        said(shop.run("send", "shop:app", "report", "[1]", str(n)))
    said(shop.run("send", "shop:app", "mail", "ann"))
    shop.worker("--max-claim-batch=1")
    shop.environment.wait_until_all_ended()
    order = shop.environment.session.execute("select task_name from horsies.history order by finished_at").fetchall()
    assert order == [("mail",), ("report",), ("report",), ("report",)]


def lines_of(worker: WorkerProcess) -> list[Mapping[str, object]]:
    return [json.loads(line) for line in worker.log().splitlines()]


def test_the_log_can_be_json_line_by_line(shop: Shop) -> None:
    (shop.environment.folder / "talkative.py").write_text(
        "import logging\nfrom shop import app\nfrom horsies import TaskError, TaskResult\n\n\n"
        "@app.task('talk', queue_name='mail')\ndef talk() -> TaskResult[None, TaskError]:\n"
        "    try:\n        1 / 0\n    except ZeroDivisionError:\n"
        "        logging.getLogger('talk').exception('two\\nlines of %s', 'text')\n"
        "    return TaskResult(ok=None)\n"
    )
    worker = shop.worker("--log-format=json", app="talkative:app")
    assert said(shop.run("send", "talkative:app", "talk", "--wait")) == "null"
    worker.children()[0].kill()
    worker.wait_for_log("child.died")
    assert worker.stop() == 0
    lines = lines_of(worker)
    assert all({"time", "level", "event"} <= line.keys() for line in lines)
    assert {"worker.starting", "worker.ready", "child.died", "worker.stopped"} <= {line["event"] for line in lines}
    [own] = [line for line in lines if line["logger"] == "talk"]
    assert own["event"] == "two\nlines of text"
    assert "ZeroDivisionError" in str(own["traceback"])


def test_the_log_level_applies(shop: Shop) -> None:
    worker = shop.environment.worker("--loglevel=warning", app="shop:app")
    assert said(shop.run("send", "shop:app", "mail", "ann", "--wait")) == '"1 to ann"'
    assert worker.stop() == 0
    assert worker.log() == ""


def test_the_banner_masks_the_password(shop: Shop, tcp_database_url: str) -> None:
    worker = shop.worker("--processes=2", "--concurrency=3", HORSIES_DATABASE_URL=tcp_database_url)
    banner = worker.wait_for_log(r".*worker\.starting.*")[0]
    for part in (
        "app=shop",
        f"version={__version__}",
        "tester:***@",
        "queues=mail,reports",
        "processes=2",
        "concurrency=3",
    ):
        assert part in banner
    assert "tasks=mail,refuse,report" in banner
    assert "correct-horse" not in worker.log()


def test_version_and_help(tmp_path: Path) -> None:
    assert said(horsies(tmp_path, "--version")) == f"horsies {__version__}"
    for command in ([], ["worker"], ["send"], ["db"], ["db", "migrate"]):
        assert said(horsies(tmp_path, *command, "--help")).startswith("Usage: horsies")


def test_a_custom_entry_point_runs_a_worker(shop: Shop) -> None:
    (shop.environment.folder / "main.py").write_text(
        "import sys\nfrom shop import app\n\nif __name__ == '__main__':\n    sys.exit(app.worker(processes=2).run())\n"
    )
    python = HORSIES.with_name("python")
    worker = WorkerProcess(["main.py"], shop.environment.folder, shop.env, python)
    try:
        worker.wait_until_ready()
        assert said(shop.run("send", "shop:app", "mail", "ann", "--wait")) == '"1 to ann"'
        assert len(worker.children()) == 2
        assert worker.stop() == 0
        worker.assert_gone()
    finally:
        worker.kill_all()
