"""The projects below examples/ work when a reader runs the commands of their README files, over HTTP."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docs.test_documents import ROOT, blocks
from tests.docs.test_framework_pages import PLACE, lines, run, start
from tests.support.callers import OLDEST_FOR_DJANGO
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

EXAMPLES = ROOT / "examples"
BROWSER = {"accept": "text/html", "sec-fetch-mode": "navigate"}
HIDDEN = re.compile(r"""<input type="hidden" name="(\w+)" value="([^"]*)">""")


def acts_in_the_queue(browser: httpx.Client, page: httpx.Response) -> None:
    """Check that a login has led to the list of tasks, and that the user may act."""
    assert page.url.path == "/queue/tasks"
    assert "write_invoice" in page.text
    headers = {"sec-fetch-site": "same-origin"}
    for action, shown in (("pause", "Resume the queue"), ("resume", "Pause the queue")):
        assert shown in browser.post(f"/queue/queues/{action}", data={"queue": "default"}, headers=headers).text
    refused = browser.post("/queue/queues/pause", data={"queue": "default"}, headers={"sec-fetch-site": "cross-site"})
    assert refused.status_code == 403
    assert "write_invoice" in [each["name"] for each in browser.get("/queue/definitions.json").json()["data"]["tasks"]]


class Project:
    """A copy of an example project. Its commands are those of the README file, in their order."""

    def __init__(self, name: str, folder: Path, env: dict[str, str]) -> None:
        self.readme = EXAMPLES / name / "README.md"
        self.folder = folder / name
        self.env = env
        self.processes: list[WorkerProcess] = []
        self.place = PLACE
        shutil.copytree(EXAMPLES / name, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._commands = [line for line in lines(self.readme) if not line.startswith("pip ")]

    def run(self, *beginnings: str) -> list[str]:
        """Run the next commands, which begin like this, and return their outputs."""
        return [run(self.next(each).replace(PLACE, self.place), self.folder, **self.env) for each in beginnings]

    def start(self, beginning: str, *more: str) -> WorkerProcess:
        """Start the next command, which begins like this and runs until it is stopped."""
        self.processes.append(start(self.next(beginning), self.readme, self.folder, self.env, *more))
        return self.processes[-1]

    def next(self, beginning: str) -> str:
        command = self._commands.pop(0)
        assert command.startswith(beginning)
        return command

    @property
    def is_done(self) -> bool:
        return not self._commands


@pytest.fixture
def projects() -> Iterator[list[Project]]:
    """Projects whose processes are killed in the end."""
    started: list[Project] = []
    yield started
    for process in (process for project in started for process in project.processes):
        process.kill_all()


@pytest.mark.timeout(240)
def test_the_fastapi_project_works(tmp_path: Path, tcp_database_url: str, projects: list[Project]) -> None:
    project = Project("fastapi", tmp_path, {"DATABASE_URL": tcp_database_url})
    projects.append(project)
    project.run("horsies db migrate")
    worker = project.start("horsies worker")
    server = project.start("uvicorn", "--port=0")
    worker.wait_until_ready(60)
    project.place = server.wait_for_log(r"running on (http://\S+)", 60)[1]
    placed, invoice, cost = project.run("curl", "curl", "curl")
    shown = blocks(project.readme, "text")[0].splitlines()
    assert (placed, cost) == (shown[0], shown[2])
    assert without_date(invoice) == without_date(shown[1])
    [added] = project.run("python -m shop.staff")
    with httpx.Client(base_url=project.place, timeout=20, follow_redirects=True) as browser:
        form = browser.get("/queue/tasks", headers=BROWSER)
        assert form.url.path == "/login"
        name, password = "ada", added.removeprefix("password:").strip()
        page = browser.post("/login", data={"name": name, "password": password, "next": form.url.params["next"]})
        acts_in_the_queue(browser, page)
    assert worker.stop() == 0
    server.stop()
    assert "shutdown complete" in server.log()
    [tested] = project.run("python -m pytest")
    assert "8 passed" in tested
    assert project.is_done


@pytest.mark.timeout(240)
def test_the_project_with_tenants_works(tmp_path: Path, tcp_database_url: str, projects: list[Project]) -> None:
    project = Project("tenants", tmp_path, {"DATABASE_URL": tcp_database_url})
    projects.append(project)
    project.run("horsies db migrate")
    project.place = project.start("python shop_api.py", "--port=0").wait_for_log(r"serving on (http://\S+)", 60)[1]
    project.env["SHOP_API"] = project.place
    worker = project.start("horsies worker")
    worker.wait_until_ready(60)
    sent, before = project.run("python send.py", "curl")
    *shown, counted = blocks(project.readme, "text")[0].splitlines()
    assert sent.splitlines() == shown
    assert numbers(before, "answered") == numbers(counted, "answered") == {"big": 6, "small-1": 3, "small-2": 3}
    assert numbers(before, "refused")["big"] > 0
    assert max(numbers(before, "most_at_once").values()) <= 2
    _, _, after = project.run("horsies queues limit", "python send.py", "curl")
    assert numbers(after, "answered") == {"big": 12, "small-1": 6, "small-2": 6}
    assert numbers(after, "refused") == numbers(before, "refused")
    assert worker.stop() == 0
    assert project.is_done


def numbers(statistics: str, name: str) -> dict[str, int]:
    """Return one of the numbers of each tenant."""
    return {tenant: counts[name] for tenant, counts in json.loads(statistics).items()}


def without_date(invoice: str) -> str:
    before, _, after = invoice.partition(" of ")
    return before + after[len("2026-05-01") :]


@pytest.mark.timeout(240)
def test_the_django_project_works(tmp_path: Path, tcp_database_url: str, projects: list[Project]) -> None:
    with psycopg.connect(tcp_database_url) as connection:
        if connection.info.server_version < OLDEST_FOR_DJANGO:
            pytest.skip("this Django needs a newer PostgreSQL")
    parts = conninfo_to_dict(tcp_database_url)
    env = {f"PG{name.upper()}": str(parts[name]) for name in ("user", "password", "host", "port")}
    project = Project("django", tmp_path, env | {"PGDATABASE": str(parts["dbname"]), "PYTHONUNBUFFERED": "1"})
    projects.append(project)
    project.run("python manage.py migrate", "python manage.py horsies db migrate")
    worker = project.start("python manage.py horsies worker")
    server = project.start("uvicorn", "--port=0")
    worker.wait_until_ready(60)
    project.place = server.wait_for_log(r"running on (http://\S+)", 60)[1]
    [placed] = project.run("curl")
    shown = blocks(project.readme, "text")[0].splitlines()
    assert placed == shown[0]
    ask = project.next("curl").replace(PLACE, project.place)
    wait_until(lambda: "SUCCESSFUL" in (answer := run(ask, tmp_path)) and "COMPLETED" in answer, 30)
    assert run(ask, tmp_path) == shown[1]
    worker.wait_for_log("We have received your order 1.")
    project.env["DJANGO_SUPERUSER_PASSWORD"] = "open sesame"
    project.run("python manage.py createsuperuser")
    with httpx.Client(base_url=project.place, timeout=20, follow_redirects=True) as browser:
        form = browser.get("/queue/tasks", headers=BROWSER)
        assert form.url.path == "/admin/login/"
        fields = dict(HIDDEN.findall(form.text)) | {"username": "ada", "password": "open sesame"}
        acts_in_the_queue(browser, browser.post(str(form.url), data=fields, headers={"referer": str(form.url)}))
        assert browser.get("/queue", headers=BROWSER).url.path == "/queue/"
        assert browser.get("/static/admin/css/base.css").status_code == 200
    assert worker.stop() == 0
    server.stop()
    assert "shutdown complete" in server.log()
    project.run("python manage.py test")
    assert project.is_done
