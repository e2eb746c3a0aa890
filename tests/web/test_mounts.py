"""The web interface as a part of other applications: what servers call, where a login is, prefixes, and two apps."""

from collections.abc import Iterator
from http import HTTPStatus
from io import BytesIO, StringIO
from wsgiref.handlers import SimpleHandler

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from horsies import Horsies
from horsies.web import Denied, horsies_web
from tests.support.browser import Browser, running_browser
from tests.support.databases import new_database
from tests.support.factories import send
from tests.support.server import Server
from tests.support.sessions import Session, open_session
from tests.support.waiting import wait_until
from tests.support.web import ADMIN, Visitor, everybody_is, open_app, served

LOGIN = Denied("log in first", HTTPStatus.UNAUTHORIZED, login_url="/login?next=/queue/tasks")


@pytest.fixture
def other_url(server: Server, template: str) -> Iterator[str]:
    """Yield the URL of another database with the schema of horsies."""
    with new_database(server, template) as url:
        yield url


def test_a_wsgi_server_gets_an_error_with_the_fix() -> None:
    site = horsies_web(open_app(), auth=everybody_is(ADMIN))
    out, errors = BytesIO(), StringIO()
    handler = SimpleHandler(BytesIO(), out, errors, {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"})
    handler.run(site)  # type: ignore[arg-type] - that is the mistake
    assert b"500 Internal Server Error" in out.getvalue()
    assert "TypeError: the app that horsies_web returns is an ASGI app" in errors.getvalue()
    assert "uvicorn" in errors.getvalue()


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"sec-fetch-mode": "navigate", "accept": "text/html"}, 302),
        ("HEAD", {"sec-fetch-mode": "navigate"}, 302),
        ("GET", {"accept": "text/html,application/xhtml+xml"}, 302),
        ("GET", {"sec-fetch-mode": "cors", "accept": "*/*"}, 401),
        ("GET", {"sec-fetch-mode": "same-origin", "accept": "text/html"}, 401),
        ("GET", {"accept": "*/*"}, 401),
        ("GET", {"accept": "text/event-stream"}, 401),
        ("POST", {"sec-fetch-mode": "navigate", "accept": "text/html"}, 401),
    ],
)
def test_only_a_browser_that_opens_a_page_is_sent_to_the_login(
    method: str, headers: dict[str, str], status: int
) -> None:
    answer = Visitor(open_app(), LOGIN).send(method, "/tasks", headers)
    assert answer.status_code == status
    assert answer.headers.get("location") == (LOGIN.login_url if status == 302 else None)
    assert answer.headers["cache-control"] == "no-store"


class Proxy:
    """A proxy that passes requests below a prefix on to an app, with or without the prefix in the path.

    Args:
        prefix: The prefix that browsers see.
        keeps: Whether the path that the app gets has the prefix, as ``root_path`` says.
    """

    def __init__(self, app: ASGIApp, prefix: str, *, keeps: bool) -> None:
        self._app = app
        self._prefix = prefix
        self._keeps = keeps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        below = scope["path"].removeprefix(self._prefix)
        assert below != scope["path"], scope["path"]
        changed = {"root_path": self._prefix} if self._keeps else {"path": below, "raw_path": below.encode()}
        await self._app({**scope, **changed}, receive, send)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("mount", ["", "/queue", "/queue/", "/a/b"])
def test_pages_and_actions_work_behind_a_proxy_with_a_prefix(
    app: Horsies, db: Session, mount: str, *, keeps: bool
) -> None:
    task_id = send(db)
    site = horsies_web(app, auth=everybody_is(ADMIN))
    inner = Starlette(routes=[Mount(mount, site)]) if mount else site
    visitor = Visitor(app, site=Proxy(inner, "/ops", keeps=keeps))
    top = f"/ops{mount.rstrip('/')}"
    cancelled = visitor.act(f"{top}/tasks/{task_id}/cancel")
    assert cancelled.status_code == 303
    page = httpx.URL(f"http://localhost{top}/tasks/{task_id}/cancel").join(cancelled.headers["location"]).path
    assert page == f"{top}/tasks/{task_id}"
    assert "cancelled" in visitor.page(page)
    for path, target in (("/tasks/", "/tasks"), (f"/tasks/{task_id}/", f"/tasks/{task_id}")):
        answer = visitor.get(top + path)
        assert answer.status_code == 307
        assert httpx.URL(f"http://localhost{top}{path}").join(answer.headers["location"]).path == top + target


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.mark.timeout(120)
@pytest.mark.xdist_group("browser")
def test_two_apps_in_one_application_have_their_own_data_and_streams(
    browser: Browser, app: Horsies, db: Session, other_url: str
) -> None:
    other = open_app(other_url)
    sites = {"/one": horsies_web(app, auth=everybody_is(ADMIN)), "/two": horsies_web(other, auth=everybody_is(ADMIN))}
    routes = [Mount(path, site) for path, site in sites.items()]
    with open_session(other_url) as other_db, served(Starlette(routes=routes)) as url, browser.tabs(2) as tabs:
        for tab, path in zip(tabs, sites, strict=True):
            tab.open(f"{url}{path}/tasks")
        holds = "stream !== null && stream.readyState === EventSource.OPEN && stream.url"
        wait_until(lambda: all(tab.run(holds) for tab in tabs), 30, "a stream for each app")
        assert [tab.run(holds) for tab in tabs] == [f"{url}{path}/live?view=tasks" for path in sites]
        sent = [str(send(db)), str(send(other_db))]
        for tab, mine, others in zip(tabs, sent, reversed(sent), strict=True):
            wait_until(lambda tab=tab, mine=mine: mine in tab.text(), 20, tab.text)
            assert others not in tab.text()
        assert [tab.problems for tab in tabs] == [[], []]
