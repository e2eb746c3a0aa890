"""The web interface beside Django: users, sessions and permissions of a real project decide who may see and do what."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest

from horsies.web import Right
from tests.contrib.test_django_worker import ROOT
from tests.support.callers import OLDEST_FOR_DJANGO
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.web import SAME_ORIGIN
from tests.support.workers import HORSIES, WorkerProcess, clean_environment

BROWSER = {"accept": "text/html,*/*", "sec-fetch-mode": "navigate"}
SCRIPT = {"accept": "*/*", "sec-fetch-mode": "cors"}
TASK = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
# One action for each right, with its fields. None: it is a page.
ACTIONS: dict[Right, tuple[str, dict[str, str]]] = {
    Right.CANCEL: (f"tasks/{TASK}/cancel", {}),
    Right.RERUN: (f"tasks/{TASK}/rerun", {}),
    Right.PAUSE: ("queues/pause", {"queue": "mail"}),
    Right.LIMIT: ("queues/limit", {"queue": "mail", "max_concurrency": "3"}),
    Right.SEND: ("schedules/run", {"schedule": "unknown"}),
    Right.WORKFLOWS: (f"runs/{TASK}/pause", {}),
}
USERS = """
from django.contrib.auth.models import Group, Permission, User
customer = User.objects.create_user("customer", password="x")
User.objects.create_user("staff", password="x", is_staff=True)
User.objects.create_superuser("root", password="x")
User.objects.create_user("gone", password="x", is_staff=True)
for each in Permission.objects.filter(content_type__app_label="horsies"):
    User.objects.create_user(f"may {each.codename}", password="x", is_staff=True).user_permissions.add(each)
