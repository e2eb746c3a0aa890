"""`horsies dev`: one command starts a complete system, reloads changed files, and leaves nothing behind."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from horsies.embedded.server import is_running
from tests.support.commands import horsies
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until

SEED = Path(__file__).parents[2] / "examples" / "seed" / "instance.py"
VARIABLE = "HORSIES_DEV_DATABASE_URL"


class Dev:
    """`horsies dev` with the app of the seed page in an otherwise empty folder."""

    def __init__(self, folder: Path) -> None:
        shutil.copy(SEED, folder)
        self.folder = folder
        self.file = folder / "instance.py"
        self.terminal = Terminal(["dev", "instance:app"], folder)

    def ready(self, times: int = 1) -> None:
        wait_until(lambda: self.terminal.seen().count("worker.ready") >= times, 50, self.terminal.seen)

    def send(self) -> str:
        url = self.terminal.wait_for(rf"export {VARIABLE}=(\S+)")[1]
        done = horsies(
            self.folder, "send", "instance:app", "add_numbers", "5", "3", "--wait", "--timeout=20", **{VARIABLE: url}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def edit(self, before: str, after: str) -> None:
        text = self.file.read_text()
        assert before in text
        self.file.write_text(text.replace(before, after))


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    started = Dev(tmp_path)
    try:
        yield started
    finally:
        started.terminal.close()


@pytest.mark.timeout(180)
def test_one_command_starts_a_system_that_reloads_changed_files(dev: Dev) -> None:
    """The app names a server that does not exist. Ctrl-C in the terminal stops everything, including the database."""
    dev.ready()
    first, *others = dev.terminal.seen().splitlines()
    assert first == "dev: using the embedded PostgreSQL in .horsies/pg"
    assert [line for line in others if "not used" in line] == []  # the log names the URL that is not used
    ignored = dev.terminal.wait_for(r"database\.url_ignored .*")[0]
    assert "url=postgresql+psycopg://user:***@localhost:5432/mydb" in ignored
    assert f"because='{VARIABLE} is set'" in ignored.replace('"', "'")
    assert dev.send() == "8"
    assert "task.finished task=add_numbers" in dev.terminal.seen()

    dev.edit("a + b", "a * b")
    dev.ready(times=2)
    assert dev.send() == "15"

    dev.edit("a * b", "a * ")
    dev.terminal.wait_for(r"worker\.waiting")
    assert "SyntaxError" in dev.terminal.seen()
    dev.edit("a * ", "a - b")
    dev.ready(times=3)
    assert dev.send() == "2"

    assert is_running(dev.folder / ".horsies" / "pg")
    dev.terminal.type("\x03")
    assert dev.terminal.wait() == 0
    dev.terminal.assert_gone()
    wait_until(lambda: not is_running(dev.folder / ".horsies" / "pg"), 20, "the end of the server")
    assert "password" not in dev.terminal.seen()


@pytest.mark.timeout(120)
def test_a_long_task_does_not_delay_a_reload(dev: Dev) -> None:
    dev.file.write_text(
        f"{dev.file.read_text()}\n\n@app.task('sleep')\ndef sleep() -> TaskResult[int, TaskError]:\n"
        "    import time\n    time.sleep(60)\n    return TaskResult(ok=1)\n"
    )
    dev.ready()
    url = dev.terminal.wait_for(rf"export {VARIABLE}=(\S+)")[1]
    assert horsies(dev.folder, "send", "instance:app", "sleep", **{VARIABLE: url}).returncode == 0
    wait_until(
        lambda: "RUNNING" in horsies(dev.folder, "tasks", "list", "instance:app", **{VARIABLE: url}).stdout, 20, "start"
    )
    ready, started = dev.terminal.seen().count("worker.ready"), time.monotonic()
    dev.edit("time.sleep(60)", "time.sleep(0)")
    dev.ready(times=ready + 1)
    assert time.monotonic() - started < 15  # and not 60
    listed = horsies(dev.folder, "tasks", "list", "instance:app", **{VARIABLE: url}).stdout
    assert "WORKER_CRASHED" in listed


@pytest.mark.parametrize("locator", ["nowhere:app", "shop:ap", "shop:Horsies"])
def test_a_locator_that_no_change_of_a_file_can_fix_ends_it(tmp_path: Path, locator: str) -> None:
    (tmp_path / "shop.py").write_text("from horsies import *\napp = Horsies(AppConfig())\n")
    done = horsies(tmp_path, "worker", locator, "--reload")
    assert done.returncode == 1
    assert "error[HRS-207]: " in done.stderr
    assert "worker.waiting" not in done.stderr


def test_a_worker_that_reloads_is_ended_from_its_terminal_while_the_app_is_broken(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("app = (\n")
    terminal = Terminal(["worker", "broken:app", "--reload"], tmp_path)
    try:
        terminal.wait_for(r"worker\.waiting")
        assert "SyntaxError" in terminal.seen()
        terminal.type("\x03")
        assert terminal.wait() == 130
        terminal.assert_gone()
    finally:
        terminal.close()
