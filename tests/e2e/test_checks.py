"""`horsies check` and `app.check`: all mistakes at once, each with its line, without any database access."""

import json
import re
import subprocess
import textwrap
import uuid
from pathlib import Path

import pytest

from horsies.db.rights import Kind, grant_sql
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker, request, send
from tests.support.server import PASSWORD
from tests.support.sessions import open_session
from tests.support.workers import HORSIES, clean_environment

HEAD = """\
import functools
from horsies import AppConfig, Horsies, Ok, PostgresConfig, RetryPolicy, TaskError, TaskResult

app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://me:hunter2@127.0.0.1:1/jobs")))
type Number = TaskResult[int, TaskError]


def logged(fn):
    return functools.wraps(fn)(lambda *args: fn(*args))


"""
MISTAKES = [
    ("HRS-100", "@app.task('a')  # !\ndef a(): ..."),
    ("HRS-101", "@app.task('b')  # !\ndef b() -> int: ..."),
    ("HRS-102", "@app.task('c', good_until=None)  # !\ndef c() -> TaskResult[int, TaskError]: ..."),
    ("HRS-102", "@app.task('d', retry_policy={'max_retries': 3})  # !\ndef d() -> TaskResult[int, TaskError]: ..."),
    ("HRS-103", "@app.task('e', queue_name='mail')  # !\ndef e() -> TaskResult[int, TaskError]: ..."),
    ("HRS-104", "@app.task('f')  # !\n@logged\ndef f() -> TaskResult[int, TaskError]: ..."),
    ("HRS-105", "@app.task('g')  # !\ndef g(place: 'Socket') -> TaskResult[int, TaskError]: ..."),
    ("HRS-209", "@app.task('h', exception_mapper={'Oh': 'NO'})  # !\ndef h() -> TaskResult[int, TaskError]: ..."),
    (
        "HRS-212",
        "@app.task('i', default_unhandled_error_code='BROKER_ERROR')  # !\ndef i() -> TaskResult[int, TaskError]: ...",
    ),
    ("HRS-214", "@app.on_child_process_start  # !\nasync def j(): ..."),
    ("HRS-301", "@app.task('good')  # !\ndef k() -> TaskResult[int, TaskError]: ..."),
    ("HRS-102", "RetryPolicy.fixed([1, 2], auto_retry_for=[ValueError])  # !"),
]
GOOD = "@app.task('good')\ndef good() -> TaskResult[int, TaskError]:\n    return TaskResult(ok=1)\n"


