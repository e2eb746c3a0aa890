"""`horsies top` without a terminal: one frame, or one JSON document."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Mapping

import pytest

from tests.support import runs
from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker, ended_task, request, send
from tests.support.proxy import Proxy
from tests.support.shell import Shell
from tests.support.workers import HORSIES, clean_environment

LONG = "a_rather_long_name_of_a_task_" * 4


def frame(shell: Shell, *args: str, **env: str) -> str:
    inherited = {name: value for name, value in clean_environment().items() if name != "COLUMNS"}
    ended = subprocess.run(
        [HORSIES, "top", *args],
        cwd=shell.folder,
        env=inherited | {URL_VARIABLE: shell.url, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.fixture
def busy(shell: Shell) -> Mapping[str, str]:
    """Fill the database with a bit of everything."""
    assert DrivenWorker(shell.session)
    ended = ended_task(shell.session)
    lost = send(shell.session, request(name="lost"))
    send(shell.session, request(name=LONG))
    run = runs.start(shell.session, runs.node())
    return {"worker": "host-1/worker", "ended": str(ended), "lost": str(lost), "run": str(run)}


def test_a_pipe_gets_one_frame_without_colours(shell: Shell, busy: Mapping[str, str]) -> None:
    text = frame(shell)
    assert "\x1b" not in text
    for part in ("CRITICAL", "1 task lost in queue default cannot run", "WHY TASKS WAIT", "Queues", "Latest tasks"):
        assert part in text
    assert busy["worker"] in text
    assert busy["run"] in text
    assert max(map(len, text.splitlines())) <= 120
    assert frame(shell, "--once").splitlines()[2:4] == text.splitlines()[2:4]


@pytest.mark.parametrize("columns", [60, 80, 250])
def test_the_frame_fits_the_width(shell: Shell, busy: Mapping[str, str], columns: int) -> None:
    text = frame(shell, COLUMNS=str(columns))
    assert busy
    assert max(map(len, text.splitlines())) <= columns
    assert ("CLOCK" in text) is (columns == 250)
    assert "a_rather_long" in text


def test_the_tasks_are_those_of_the_filter(shell: Shell, busy: Mapping[str, str]) -> None:
    (shell.folder / "shop.py").write_text("from horsies import *\napp = Horsies(AppConfig())\n")
    text = frame(shell, "shop:app", "task:lost")
    assert "Tasks that match task:lost" in text
    assert busy["ended"] not in text
    document = json.loads(frame(shell, "shop:app", "task:lost", "--json"))
    assert [each["task_id"] for each in document["tasks"]] == [busy["lost"]]
    assert document["filter"] == "task:lost"


def test_json_has_the_answers_of_monitoring(shell: Shell, busy: Mapping[str, str]) -> None:
    document = json.loads(frame(shell, "--json"))
    assert set(document) == {
        "as_of",
        "filter",
        "problems",
        "queues",
        "workers",
        "waiting_reasons",
        "throughput",
        "errors",
        "runs",
        "tasks",
        "next_before",
    }
    [worker] = document["workers"]
    assert worker["process_name"] == busy["worker"]
    assert {each["queue_name"] for each in document["queues"]} == {"default"}
    assert {each["reason"] for each in document["waiting_reasons"]} >= {"no_worker"}
    assert document["problems"][0]["severity"] == "critical"
    assert [each["run_id"] for each in document["runs"]] == [busy["run"]]
    assert busy["ended"] in [each["task_id"] for each in document["tasks"]]


def test_a_mistake_in_the_filter_is_shown(shell: Shell) -> None:
    (shell.folder / "shop.py").write_text("from horsies import *\napp = Horsies(AppConfig())\n")
    refused = shell.run("top", "shop:app", "status:faild", code=1)
    assert "did you mean 'failed'?" in refused.stderr
    assert "^^^^^" in refused.stderr


@pytest.mark.parametrize("option", ["--once", "--json", "--enable-actions"])
def test_actions_need_a_terminal(shell: Shell, option: str) -> None:
    refused = shell.run("top", *dict.fromkeys([option, "--enable-actions"]), code=1)
    assert "HRS-206" in refused.stderr
    assert "--enable-actions is for the view in a terminal" in refused.stderr


def test_a_database_that_cannot_be_used_is_refused(shell: Shell, proxy: Proxy, tcp_database_url: str) -> None:
    proxy.refuse()
    shell.url, answering = proxy.url(tcp_database_url), shell.url
    assert "HRS-211" in shell.run("top", "--once", code=1).stderr
    shell.url = answering
    shell.session.execute("alter schema horsies rename to moved")
    refused = shell.run("top", "--json", code=1)
    assert "horsies db migrate" in refused.stderr


def test_no_color_in_a_terminal(shell: Shell, busy: Mapping[str, str]) -> None:
    assert busy
    colors = re.compile(rb"\x1b\[[0-9;]*3[0-7]m")
    assert colors.search(in_terminal(shell))
    assert not colors.search(in_terminal(shell, NO_COLOR="1"))


def in_terminal(shell: Shell, **env: str) -> bytes:
    """Run the command in a pseudo-terminal, and return its output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [HORSIES, "top", "--once"],
        cwd=shell.folder,
        env=clean_environment(TERM="xterm", COLUMNS="100", **{URL_VARIABLE: shell.url}, **env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            seen += chunk
    except OSError:  # Linux: the other side is closed
        os.close(ours)
    assert process.wait(50) == 0, seen
    return seen


def test_an_encoding_without_blocks_gets_no_chart(shell: Shell, busy: Mapping[str, str]) -> None:
    assert busy
    text = frame(shell, PYTHONIOENCODING="ascii")
    assert text.isascii()
    assert "WHY TASKS WAIT" in text
