"""Commands that only read, with unusual text, times or streams: they show the data and do not fail."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker, define, failed, request, send
from tests.support.sessions import NOON
from tests.support.shell import Shell
from tests.support.workers import HORSIES, clean_environment

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202etxt.exe\u009b31m"


@pytest.fixture
def hostile(shell: Shell) -> UUID:
    """Create a task whose name, arguments and error contain control characters."""
    wanted = request(name=HOSTILE, queue=HOSTILE, args=json.dumps({"to": HOSTILE, "lone": "\ud800"}).encode())
    send(shell.session, wanted)
    worker = DrivenWorker(shell.session, queues=[HOSTILE], names=[HOSTILE])
    worker.finish(failed(worker.claim_one(), HOSTILE))
    worker.stop()
    send(shell.session, request(name=HOSTILE, queue=HOSTILE))
    define(shell.session, HOSTILE, due=NOON)
    return wanted.task_id


def test_control_characters_are_escaped(shell: Shell, hostile: UUID) -> None:
    for command in (
        ["tasks", "list"],
        ["tasks", "show", hostile],
        ["tasks", "show", hostile, "--json"],
        ["tasks", "list", "--json"],
        ["tasks", "list", f"--name={HOSTILE}x"],
        ["tasks", "rerun", f"--name={HOSTILE}", "--yes"],
        ["schedules", "list"],
        ["schedules", "list", "--json"],
        ["schedules", "pause", f"{HOSTILE}x"],
        ["why", hostile],
        ["doctor"],
        ["doctor", "--json"],
    ):
        ended = horsies(shell.folder, *map(str, command), **{URL_VARIABLE: shell.url})
        shown = ended.stdout + ended.stderr
        assert "Traceback" not in shown
        assert not {"\x1b", "\x07", "\u202e", "\u009b"} & set(shown), command
        assert "owned" in shown, command


def test_arguments_are_shown_unless_they_must_not_be(shell: Shell, hostile: UUID) -> None:
    shown = shell.run("tasks", "show", hostile).stdout
    assert r'"\u001b]0;owned' in shown
    assert r"\ud800" in shown
    found = json.loads(shell.run("tasks", "show", hostile, "--json").stdout)
    assert found["args"]["to"] == HOSTILE
    assert "args" not in shell.run("tasks", "show", hostile, "--no-args").stdout
    assert json.loads(shell.run("tasks", "show", hostile, "--no-args", "--json").stdout)["args"] is None


def test_the_data_of_an_error_is_shown(shell: Shell) -> None:
    task_id = send(shell.session)
    worker = DrivenWorker(shell.session)
    error = b'{"error_code":"SHUT","message":"not today","data":{"until":"monday"},"exception":null}'
    worker.finish(failed(worker.claim_one(), "SHUT")._replace(result=error))
    lines = shell.run("tasks", "show", str(task_id)).stdout.splitlines()
    assert ["data", '{"until": "monday"}'] in [line.split(maxsplit=1) for line in lines]


@pytest.mark.parametrize("hours", [-5, 0, 9])
def test_a_deadline_at_the_end_of_time_is_readable(shell: Shell, hours: int) -> None:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url=shell.url)))

    @app.task("add")
    def add(a: int) -> TaskResult[int, TaskError]:
        return TaskResult(ok=a)

    never = datetime.max.replace(tzinfo=timezone(timedelta(hours=hours)))
    handle = add.with_options(good_until=never).send(1).unwrap()
    info = handle.info().unwrap()
    app.close()
    assert info is not None
    assert info.good_until is not None
    assert info.good_until == datetime(9999, 12, 30, tzinfo=UTC)  # the latest that every time zone can show
    assert "9999-12-30" in shell.run("tasks", "show", handle.task_id).stdout
    assert shell.run("tasks", "list").returncode == 0
    assert shell.run("why", handle.task_id).returncode == 0


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_the_style_of_dates_of_the_database_does_not_matter(shell: Shell, style: str) -> None:
    task_id = send(shell.session)
    define(shell.session, due=NOON)
    DrivenWorker(shell.session)
    shell.session.execute(f"alter database \"{shell.session.info.dbname}\" set datestyle = '{style}'".encode())
    for command in (
        ["tasks", "show", task_id],
        ["schedules", "list"],
        ["workers"],
        ["doctor"],
        ["queues", "list", "a:app"],
    ):
        (shell.folder / "a.py").write_text("from horsies import *\napp = Horsies(AppConfig())\n")
        assert shell.run(*command).stdout


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_output_does_not_matter(shell: Shell, closed: str) -> None:
    task_id = send(shell.session)
    define(shell.session, due=NOON)
    for command in (f"tasks show {task_id}", "tasks list --json", "schedules list", "doctor", "--help"):
        ended = subprocess.run(
            ["sh", "-c", f"exec {HORSIES} {command} {closed}"],
            cwd=shell.folder,
            env=clean_environment(**{URL_VARIABLE: shell.url}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == (1 if command == "doctor" else 0), ended.stderr
        assert ended.stderr == ""


def test_an_encoding_with_few_characters_shows_escapes(shell: Shell) -> None:
    send(shell.session, request(name="žluťoučký"))
    env = {URL_VARIABLE: shell.url, "PYTHONIOENCODING": "ascii"}
    ended = horsies(shell.folder, "tasks", "list", **env)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"\u017elu\u0165ou\u010dk\xfd" in ended.stdout


def test_a_closed_pipe_ends_the_command_silently(shell: Shell) -> None:
    send(shell.session)
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [HORSIES, "tasks", "list", "--json"],
        cwd=shell.folder,
        env=clean_environment(**{URL_VARIABLE: shell.url}),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")
