"""Every line of a shell block is run, or says here why it is not; terminals show what the documents show."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_documents import FOLLOWED
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.seed_page import SeedPage
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, clean_environment

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")}
    - {ROOT / "docs" / name for name in FOLLOWED}  # other tests run every line of them
)
BLOCK = re.compile(r"^```(?:sh|bash|shell|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```text\n\$ (horsies [^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    "horsies db grant": "needs roles of the server: tests/e2e/test_grants_cli.py",
    "horsies db revoke": "needs roles of the server: tests/e2e/test_grants_cli.py",
    "horsies keys pause": "needs a keyed queue: tests/e2e/test_keys_cli.py",
    "curl http://127.0.0.1:9464": "needs a worker with this very port: tests/e2e/test_metrics.py",
    "horsies workers instance:app --ping": "needs several workers: tests/e2e/test_ping_workers.py",
    "horsies metrics instance:app --port": "runs until it is stopped: tests/e2e/test_metrics_command.py",
    "horsies web": "runs until it is stopped: tests/e2e/test_web_command.py",
    "pip install": "needs a package registry",
    "pip wheel": "needs a package registry; tests/e2e/test_wheel.py builds a wheel without one",
    "python hello.py": "tests/e2e/test_seed_page.py, beside `horsies dev hello:app`",
    "make ": "sets up an environment, and runs these very tests",
    "horsies worker": "runs until it is stopped: below, and in tests/e2e",
    "horsies scheduler": "runs until it is stopped: tests/e2e",
    "horsies dev": "runs until it is stopped: below, and in tests/e2e",
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
APP = """
import datetime
import os
from horsies import *

config = AppConfig(
    broker=PostgresConfig(database_url=os.environ["HORSIES_DATABASE_URL"]),
    schedule=ScheduleConfig(schedules=[
        TaskSchedule(name="nightly-report", task_name="process_data", kwargs={"data": {}},
                     pattern=DailySchedule(time=datetime.time(3))),
    ]),
)
app = Horsies(config)
"""

START = """
from instance import add_numbers, app

spec = app.workflow("sum", [add_numbers.node(node_id="total")(1, 2)], definition_key="sum.v1")
print(spec.start().unwrap().workflow_id)
"""


def lines() -> list[str]:
    found = [line for page in PAGES for block in BLOCK.findall(page.read_text()) for line in block.splitlines()]
    return [line.split(" # ")[0].strip() for line in dict.fromkeys(found) if line and not line.startswith("#")]


def is_run(line: str) -> bool:
    return not line.startswith(tuple(NOT_RUN))


def test_every_line_is_run_or_has_a_reason() -> None:
    assert [line for line in lines() if is_run(line) and not line.startswith("horsies ")] == []
    assert len([line for line in lines() if is_run(line)]) > 15
    assert all(any(line.startswith(each) for line in lines()) for each in NOT_RUN)


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """The seed's app with a schedule, and a worker that serves it."""
    tasks = (ROOT / "examples" / "seed" / "instance.py").read_text().split("app = Horsies(config)\n")[1]
    (tmp_path / "instance.py").write_text(APP + tasks)
    env = {URL_VARIABLE: database_url}
    worker = WorkerProcess(["worker", "instance:app", "--scheduler"], tmp_path, env)
    try:
        worker.wait_until_ready()
        yield tmp_path, env
    finally:
        worker.kill_all()