group = Group.objects.create(name="operators")
group.permissions.set(Permission.objects.filter(content_type__app_label="horsies", codename__in=["view", "pause"]))
User.objects.create_user("member", password="x").groups.add(group)
"""


@dataclass
class Project:
    """The Django project on the database of the test."""

    folder: Path
    env: dict[str, str]
    servers: list[WorkerProcess] = field(default_factory=list[WorkerProcess])

    def manage(self, *args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "django", *args],
            cwd=self.folder,
            env=clean_environment(**self.env),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str) -> None:
        """Run code in the project."""
        self.manage("shell", "--no-imports", "-c", code)

    def serve(self, **env: str) -> str:
        """Start the server; return its URL."""
        arguments = ["tests.contrib.web_asgi:application", "--port=0"]
        self.servers.append(WorkerProcess(arguments, self.folder, {**self.env, **env}, HORSIES.with_name("uvicorn")))
        return self.servers[-1].wait_for_log(r"running on (http://\S+)", 60)[1]


@pytest.fixture
def project(tcp_database_url: str, tmp_path: Path) -> Iterator[Project]:
    """Yield the project with its tables and users."""
    with psycopg.connect(tcp_database_url) as connection:
        if connection.info.server_version < OLDEST_FOR_DJANGO:
            pytest.skip("this Django needs a newer PostgreSQL")
    env = {
        "DJANGO_TEST_DATABASE_URL": tcp_database_url,
        "DJANGO_SETTINGS_MODULE": "tests.contrib.web_settings",
        "DJANGO_TEST_SECRET_KEY": "the key of the tests",
        "PYTHONPATH": str(ROOT),
    }
    made = Project(tmp_path, env)
    made.manage("migrate", "--verbosity=0")
    made.python(USERS)
    yield made
    for server in made.servers:
        server.kill_all()
        server.assert_gone()


@pytest.fixture
def log_in() -> Iterator[Callable[[str, str], httpx.Client]]:
    """Return a function that opens a client of a server and logs a user in."""
    opened: list[httpx.Client] = []

    def make(url: str, name: str) -> httpx.Client:
        client = httpx.Client(base_url=url, timeout=20)
        opened.append(client)
        assert client.post("/accounts/login/", data={"username": name, "password": "x"}).status_code == 200
        return client

    yield make
    for client in opened:
        client.close()


@pytest.mark.timeout(120)
def test_who_is_not_logged_in_is_sent_to_the_login(project: Project) -> None:
    url = project.serve()
    with httpx.Client(base_url=url, timeout=20) as client:
        page = client.get("/queue/tasks?filter=task:a%26b&limit=5", headers=BROWSER)
        assert page.status_code == 302
        assert page.headers["location"] == "/accounts/login/?next=/queue/tasks%3Ffilter%3Dtask%3Aa%2526b%26limit%3D5"
        assert "set-cookie" not in page.headers
        for path in ("/queue/tasks", "/queue/tasks.json", "/queue/live?view=tasks"):
            assert client.get(path, headers=SCRIPT).status_code == 401
        refused = client.post("/queue/queues/pause", data={"queue": "mail"}, headers={**BROWSER, **SAME_ORIGIN})
        assert refused.status_code == 401
        for cookie in (b"x", b"a" * 32, b"\xff\xe9", b"x; sessionid=y"):
            headers = [*BROWSER.items(), ("cookie", b"sessionid=" + cookie)]
            assert client.get("/queue/", headers=httpx.Headers(headers)).status_code == 302
        assert client.get("/who/").status_code == 200, "Django is beside the pages"


@pytest.mark.timeout(120)
def test_permissions_of_django_are_the_rights(project: Project, log_in: Callable[[str, str], httpx.Client]) -> None:
    url = project.serve()

    def allowed(name: str) -> set[Right]:
        client = log_in(url, name)
        found = {Right.VIEW} if client.get("/queue/queues").status_code == 200 else set[Right]()
        for right, (path, fields) in ACTIONS.items():
            answer = client.post(f"/queue/{path}", data=fields, headers=SAME_ORIGIN)
            assert answer.status_code in {303, 403, 404, 409}, answer.text
            if answer.status_code != 403:
                found.add(right)
        return found

    assert allowed("customer") == set()
    assert "horsies.view" in log_in(url, "customer").get("/queue/").text
    assert allowed("staff") == {Right.VIEW}
    assert allowed("member") == {Right.VIEW, Right.PAUSE}
    assert allowed("root") == {Right.VIEW, *ACTIONS}
    for right in ACTIONS:
        assert allowed(f"may {right}") == {Right.VIEW, right}
    client = log_in(url, "may pause")
    assert "may pause" in client.get("/queue/queues").text
    assert client.post("/queue/queues/pause", data={"queue": "mail"}, headers={"sec-fetch-site": "cross-site"}).is_error
    client.post("/queue/queues/resume", data={"queue": "mail"}, headers=SAME_ORIGIN)
    audit = project.manage("horsies", "audit", "list", "--json")
    assert '"may pause"' in audit


@pytest.mark.timeout(120)
def test_a_session_ends_as_django_says(
    project: Project, log_in: Callable[[str, str], httpx.Client], proxy: Proxy, tcp_database_url: str
) -> None:
    project.env["DJANGO_TEST_DATABASE_URL"] = proxy.url(tcp_database_url)
    url = project.serve()
    clients = {name: log_in(url, name) for name in ("staff", "gone", "root", "member")}

    def statuses() -> list[int]:
        return [client.get("/queue/queues", headers=BROWSER).status_code for client in clients.values()]

    assert statuses() == [200, 200, 200, 200]
    project.python(
        "from django.contrib.auth.models import User\n"
        "from django.contrib.sessions.models import Session\n"
        "User.objects.filter(username='gone').update(is_active=False)\n"
        "root = User.objects.get(username='root'); root.set_password('y'); root.save()\n"
        "member = User.objects.get(username='member')\n"
        "mine = [each for each in Session.objects.all() if each.get_decoded()['_auth_user_id'] == str(member.pk)]\n"
        "[each.delete() for each in mine]\n"
    )
    assert statuses() == [200, 302, 302, 302]
    proxy.refuse()
    proxy.cut()
    answer = clients["staff"].get("/queue/queues", headers=BROWSER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "database of the sessions" in answer.text
    proxy.accept()
    wait_until(lambda: statuses()[0] == 200, 20, "an answer of the database")


@pytest.mark.timeout(120)
def test_the_pages_never_change_a_session(project: Project, log_in: Callable[[str, str], httpx.Client]) -> None:
    old = project.serve()
    client = log_in(old, "staff")
    other = project.serve(DJANGO_TEST_SECRET_KEY="another key")
    assert client.get(f"{other}/queue/queues", headers=BROWSER).status_code == 302
    assert client.get(f"{old}/queue/queues").status_code == 200, "Django would have deleted the session"
    key = project.env["DJANGO_TEST_SECRET_KEY"]
    later = project.serve(DJANGO_TEST_SECRET_KEY="another key", DJANGO_TEST_OLD_SECRET_KEY=key)
    for _ in range(2):
        assert client.get(f"{later}/queue/queues").status_code == 200, "Django would have given it another id"
    renewed = client.get(f"{later}/who/")
    assert (renewed.text, "sessionid" in renewed.headers["set-cookie"]) == ("staff", True)
    assert client.get(f"{later}/queue/queues").status_code == 200


def test_the_permissions_are_those_of_the_rights() -> None:
    found = re.findall(r'\("(\w+)", "Can ', (ROOT / "horsies" / "contrib" / "django" / "models.py").read_text())
    assert found == [right.value for right in Right]


@pytest.mark.timeout(120)
def test_commands_of_django_do_without_a_table_of_the_permissions(project: Project) -> None:
    assert '"customer"' in project.manage("dumpdata")
    assert '"horsies.webinterface"' not in project.manage("dumpdata", "--all", "horsies")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
