"""The services of docs/fastapi.md and docs/django.md work when a reader copies their files and runs their commands."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docs.test_documents import ROOT, blocks
from tests.support.callers import OLDEST_FOR_DJANGO
from tests.support.workers import HORSIES, WorkerProcess, clean_environment

FILE = re.compile(r"^```python title=\"(?P<name>[^\"]+)\"\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
APPENDED = ", appended"
PLACE = "http://127.0.0.1:8000"


def write_files(page: Path, folder: Path) -> list[str]:
    """Write the files that a page shows, and return their names."""
    found = FILE.findall(page.read_text())
    for title, text in found:
        file = folder / title.removesuffix(APPENDED)
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() if title.endswith(APPENDED) else ""
        file.write_text(before + text)
    return [title for title, _ in found]


def lines(page: Path) -> list[str]:
    """The command lines of a page."""
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def run(line: str, folder: Path, **env: str) -> str:
    """Run a command line of a page in a folder, with the programs of this environment, and return its output."""
    program, *arguments = shlex.split(line)
    path = f"{HORSIES.parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(PATH=path, PYTHONDONTWRITEBYTECODE="1", **env)
    done = subprocess.run(
        [HORSIES.with_name(program) if HORSIES.with_name(program).exists() else program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[WorkerProcess]]:
    """Processes that are killed in the end."""
    started: list[WorkerProcess] = []
    yield started
    for process in started:
        process.kill_all()


def start(line: str, page: Path, folder: Path, env: Mapping[str, str], *more: str) -> WorkerProcess:
    """Start a command line of a page that runs until it is stopped."""
    assert line in lines(page)
    program, *arguments = shlex.split(line)
    return WorkerProcess([*arguments, *more], folder, env, HORSIES.with_name(program))


FASTAPI = ROOT / "docs" / "fastapi.md"


@pytest.mark.timeout(180)
def test_the_service_of_the_fastapi_page_answers_as_shown(
    tmp_path: Path, tcp_database_url: str, processes: list[WorkerProcess]
) -> None:
    write_files(FASTAPI, tmp_path)
    env = {"DATABASE_URL": tcp_database_url}
    worker = start("horsies worker shop.tasks:queue --processes=4", FASTAPI, tmp_path, env)
    processes.append(worker)
    server = start("uvicorn shop.web:create_app --factory", FASTAPI, tmp_path, env, "--port=0")
    processes.append(server)
    worker.wait_until_ready()
    server.wait_for_log("startup complete")
    place = server.wait_for_log(r"running on (http://\S+)")[1]
    requests = [line for line in lines(FASTAPI) if line.startswith("curl ")]
    answers = [run(line.replace(PLACE, place), tmp_path) for line in requests]
    [shown] = blocks(FASTAPI, "text")
    assert answers == shown.splitlines()
    assert worker.stop() == 0
    server.stop()
    assert "shutdown complete" in server.log()


@pytest.mark.timeout(180)
def test_the_tests_of_the_fastapi_page_pass(tmp_path: Path, tcp_database_url: str) -> None:
    names = write_files(FASTAPI, tmp_path)
    assert names == ["shop/tasks.py", "shop/web.py", "tests/test_orders.py"]
    for line in lines(FASTAPI):
        if line.startswith(("horsies db", "horsies check", "python -m pytest")):
            run(line, tmp_path, DATABASE_URL=tcp_database_url)


DJANGO = ROOT / "docs" / "django.md"


@pytest.mark.timeout(240)
def test_the_project_of_the_django_page_works(
    tmp_path: Path, tcp_database_url: str, processes: list[WorkerProcess]
) -> None:
    with psycopg.connect(tcp_database_url) as connection:
        if connection.info.server_version < OLDEST_FOR_DJANGO:
            pytest.skip("this Django needs a newer PostgreSQL")
    parts = conninfo_to_dict(tcp_database_url)
    env = {f"PG{name.upper()}": str(parts[name]) for name in ("user", "password", "host", "port")}
    env |= {"PGDATABASE": str(parts["dbname"])}
    commands = [line for line in lines(DJANGO) if not line.startswith("pip ")]
    assert commands[1] == "python manage.py startapp orders"
    for line in commands[:2]:
        run(line, tmp_path, **env)
    write_files(DJANGO, tmp_path)
    worker_line = "horsies worker config.worker:queue --processes=4"
    for line in commands[2:]:
        if line == worker_line:
            processes.append(start(line, DJANGO, tmp_path, env))
            processes[0].wait_until_ready()
        else:
            run(line, tmp_path, **env)
    assert processes[0].stop() == 0


@pytest.mark.parametrize(("page", "project", "number"), [(FASTAPI, "fastapi/shop", 3), (DJANGO, "django/config", 1)])
def test_the_pages_show_parts_of_the_examples(page: Path, project: str, number: int) -> None:
    section = page.read_text().partition("## Show the queue to your staff")[2].partition("\n## ")[0]
    shown = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    files = [file.read_text() for file in (ROOT / "examples" / project).glob("*.py")]
    assert len(shown) == number
    for part in shown:
        assert any(part in file for file in files), f"this is not in examples/{project}:\n{part}"
