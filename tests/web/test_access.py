"""Who gets through to which page: every route, with each right, method and origin."""

from http import HTTPStatus
from itertools import product

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from horsies.web import Denied, Right, User, horsies_web
from horsies.web.actions import ACTIONS
from horsies.web.gate import Gate
from horsies.web.pages import PAGES
from tests.support.web import SAME_ORIGIN, Visitor, everybody_is, open_app

TASK_ID = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
UNKNOWN = Denied("log in", HTTPStatus.UNAUTHORIZED, 'Basic realm="x"')
USERS = {"nobody": UNKNOWN, **{str(right): User("u", frozenset({right})) for right in Right}}
ORIGINS = {
    "same origin": SAME_ORIGIN,
    "same origin without Fetch Metadata": {"origin": "http://localhost"},
    "program": {"horsies-action": "1"},
    "cross site": {"sec-fetch-site": "cross-site", "origin": "http://localhost", "horsies-action": "1"},
    "same site": {"sec-fetch-site": "same-site"},
    "typed": {"sec-fetch-site": "none"},
    "other origin": {"origin": "https://evil.example", "horsies-action": "1"},
    "other port": {"origin": "http://localhost:81"},
    "no origin": {"origin": "null"},
    "no header": {},
}
OWN = ("same origin", "same origin without Fetch Metadata", "program")
ADMITTED = {200, 400, 404, 503}


def paths() -> list[str]:
    """Return a URL for each route, from the routes themselves."""
    site = horsies_web(open_app(), auth=everybody_is(UNKNOWN))
    assert isinstance(site, Gate)
    assert isinstance(site._app, Starlette)
    values = {"{task_id}": TASK_ID, "{run_id}": TASK_ID, "{digest}": "d", "{name}": "horsies.css"}
    found: list[str] = []
    for route in site._app.routes:
        assert isinstance(route, Route)
        path = route.path
        for name, value in values.items():
            path = path.replace(name, value)
        found.append(path)
    return found


RIGHTS = {each.path.replace("{task_id}", TASK_ID).replace("{run_id}", TASK_ID): each.right for each in ACTIONS}


def expected(path: str, user: str, method: str, origin: str) -> set[int]:
    if user == "nobody":
        return {401}
    if path in RIGHTS:
        if method != "POST":
            return {405}
        return {303, 400, 404, 409, 503} if origin in OWN and user == RIGHTS[path] else {403}
    if method == "POST":
        return {405} if origin in OWN else {403}
    return ADMITTED if user == Right.VIEW or path.startswith("/static/") else {403}


@pytest.mark.parametrize("user", USERS)
def test_every_route_with_every_right_method_and_origin(user: str) -> None:
    visitor = Visitor(open_app(), USERS[user])
    wrong: list[str] = []
    for path, method, origin in product(paths(), ("GET", "HEAD", "POST"), ORIGINS):
        status = visitor.send(method, path, ORIGINS[origin]).status_code
        if status not in expected(path, user, method, origin):
            wrong.append(f"{method} {path} as {user} from {origin}: {status}")
    assert not wrong, "\n".join(wrong)


def test_all_pages_are_in_the_table() -> None:
    assert len(paths()) == 2 * len(PAGES) + len(ACTIONS) + 2


@pytest.mark.parametrize("path", ["/", "/nothing", "/tasks?limit=x", "/queues/", f"/tasks/{TASK_ID}.json"])
@pytest.mark.parametrize("user", ["nobody", "view"])
def test_every_response_has_the_headers_of_security(path: str, user: str) -> None:
    headers = Visitor(open_app(), USERS[user]).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "set-cookie" not in headers


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:1", "[::1]", "[::1]:80", "ops.example.com"])
def test_known_hosts(host: str) -> None:
    app = open_app()
    site = horsies_web(app, auth=everybody_is(User("u")), public_url="https://ops.example.com/queue")
    assert Visitor(app, site=site).get("/", host=host).status_code == 503


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.2", "x@localhost", "localhost:x", ""]
)
def test_other_hosts_are_refused_before_anybody_logs_in(host: str) -> None:
    app = open_app()
    site = horsies_web(app, auth=everybody_is(UNKNOWN), public_url="https://ops.example.com")
    answer = Visitor(app, site=site).get("/", host=host)
    assert answer.status_code == 421
    assert "--public-url" in answer.text


def test_the_public_origin_may_act() -> None:
    app = open_app()
    site = horsies_web(app, auth=everybody_is(User("u")), public_url="https://ops.example.com:444")
    headers = {"host": "ops.example.com:444", "origin": "https://ops.example.com:444"}
    assert Visitor(app, site=site).send("POST", "/", headers).status_code == 405
    headers["origin"] = "https://ops.example.com"
    assert Visitor(app, site=site).send("POST", "/", headers).status_code == 403


@pytest.mark.parametrize("url", ["ops.example.com", "ftp://x", "https://", "https://u@x"])
def test_a_wrong_public_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https://ops.example.com"):
        horsies_web(open_app(), auth=everybody_is(User("u")), public_url=url)
