"""Who gets through to which page: every route, with each right, method and origin."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from itertools import product

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from horsies.web import ALL_RIGHTS, Denied, Right, User, horsies_web
from horsies.web.actions import ACTIONS
from horsies.web.gate import Gate
from horsies.web.pages import PAGES
from tests.support.web import SAME_ORIGIN, Visitor, everybody_is, open_app

TASK_ID = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
UNKNOWN = Denied("log in", HTTPStatus.UNAUTHORIZED, 'Basic realm="x"')
VALUES = {"{digest}": "d", "{name}": "horsies.css"}
"""Values for the parts of paths. All others are ids."""

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
METHODS = ("GET", "HEAD", "POST")
OTHER_METHODS = ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
ADMITTED = {200, 400, 404, 503}
RIGHTS = {each.path: each.right for each in ACTIONS} | {
    path: page.right for page in PAGES for path in (page.path, page.json_path)
}
"""The right that a route needs. Those that are missing here need none but a login: files of the script and the style."""


def routes() -> list[str]:
    """Return the path of each route, from the routes themselves."""
    site = horsies_web(open_app(), auth=everybody_is(UNKNOWN))
    assert isinstance(site, Gate)
    assert isinstance(site._app, Starlette)
    return [route.path for route in site._app.routes if isinstance(route, Route)]


def url_of(path: str) -> str:
    """Return a URL of a route."""
    return re.sub(r"\{\w+\}", lambda part: VALUES.get(part[0], TASK_ID), path)


def expected(path: str, user: User | Denied, method: str, origin: str) -> set[int]:
    if isinstance(user, Denied):
        return {user.status}
    is_action = path in {each.path for each in ACTIONS}
    if method == "POST" and origin not in OWN:
        return {403}
    if (method == "POST") is not is_action:
        return {405}
    if not user.may(RIGHTS.get(path, Right.VIEW)) and not path.startswith("/static/"):
        return {403}
    return {303, 400, 404, 409, 503} if is_action else ADMITTED


def walk(user: User | Denied, methods: Iterable[str], origins: Iterable[str]) -> list[str]:
    """Send a request to each route with each method from each origin; return the answers that are wrong."""
    wanted = list(product(routes(), methods, origins))

    async def send(client: httpx.AsyncClient) -> list[int]:
        answers = [
            await client.request(method, url_of(path), headers=ORIGINS[origin]) for path, method, origin in wanted
        ]
        return [answer.status_code for answer in answers]

    statuses = Visitor(open_app(), user).run(send)
    return [
        f"{method} {path} from {origin}: {status}"
        for (path, method, origin), status in zip(wanted, statuses, strict=True)
        if status not in expected(path, user, method, origin)
    ]


@pytest.mark.parametrize("rights", ["", "none", *Right, ",".join(Right)])
def test_every_route_with_every_right_method_and_origin(rights: str) -> None:
    found = frozenset(map(Right, rights.split(","))) if rights not in {"", "none"} else frozenset[Right]()
    wrong = walk(User("u", found) if rights else UNKNOWN, METHODS, ORIGINS)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("right", Right)
def test_all_other_rights_are_no_substitute(right: Right) -> None:
    wrong = walk(User("u", ALL_RIGHTS - {right}), METHODS, OWN[:1])
    wrong += walk(User("u", frozenset({Right.VIEW, right})), METHODS, OWN[:1])
    assert not wrong, "\n".join(wrong)


def test_other_methods_do_nothing() -> None:
    wrong = walk(User("u", ALL_RIGHTS), OTHER_METHODS, ["program"])
    assert all(each.endswith(("403", "405")) for each in wrong), wrong


def test_the_walk_knows_the_right_of_every_route() -> None:
    assert set(routes()) - set(RIGHTS) == {"/static/{digest}/{name}", "/live"}
    assert set(RIGHTS) <= set(routes())
    assert len(set(routes())) == 2 * len(PAGES) + len(ACTIONS) + 2


@pytest.mark.parametrize("path", ["/", "/nothing", "/tasks?limit=x", "/queues/", f"/tasks/{TASK_ID}.json"])
@pytest.mark.parametrize("user", [UNKNOWN, User("u")], ids=["nobody", "view"])
def test_every_response_has_the_headers_of_security(path: str, user: User | Denied) -> None:
    headers = Visitor(open_app(), user).get(path).headers
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
