"""The stream of versions: what it carries, and which requests are refused."""

import json
import re
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from horsies import Horsies
from horsies.web import Denied, Right, User, horsies_web, live
from horsies.web.pages import tasks as tasks_page
from tests.support.factories import request, send
from tests.support.sessions import Session
from tests.support.waiting import wait_until
from tests.support.web import ADMIN, Visitor, everybody_is, open_app, served

VERSION = re.compile(r'data-region="(\w+)" data-version="(\w+)"')


def events(url: str, *views: str) -> Generator[Any]:
    """Yield the events of a stream until it is closed."""
    with httpx.stream("GET", f"{url}/live", params=[("view", view) for view in views], timeout=20) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


def test_the_versions_are_those_of_the_page_and_carry_no_data(app: Horsies, db: Session) -> None:
    send(db, request(name="very_secret_name"))
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as url:
        stream = events(url, "tasks", "tasks?filter=status:failed", "nothing", "tasks?limit=x", "tasks/x")
        found = next(stream)
        assert "very_secret_name" not in json.dumps(found)
        assert (found["nothing"], found["tasks?limit=x"], found["tasks/x"]) == (None, None, None)
        for view in ("tasks", "tasks?filter=status:failed"):
            assert found[view]["regions"] == dict(VERSION.findall(httpx.get(f"{url}/{view}", timeout=20).text))
            assert found[view]["is_current"]
        send(db)
        changed = next(each for each in stream if each["tasks"] != found["tasks"])
        assert changed["tasks?filter=status:failed"] == found["tasks?filter=status:failed"]
        stream.close()


def test_a_stream_ends_by_itself(app: Horsies, monkeypatch: pytest.MonkeyPatch) -> None:
    assert live._ENDS_AFTER_S == 60
    monkeypatch.setattr(live, "_ENDS_AFTER_S", 1.5)
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as url:
        assert len(list(events(url, "queues"))) >= 1


def test_the_stream_lasts_while_the_database_is_away() -> None:
    with served(horsies_web(open_app(), auth=everybody_is(ADMIN))) as url:
        stream = events(url, "queues")
        assert [next(stream), next(stream)] == [{"queues": None}] * 2
        stream.close()


def test_a_page_that_fails_does_not_end_the_stream_of_the_others(app: Horsies, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OverflowError

    monkeypatch.setattr(tasks_page, "all_tasks_async", fail)
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as url:
        stream = events(url, "tasks", "queues")
        for found in (next(stream), next(stream)):
            assert found["tasks"] is None
            assert found["queues"]["is_current"]
        stream.close()


def test_one_user_has_a_bounded_number_of_streams() -> None:
    async def auth(connection: HTTPConnection) -> User | Denied:
        return User(connection.headers["x-user"])

    def open_stream(user: str) -> AbstractContextManager[httpx.Response]:
        return httpx.stream("GET", f"{url}/live?view=nothing", headers={"x-user": user}, timeout=20)

    def status(user: str) -> int:
        with open_stream(user) as answer:
            return answer.status_code

    with served(horsies_web(open_app(), auth=auth)) as url:
        with ExitStack() as opened:
            streams = [opened.enter_context(open_stream("ada")).iter_lines() for _ in range(10)]
            assert all(map(next, streams))
            assert (status("ada"), status("bob")) == (503, 200)
        wait_until(lambda: status("ada") == 200, 20, "the server to notice that the streams are closed")


@pytest.mark.parametrize("query", ["", "?x=1", "?view=%ff", "?" + "&".join(f"view={n}" for n in range(9))])
def test_wrong_requests_are_refused(query: str) -> None:
    assert Visitor(open_app()).get(f"/live{query}").status_code == 400


def test_a_stream_needs_the_right_to_see_pages() -> None:
    assert Visitor(open_app(), User("u", frozenset({Right.CANCEL}))).get("/live?view=tasks").status_code == 403