def started(folder: Path, env: dict[str, str]) -> str:
    """The id of a run."""
    (folder / "runs.py").write_text(START)
    return subprocess.run(
        [sys.executable, "runs.py"],
        cwd=folder,
        env=clean_environment(**env),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.timeout(360)
def test_they_work(shop: tuple[Path, dict[str, str]]) -> None:
    folder, env = shop
    task_id = horsies(folder, "send", "instance:app", "add_numbers", "1", "2", **env).stdout.strip()
    run_id = started(folder, env)
    for line in filter(is_run, lines()):
        _, *arguments = shlex.split(UUID.sub(run_id if line.startswith("horsies workflows") else task_id, line))
        done = horsies(folder, *arguments, **env)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def plain(text: str) -> list[str]:
    """Lines without what differs each time: times, ids, paths, how long it took."""
    for pattern, name in (
        (r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "TIME"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
        (r"\d\d:\d\d:\d\d", "TIME"),
        (UUID.pattern, "ID"),
        (r"ms=[\d.]+", "MS"),
        (r"(embedded|postgresql)(\+psycopg)?://\S+", "URL"),
        (r" +", " "),
    ):
        text = re.sub(pattern, name, text)
    return [line.strip() for line in text.splitlines()]


def check_shown(command: str, screen: str) -> None:
    """Check that the screen contains the lines of a page in their order; lines of the page may be shortened."""
    pages = "\n".join(page.read_text() for page in PAGES)
    shown = next(text for shown_command, text in SHOWN.findall(pages) if shown_command == command)
    seen = iter(plain(screen))
    for line in plain(shown):
        assert any(each.startswith(line) for each in seen), f"{line!r} in:\n{screen}"


def test_every_terminal_that_is_shown_is_tested_here() -> None:
    commands = [command for page in PAGES for command, _ in SHOWN.findall(page.read_text())]
    source = Path(__file__).read_text()
    assert len(commands) >= 5
    assert all(f'"{command}"' in source for command in commands)


@pytest.mark.timeout(120)
def test_the_terminal_of_a_worker_and_of_the_list(tmp_path: Path, tcp_database_url: str) -> None:
    SeedPage(tmp_path, tcp_database_url)
    command = "horsies worker instance:app --processes=8 --loglevel=INFO"
    terminal = Terminal(command.split()[1:], tmp_path)
    try:
        terminal.wait_for(r"worker\.ready")
        sent = horsies(tmp_path, "send", "instance:app", "add_numbers", "5", "3", "--wait")
        assert sent.stdout == "8\n"
        check_shown("horsies worker instance:app --processes=8 --loglevel=INFO", terminal.seen())
        listing = Terminal(["tasks", "list", "instance:app"], tmp_path)
        assert listing.wait() == 0
        check_shown("horsies tasks list instance:app", listing.seen())
        listing.close()
        terminal.type("\x03")
        assert terminal.wait() == 0
        terminal.assert_gone()
    finally:
        terminal.close()


@pytest.mark.timeout(120)
def test_the_terminals_of_check_and_why(tmp_path: Path, tcp_database_url: str) -> None:
    SeedPage(tmp_path, tcp_database_url)
    (tmp_path / "shop.py").write_text(
        "from horsies import AppConfig, Horsies, TaskError, TaskResult\n\napp = Horsies(AppConfig())\n\n\n"
        '@app.task("mail", queue_name="letters")\n'
        "def mail(to: str) -> TaskResult[None, TaskError]:\n    return TaskResult(ok=None)\n"
    )
    task_id = horsies(tmp_path, "send", "instance:app", "add_numbers", "5", "3").stdout.strip()
    example = "horsies why instance:app 01a21493-dc84-7783-8612-41e5905921fd"
    for command, code in ((example, 0), ("horsies check shop:app", 1)):
        terminal = Terminal(UUID.sub(task_id, command).split()[1:], tmp_path)
        assert terminal.wait() == code
        check_shown(command, terminal.seen())
        terminal.close()


@pytest.mark.timeout(120)
def test_the_terminal_of_dev(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "seed" / "instance.py", tmp_path)
    terminal = Terminal(["dev", "instance:app"], tmp_path)
    try:
        terminal.wait_for(r"worker\.ready", 60)
        url = terminal.wait_for(r"export HORSIES_DEV_DATABASE_URL=(\S+)")[1]
        horsies(tmp_path, "send", "instance:app", "add_numbers", "5", "3", HORSIES_DEV_DATABASE_URL=url)
        terminal.wait_for(r"task\.finished")
        (tmp_path / "instance.py").write_text((tmp_path / "instance.py").read_text() + "\n")
        wait_until(lambda: terminal.seen().count("worker.ready") == 2, 30, terminal.seen)
        check_shown("horsies dev instance:app", terminal.seen())
        terminal.type("\x03")
        assert terminal.wait() == 0
        terminal.assert_gone()
    finally:
        terminal.close()