def write(folder: Path, name: str, *parts: str) -> list[int]:
    """Write a module; return the lines that are marked as wrong."""
    text = "\n\n".join(parts) + "\n"
    (folder / name).write_text(text)
    return [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# !")]


def test_a_module_with_twelve_mistakes_reports_twelve(tmp_path: Path) -> None:
    lines = write(tmp_path, "shop.py", HEAD + GOOD, *(source for _, source in MISTAKES))
    done = horsies(tmp_path, "check", "shop:app", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    expected = [(code, str(tmp_path / "shop.py"), line) for (code, _), line in zip(MISTAKES, lines, strict=True)]
    assert [(error["code"], error["file"], error["line"]) for error in found] == expected
    assert all(error["message"] for error in found)
    shown = horsies(tmp_path, "check", "shop:app")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert re.findall(r"^ *--> shop\.py:(\d+)$", shown.stderr, re.MULTILINE) == [str(line) for line in lines]
    assert shown.stderr.endswith(f"\nerror: {len(MISTAKES)} errors\n")
    assert "hunter2" not in done.stdout + shown.stderr


def test_modules_that_are_discovered_are_checked_as_well(tmp_path: Path) -> None:
    write(tmp_path, "shop.py", HEAD + GOOD, "app.discover_tasks(['first', 'missing', 'second.py'])", MISTAKES[0][1])
    write(tmp_path, "first.py", "from shop import *", *(source for _, source in MISTAKES[1:3]))
    write(tmp_path, "second.py", "from shop import *", MISTAKES[4][1], "1 / 0  # !")
    done = horsies(tmp_path, "check", "shop:app", "--json")
    found = [(error["code"], Path(error["file"] or "").name) for error in json.loads(done.stdout)]
    assert found == [
        ("HRS-100", "shop.py"),
        ("HRS-101", "first.py"),
        ("HRS-102", "first.py"),
        ("HRS-103", "second.py"),
        ("HRS-210", ""),
        ("HRS-210", "second.py"),
    ]


def test_a_send_at_import_is_suppressed_and_a_warning_with_its_place(tmp_path: Path) -> None:
    """The database does not exist. The module of the app and a discovered one send tasks and start runs."""
    write(tmp_path, "shop.py", HEAD + GOOD, "app.discover_tasks(['shop', 'sends'])", "good.schedule(5)")
    start = "from shop import app; app.workflow('nightly', [good.node()()], definition_key='n.v1').start()"
    write(tmp_path, "sends.py", "from shop import good", "print(good.send().err_value.code)", start)
    done = horsies(tmp_path, "check", "shop:app")
    assert (done.returncode, done.stdout) == (0, "ok: 1 task, 1 workflow, 0 schedules\n")
    assert done.stderr.startswith(
        "SEND_SUPPRESSED\nwarning[HRS-305]: task 'good' is sent while its module is imported\n"
    )
    assert "warning[HRS-305]: workflow 'nightly' is started while its module is imported\n" in done.stderr
    assert "_failed" not in done.stderr
    found = json.loads(horsies(tmp_path, "check", "shop:app", "--json").stdout)
    assert [(each["severity"], each["code"], Path(each["file"]).name) for each in found] == [
        ("warning", "HRS-305", name) for name in ("shop.py", "sends.py", "sends.py")
    ]
    for each in found:
        text = Path(each["file"]).read_text().splitlines()[each["line"] - 1]
        assert ".send()" in text or ".schedule(" in text or ".start()" in text


def test_an_import_that_stops_says_that_there_may_be_more(tmp_path: Path) -> None:
    """Every error that ends an import says so, wherever it was raised; collected errors do not."""
    write(tmp_path, "shop.py", HEAD + GOOD, "app.discover_tasks(['policy', 'crash', 'tasks'])")
    policy = "from horsies import RetryPolicy; RetryPolicy.fixed([0], auto_retry_for=['A'])"
    write(tmp_path, "policy.py", policy, "RetryPolicy.fixed([60], auto_retry_for=[])")
    write(tmp_path, "crash.py", "from horsies import AppConfig", "1 / 0", "AppConfig(prefetch_buffer=-1)")
    write(tmp_path, "tasks.py", "from shop import *", MISTAKES[0][1])
    found = json.loads(horsies(tmp_path, "check", "shop:app", "--json").stdout)
    assert sorted((each["code"], each["notes"][-1:]) for each in found) == [
        ("HRS-100", []),
        ("HRS-102", ["the import of 'policy' stopped at this error: there may be more errors below it"]),
        ("HRS-210", ["the import of 'crash' stopped at this error: there may be more errors below it"]),
    ]
    [policy] = [each["message"] for each in found if each["code"] == "HRS-102"]
    assert policy.startswith("invalid RetryPolicy: ")
    at_home = horsies(tmp_path, "check", "crash")
    assert "note: the import of 'crash' stopped at this error: there may be more errors below it" in at_home.stderr
    assert "stopped at this error" not in horsies(tmp_path, "check", "sohp:app").stderr


def test_a_correct_app_is_summarized_without_a_database(tmp_path: Path) -> None:
    """The database does not exist."""
    write(tmp_path, "shop.py", HEAD + GOOD)
    done = horsies(tmp_path, "check", "shop:app")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ok: 1 task, 0 workflows, 0 schedules\n"
    for quiet in ("-q", "--quiet"):
        assert horsies(tmp_path, "check", "shop:app", quiet).stdout == ""
    assert horsies(tmp_path, "check", "shop:app", "--json").stdout == "[]\n"


COUNTED = """
from horsies import *

daily = TaskSchedule(name="daily", task_name="load", pattern=DailySchedule(time=__import__("datetime").time(3)))
app = Horsies(AppConfig(schedule=ScheduleConfig(schedules=[daily])))


@app.task("load")
def load() -> TaskResult[int, TaskError]:
    return TaskResult(ok=1)


@app.task("save")
def save(value: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=value)


class Import(WorkflowDefinition[int]):
    name = "import"
    definition_key = "import.v1"
    first = load.node()()

    class Meta:
        output = "first"


class Export(WorkflowDefinition[int]):
    name = "export"
    definition_key = "export.v1"
    first = load.node()()

    class Meta:
        output = "first"

    @classmethod
    def build_with(cls, app, value: int):
        return cls.build(app)


@app.workflow_builder(cases=[{"value": 1}, {"value": 2}])
def reports(value: int) -> WorkflowSpec:
    return app.workflow("report", [save.node(node_id="save")(value)], definition_key="report.v1")


app.workflow("nightly", [load.node()()], definition_key="nightly.v1")
"""


def test_it_counts_tasks_workflows_of_every_kind_and_schedules(tmp_path: Path) -> None:
    write(tmp_path, "shop.py", COUNTED)
    done = horsies(tmp_path, "check", "shop:app")
    assert (done.returncode, done.stdout) == (0, "ok: 2 tasks, 4 workflows, 1 schedule\n"), done.stderr


def test_an_import_that_fails_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "shop.py", HEAD, MISTAKES[0][1], "AppConfig(prefetch_buffer=-1)  # !")
    done = horsies(tmp_path, "check", "shop:app", "--json")
    assert [error["code"] for error in json.loads(done.stdout)] == ["HRS-100", "HRS-202"]
    assert [error["code"] for error in json.loads(horsies(tmp_path, "check", "sohp:app", "--json").stdout)] == [
        "HRS-207"
    ]


@pytest.mark.parametrize("command", [["worker"], ["send"]])
def test_a_worker_and_a_sender_refuse_a_wrong_app(tmp_path: Path, command: list[str]) -> None:
    write(tmp_path, "shop.py", HEAD + GOOD, *(source for _, source in MISTAKES))
    done = horsies(tmp_path, *command, "shop:app", *(["good"] if command == ["send"] else []))
    assert done.returncode == 1
    assert done.stderr.endswith(f"\nerror: {len(MISTAKES)} errors\n")


def test_in_a_program_mistakes_are_raised_and_a_check_is_a_list(tmp_path: Path) -> None:
    write(tmp_path, "wrong.py", HEAD, MISTAKES[0][1])
    write(tmp_path, "shop.py", HEAD + GOOD, "app.discover_tasks(['later'])")
    write(tmp_path, "later.py", "from shop import *", MISTAKES[1][1])
    program = """
        from horsies import HorsiesError
        import shop
        try:
            import wrong
        except HorsiesError as error:
            print(error.code)
        print([error.code.value for error in shop.app.check()], [error.code.value for error in shop.app.check()])
    """
    (tmp_path / "main.py").write_text(textwrap.dedent(program))
    python = HORSIES.with_name("python")
    done = subprocess.run(
        [python, "main.py"], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "HRS-100\n['HRS-101'] ['HRS-101']\n"


LIVE = """
import os
from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult

app = Horsies(AppConfig(broker=PostgresConfig(auto_migrate=bool(os.environ.get("MIGRATE")))))


@app.task("send_mail")
def send_mail() -> TaskResult[int, TaskError]:
    return TaskResult(ok=1)
"""


def live(folder: Path, url: str, *options: str, **env: str) -> tuple[int, str]:
    (folder / "live.py").write_text(LIVE)
    done = horsies(folder, "check", "live:app", "--live", "--quiet", *options, **{URL_VARIABLE: url, **env})
    assert not done.stdout
    return done.returncode, done.stderr


def test_live_finds_tasks_that_wait_in_vain(tmp_path: Path, database_url: str) -> None:
    assert live(tmp_path, database_url) == (0, "")
    with open_session(database_url) as session:
        send(session, request(name="send_mial"))
        send(session, request(name="send_mial"))
        send(session, request(name="send_mail"))
        send(session, request(name="of_another_app"))
        DrivenWorker(session, names=["of_another_app"])
    code, said = live(tmp_path, database_url)
    assert code == 1
    assert said.startswith("error[HRS-300]: 2 tasks wait in queue 'default' as 'send_mial', which neither")
    assert "note: the app has 'send_mail'" in said
    assert said.count("error[") == 1


def test_live_checks_the_schema_and_changes_nothing(tmp_path: Path, empty_database_url: str) -> None:
    code, said = live(tmp_path, empty_database_url)
    assert code == 1
    assert "error[HRS-211]" in said
    assert "is not there yet; `horsies db migrate` creates it" in said
    assert live(tmp_path, empty_database_url, MIGRATE="1") == (0, "")  # the worker will create it
    with open_session(empty_database_url) as session:
        assert session.execute("select to_regnamespace('horsies')").fetchone() == (None,)


def test_live_checks_the_rights(tmp_path: Path, tcp_database_url: str) -> None:
    role = f"limited_{uuid.uuid4().hex}"
    limited = re.sub(r"//[^:]+:", f"//{role}:", tcp_database_url)
    with open_session(tcp_database_url) as session:
        session.execute(f"create role {role} login password '{PASSWORD}'".encode())
        try:
            code, said = live(tmp_path, limited)
            assert code == 1
            assert f"the role '{role}' lacks usage on schema horsies, execute on " in said
            assert f"horsies db grant MODULE:APP --worker {role}" in said
            session.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.PRODUCER]).encode())
            assert live(tmp_path, limited) == (0, "")  # a producer is not told of a worker's needs
            assert "execute on" in live(tmp_path, limited, "--for", "worker")[1]
            session.execute(grant_sql(DEFAULT_SCHEMA, role, [Kind.WORKER]).encode())
            assert live(tmp_path, limited, "--for", "worker") == (0, "")
        finally:
            session.execute(f"drop owned by {role}".encode())
            session.execute(f"drop role {role}".encode())


def test_live_reports_an_unreachable_database(tmp_path: Path) -> None:
    code, said = live(tmp_path, "postgresql://me:hunter2@127.0.0.1:1/jobs")
    assert code == 1
    assert "the database postgresql://me:***@127.0.0.1:1/jobs cannot be used" in said
    assert "hunter2" not in said
