"""Mistakes of users on the command line, in modules and in database settings: a clear error without secrets."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.server import Server, database_name, with_database
from tests.support.workers import WorkerProcess

SECRET = "hunter2"
NOBODY_HOME = f"postgresql://me:{SECRET}@127.0.0.1:1/jobs"

APP = """
from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult

app = Horsies(AppConfig())


@app.task("add_numbers")
def add_numbers(a: int, b: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "instance.py").write_text(APP)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "mod.py").write_text(APP)
    (tmp_path / "two.py").write_text(f"{APP}\nother = Horsies(AppConfig())\n")
    (tmp_path / "none.py").write_text("import instance\n")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "tasks list",
        "workers",
        "schedules list",
        "workflows list",
        "send strict:app add_numbers 1 2",
        "worker strict:app --loglevel=error",
    ],
)
def test_without_a_schema_the_command_that_creates_it_is_named(
    project: Path, empty_database_url: str, command: str
) -> None:
    strict = "AppConfig(broker=PostgresConfig(auto_migrate=False))"
    (project / "strict.py").write_text(APP.replace("AppConfig())", f"{strict})"))
    done = horsies(project, *command.split(), **{URL_VARIABLE: empty_database_url})
    check_refused(done, "HRS-211", "help: create the schema, or bring it up to date: horsies db migrate")


def check_refused(done: subprocess.CompletedProcess[str], code: str, *says: str) -> None:
    """Require exit code 1 and a rendered error with a code, without a traceback and secrets."""
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"error[{code}]: "), done.stderr
    assert [part for part in says if part not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("worker instanec:app", "HRS-207", "did you mean instance?"),
        ("worker instance:ap", "HRS-207", "did you mean instance:app?"),
        ("send instance:add_numbers add_numbers 1 2", "HRS-207", "not a Horsies app"),
        ("worker pkg.mod.py:app", "HRS-207", "write pkg.mod:app"),
        ("send pkg/mode.py:app add_numbers 1 2", "HRS-207", "did you mean pkg/mod.py:app?"),
        ("worker two", "HRS-206", "two:app, two:other"),
        ("db migrate none", "HRS-206", "no Horsies app"),
        ("worker :app", "HRS-207", "MODULE:APP"),
    ],
)
def test_a_wrong_locator_is_refused_with_the_right_one(project: Path, command: str, code: str, says: str) -> None:
    check_refused(horsies(project, *command.split()), code, says)


@pytest.mark.parametrize(
    ("app", "source", "says"),
    [
        ("broken:app", "import os\n\n1 / 0\n", ["broken.py:3", "1 / 0", "ZeroDivisionError: division by zero"]),
        ("fine:app", "import os\n\n1 / 0\n", ["broken.py:3", "1 / 0", "ZeroDivisionError: division by zero"]),
        ("broken:app", "import nothing_of_that_name\n", ["broken.py:1", "No module named 'nothing_of_that_name'"]),
        ("fine:app", "def f(:\n", ["broken.py:1", "SyntaxError"]),
        ("broken:app", "import sys\nsys.exit('bye')\n", ["broken.py:2", "SystemExit: bye"]),
        ("fine:app", f"\nraise OSError('postgresql://me:{SECRET}@host/db')\n", ["broken.py:2", "OSError"]),
        ("fine:app", "import json\n\njson.loads('x')\n", ["broken.py:3", "JSONDecodeError"]),
    ],
)
def test_a_module_that_raises_is_named_with_the_users_line(
    project: Path, app: str, source: str, says: list[str]
) -> None:
    """The module of the app, or a module with tasks."""
    (project / "broken.py").write_text(source)
    (project / "fine.py").write_text(f"{APP}\napp.discover_tasks(['broken'])\n")
    check_refused(horsies(project, "worker", app), "HRS-210", *says)


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        (
            "import threading\nthreading.Timer(60, print).start()\nthreading.enumerate()[-1].name = 'ticker'",
            "HRS-210",
            ["left threads running: ticker"],
        ),
        (
            "import os\nos._exit(3)",
            "HRS-210",
            ["the process that imports the app exited with code 3 during the import"],
        ),
        ("@app.task('add_numbers')\ndef again() -> TaskResult[int, TaskError]: ...", "HRS-301", ["add_numbers"]),
        ("@app.task('mute')\ndef mute(): ...", "HRS-100", ["mute", "fine.py:"]),
        ("@app.task('lost', queue_name='mail')\ndef lost() -> TaskResult[int, TaskError]: ...", "HRS-103", ["mail"]),
        ("app.discover_tasks(['not_there'])", "HRS-210", ["not_there"]),
    ],
)
def test_an_app_that_cannot_be_served_is_refused(project: Path, source: str, code: str, says: list[str]) -> None:
    (project / "fine.py").write_text(f"{APP}\n{source}\n")
    worker = WorkerProcess(["worker", "fine:app"], project, {URL_VARIABLE: NOBODY_HOME})
    try:
        assert worker.wait() == 1
        worker.assert_gone()
    finally:
        worker.kill_all()
    assert f"error[{code}]: " in worker.log()
    assert [part for part in says if part not in worker.log()] == [], worker.log()
    assert "Traceback" not in worker.log()


