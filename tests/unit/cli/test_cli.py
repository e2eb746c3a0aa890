import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from horsies.cli.main import COMMANDS, load_command
from horsies.version import __version__

ROOT = Path(__file__).parents[3]
APP = """
from horsies.app import Horsies
from horsies.config.app import AppConfig, PostgresConfig
from horsies.task_result import TaskError, TaskResult

app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://me:hunter2@127.0.0.1:1/jobs", schema="mine")))


@app.task("add_numbers")
def add_numbers(a: int, b: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "instance.py").write_text(APP)
    return tmp_path


def horsies(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    start = f"import sys; sys.path[0] = {str(ROOT)!r}; from horsies.cli.main import main; main()"
    clean = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name and "COLOR" not in name}
    return subprocess.run(
        [sys.executable, "-c", start, *arguments],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "worker"]])
def test_the_version(tmp_path: Path, arguments: list[str]) -> None:
    done = horsies(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (0, f"horsies {__version__}\n")


def every_help() -> Iterator[tuple[str, str]]:
    """Yield each command with its help."""
    for name in COMMANDS:
        command = load_command(name)
        yield name, command.help
        for sub_name, sub_command in getattr(command, "commands", {}).items():
            yield f"{name} {sub_name}", sub_command.help


def test_every_help_has_an_example_on_one_line(tmp_path: Path) -> None:
    helps = dict(every_help())
    assert len(helps) > 12
    for command, text in {**helps, "worker": horsies(tmp_path, "worker", "--help").stdout}.items():
        [example, *_] = [line for line in text.splitlines() if "Example: " in line]
        assert example.split("Example: ")[1].startswith(f"horsies {command}"), command


def test_every_reading_command_has_json() -> None:
    acting = {"worker", "scheduler", "send", "dev", "db migrate", "db sql", "tasks cancel", "tasks rerun"}
    acting |= {"db repair", "db grant", "db revoke", "db register"}
    acting |= {"schedules pause", "schedules resume", "schedules run"}
    acting |= {"queues pause", "queues resume", "queues cap", "keys pause", "keys resume"}
    acting |= {"workflows pause", "workflows resume", "workflows cancel"}
    acting |= {"metrics", "web"}  # serve, or print what only programs read
    groups = {name.split()[0] for name, _ in every_help() if " " in name}
    for name in {name for name, _ in every_help()} - acting - groups:
        command = load_command(name.split()[0])
        reading = command.commands[name.split()[1]] if " " in name else command
        assert "--json" in [option for each in reading.params for option in each.opts], name


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["wroker"], "Did you mean 'worker'"),
        (["tasks", "lst"], "Did you mean 'list'?"),
        (["worker", "instance:app", "--proceses", "2"], "--processes"),
        (["tasks", "list", "--nam", "x"], "--name"),
    ],
)
def test_a_misspelling_gets_a_suggestion(tmp_path: Path, arguments: list[str], hint: str) -> None:
    done = horsies(tmp_path, *arguments)
    assert done.returncode == 2
    assert hint in done.stderr


@pytest.mark.parametrize(("typed", "offered"), [("horsies wo", ["worker", "workers"]), ("horsies tasks re", ["rerun"])])
def test_the_shell_completes(tmp_path: Path, typed: str, offered: list[str]) -> None:
    place = str(len(typed.split()) - 1)
    done = horsies(tmp_path, COMP_WORDS=typed, COMP_CWORD=place, _HORSIES_COMPLETE="complete_bash")
    assert set(offered) <= set(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["worker"],
        ["worker", "instance:app", "--processes", "0"],
        ["worker", "instance:app", "--concurrency", "x"],
        ["worker", "instance:app", "--loglevel", "LOUD"],
        ["worker", "instance:app", "--log-format", "xml"],
        ["worker", "instance:app", "--shutdown-timeout", "-1"],
        ["worker", "instance:app", "--max-tasks-per-child", "-1"],
        ["worker", "instance:app", "--max-memory-per-child-mb", "-1"],
        ["worker", "instance:app", "--max-memory-per-child-mb", "much"],
        ["worker", "instance:app", "--start-method", "thread"],
        ["worker", "instance:app", "--metrics-port", "65536"],
        ["send", "instance:app", "add_numbers", "1", "2", "--timeout", "3"],
        ["send", "instance:app", "add_numbers", "1", "2", "--delay", "-3"],
    ],
)
def test_wrong_usage_exits_with_2_and_a_reason(project: Path, arguments: list[str]) -> None:
    done = horsies(project, *arguments)
    assert done.returncode == 2
    assert "Usage: horsies" in done.stderr
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["db", "status", "instanec:app"], "HRS-207", "did you mean instance?"),
        (["worker", "instanec:app"], "HRS-207", "did you mean instance?"),
        (["send", "instance:ap", "add_numbers"], "HRS-207", "did you mean instance:app?"),
        (["send", "instance:app", "add_number", "1", "2"], "HRS-300", "did you mean 'add_numbers'?"),
        (["send", "instance:app", "add_numbers", "1", "two"], "HRS-206", "b: "),
        (["worker", "instance:app", "--queues", "mail"], "HRS-206", "its queues are default"),
        (
            ["db", "status", "--database-url", "mysql://me:hunter2@host"],
            "HRS-203",
            "--database-url has the unsupported scheme 'mysql'",
        ),
        (["db", "status", "instance:app", "--schema", "other"], "HRS-206", "not both"),
        (["db", "sql", "--schema", ""], "HRS-206", "--schema has 0 bytes"),
    ],
)
def test_an_error_of_the_program_exits_with_1_and_is_rendered(
    project: Path, arguments: list[str], code: str, expected: str
) -> None:
    done = horsies(project, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error[{code}]: ")
    assert expected in done.stderr
    assert done.stderr.endswith("\n")
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert not done.stdout


def test_a_database_option_takes_precedence_over_that_of_dev(tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/typed"
    done = horsies(tmp_path, "db", "status", "--database-url", url, HORSIES_DEV_DATABASE_URL="embedded:///nowhere")
    assert done.returncode == 1
    assert "the database postgresql://me:***@127.0.0.1:1/typed cannot be used" in done.stderr


def test_several_errors_are_shown_with_their_source(tmp_path: Path) -> None:
    source = "from horsies.config.app import AppConfig\n\nAppConfig(cluster_wide_cap=0, prefetch_buffer=-1)\n"
    (tmp_path / "instance.py").write_text(source)
    done = horsies(tmp_path, "db", "migrate", "instance:app")
    assert done.returncode == 1
    assert done.stderr.count("3 | AppConfig(cluster_wide_cap=0, prefetch_buffer=-1)") == 2
    assert " --> instance.py:3\n" in done.stderr
    assert done.stderr.endswith("\nerror: 2 errors\n")


def test_colour_when_asked_for(project: Path) -> None:
    assert "\x1b[" not in horsies(project, "db", "status", "nothing:app").stderr
    assert "\x1b[" in horsies(project, "db", "status", "nothing:app", HORSIES_FORCE_COLOR="1").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["db", "status", "instance:app"],
        ["db", "migrate", "instance:app"],
        ["send", "instance:app", "add_numbers", "1", "2"],
    ],
)
def test_a_database_out_of_reach_is_named_without_its_password(project: Path, arguments: list[str]) -> None:
    done = horsies(project, *arguments)
    assert done.returncode == 1
    assert "the database postgresql://me:***@127.0.0.1:1/jobs cannot be used" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_sql_needs_no_database(project: Path) -> None:
    of_the_app = horsies(project, "db", "sql", "instance:app")
    assert of_the_app.returncode == 0
    assert of_the_app.stdout == horsies(project, "db", "sql", "--schema", "mine").stdout
    assert 'create table "mine".tasks' in of_the_app.stdout


def test_ctrl_c_is_130_without_a_traceback(tmp_path: Path) -> None:
    source = f"import os\nimport signal\n\nos.kill(os.getpid(), signal.SIGINT)\n{APP}"
    (tmp_path / "instance.py").write_text(source)
    done = horsies(tmp_path, "db", "status", "instance:app")
    assert done.returncode == 128 + signal.SIGINT
    assert not done.stderr.strip()