def test_an_unknown_queue_is_refused_with_those_there_are(project: Path) -> None:
    done = horsies(project, "worker", "instance:app", "--queues=mail,default", HORSIES_DATABASE_URL=NOBODY_HOME)
    check_refused(done, "HRS-206", "'mail'", "its queues are default")


@pytest.mark.parametrize(
    ("command", "variable", "url"),
    [
        ("worker instance:app", "HORSIES_DATABASE_URL", f"mysql://me:{SECRET}@host/jobs"),
        ("db migrate", "DATABASE_URL", f"mysql+asyncpg://me:{SECRET}@host/jobs"),
        ("send instance:app add_numbers 1 2", "HORSIES_DATABASE_URL", f"postgresql://me:{SECRET}@host:port/jobs"),
        ("worker instance:app", "DATABASE_URL", "jobs"),
    ],
)
def test_a_wrong_url_in_the_environment_is_refused_with_the_variable(
    project: Path, command: str, variable: str, url: str
) -> None:
    check_refused(horsies(project, *command.split(), **{variable: url}), "HRS-203", variable)


@pytest.mark.parametrize("command", ["send instance:app add_numbers 1 2", "db migrate"])
def test_a_command_without_a_database_says_so(project: Path, command: str) -> None:
    done = horsies(project, *command.split(), HORSIES_DATABASE_URL=NOBODY_HOME)
    check_refused(done, "HRS-211", "postgresql://me:***@127.0.0.1:1/jobs", "refused")


def test_a_worker_without_a_database_waits_and_says_why(project: Path) -> None:
    worker = WorkerProcess(["worker", "instance:app"], project, {URL_VARIABLE: NOBODY_HOME})
    try:
        worker.wait_for_log(r"(?s)connection\.retrying .*refused.*retry_in_s=0\.5.*connection\.retrying .*retry_in_s=1")
        assert "postgresql://me:***@127.0.0.1:1/jobs" in worker.log()
        assert SECRET not in worker.log()
        assert worker.stop() == 0
        worker.assert_gone()
    finally:
        worker.kill_all()


def wrong_urls(tcp_url: str) -> dict[str, str]:
    """Return URLs with which no connection can ever succeed."""
    place = urlsplit(tcp_url)
    host = f"{place.hostname}:{place.port}"
    return {
        "a wrong password": f"postgresql://tester:{SECRET}@{host}{place.path}",
        "an unknown user": f"postgresql://nobody:{SECRET}@{host}{place.path}",
        "no such database": with_database(tcp_url, "no_such_database"),
    }


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        ("worker instance:app", "a wrong password"),
        ("worker instance:app", "an unknown user"),
        ("worker instance:app", "no such database"),
        ("send instance:app add_numbers 1 2", "a wrong password"),
        ("send instance:app add_numbers 1 2", "no such database"),
        ("db migrate", "a wrong password"),
        ("db status instance:app", "no such database"),
    ],
)
def test_an_error_that_waiting_cannot_fix_ends_the_command(
    project: Path, tcp_database_url: str, command: str, mistake: str
) -> None:
    url = wrong_urls(tcp_database_url)[mistake]
    done = horsies(project, *command.split(), HORSIES_DATABASE_URL=url)
    assert done.returncode == 1
    error = done.stderr[done.stderr.index("error[HRS-211]: ") :]
    expected = "no_such_database" if mistake == "no such database" else "authentication failed"
    assert expected in error
    assert "cannot be used" in error
    assert "correct-horse" not in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_newer_schema_is_refused(project: Path, environment: Environment) -> None:
    environment.session.execute(b"update horsies.schema_version set version = 999")
    before = environment.session.execute(b"select * from horsies.schema_version").fetchall()
    for command in ("worker instance:app", "send instance:app add_numbers 1 2", "db migrate"):
        done = horsies(project, *command.split(), HORSIES_DATABASE_URL=environment.url)
        assert done.returncode == 1
        assert re.search(r"version 999.*newer horsies.*upgrade horsies", done.stderr), done.stderr
        assert "Traceback" not in done.stderr
    status = horsies(project, "db", "status", HORSIES_DATABASE_URL=environment.url)
    assert status.returncode == 1
    assert "version 999, made by a newer horsies" in status.stdout
    error = environment.tasks.ok.send("refused").unwrap_err()
    assert (str(error.code), error.retryable) == ("ENQUEUE_FAILED", False)
    assert "version 999" in error.message
    assert environment.session.execute(b"select * from horsies.schema_version").fetchall() == before


def test_a_missing_schema_that_cannot_be_created_is_named(
    project: Path, server: Server, empty_database_url: str
) -> None:
    fixed = APP.replace("AppConfig()", "AppConfig(broker=PostgresConfig(auto_migrate=False))")
    (project / "fixed.py").write_text(fixed)
    done = horsies(project, "worker", "fixed:app", HORSIES_DATABASE_URL=empty_database_url)
    assert done.returncode == 1
    assert "horsies db migrate" in done.stderr
    with psycopg.connect(server.database_url(database_name(empty_database_url))) as session:
        assert session.execute("select from pg_namespace where nspname = 'horsies'").fetchone() is None


def test_missing_rights_are_reported(project: Path, server: Server, tcp_database_url: str) -> None:
    name = f"guest_{database_name(tcp_database_url)}"
    with server.connect() as admin:
        admin.execute(f"create role {name} login password '{SECRET}'".encode())
    try:
        url = urlsplit(tcp_database_url)
        as_guest = url._replace(netloc=f"{name}:{SECRET}@{url.hostname}:{url.port}").geturl()
        done = horsies(project, "worker", "instance:app", HORSIES_DATABASE_URL=as_guest)
    finally:
        with server.connect() as admin:
            admin.execute(f"drop role {name}".encode())
    assert done.returncode == 1
    assert "error[HRS-211]" in done.stderr
    assert f"horsies db grant MODULE:APP --worker {name}" in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr


def test_children_that_cannot_start_end_the_worker(environment: Environment) -> None:
    source = "import os\nfrom mixed_tasks import app\n\nos.register_at_fork(after_in_child=lambda: os._exit(5))\n"
    (environment.folder / "stillborn.py").write_text(source)
    worker = environment.worker("--processes=2", app="stillborn:app")
    assert worker.wait() == 1
    worker.assert_gone()
    assert "children keep dying before they can take work; the last one exited with code 5" in worker.log()
    assert "Traceback" not in worker.log()


def test_a_worker_leaves_unknown_tasks_to_others(environment: Environment) -> None:
    source = "from horsies import AppConfig, Horsies, TaskError, TaskResult\n\napp = Horsies(AppConfig())\n\n\n"
    task = "@app.task('measure')\ndef measure(value: float) -> TaskResult[float, TaskError]:\n    return TaskResult(ok=-value)\n"
    (environment.folder / "other.py").write_text(source + task)
    stranger = environment.worker(app="other:app")
    stranger.wait_until_ready()
    unknown = environment.send("ok", "unknown")
    assert environment.send("measure", 1.0).get(timeout_ms=20_000).ok_value == -1.0
    assert environment.live_tasks("PENDING") == 1
    environment.ready_worker()
    assert unknown.get(timeout_ms=20_000).ok_value == "done unknown"


def test_a_send_at_import_is_suppressed_in_a_worker(environment: Environment) -> None:
    send = "error = ok.send('at import').unwrap_err()\nprint(error.code, error.message)"
    source = f"from mixed_tasks import app, ok\n\n{send}\n"
    (environment.folder / "sends.py").write_text(source)
    worker = environment.worker(app="sends:app")
    worker.wait_until_ready()
    assert "SEND_SUPPRESSED ok was sent during the import of task modules" in worker.log()
    assert environment.send("ok", "at run time").get(timeout_ms=20_000).is_ok()
    assert set(environment.counts()) == {"at run time"}
