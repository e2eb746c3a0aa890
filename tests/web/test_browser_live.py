"""Live pages in a real Chromium: the end of tasks, restarts of the servers, many tabs, and hidden ones."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from horsies import Horsies
from horsies.db.migrate import migrate
from horsies.web import horsies_web
from tests.support.browser import Browser, Tab, running_browser
from tests.support.factories import DrivenWorker, done, send
from tests.support.server import free_port, own_server
from tests.support.sessions import Session, open_session
from tests.support.waiting import wait_until
from tests.support.web import ADMIN, everybody_is, open_app, served

WITHIN_S = 30
HIDE = """
    Object.defineProperty(document, "visibilityState", {value: "STATE", configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
"""
pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


def fresh(tab: Tab) -> str:
    """Return what the page says about its freshness."""
    return tab.run("document.querySelector('[data-fresh]').textContent")


def streams(tab: Tab) -> bool:
    return tab.run("stream !== null && stream.readyState === EventSource.OPEN")


def wait_until_live(tab: Tab) -> None:
    wait_until(lambda: fresh(tab) == "live", WITHIN_S, lambda: fresh(tab))


def test_the_end_of_a_task_is_on_its_page_and_in_the_list(browser: Browser, app: Horsies, db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as url, browser.tabs(2) as (page, listed):
        page.open(f"{url}/tasks/{task_id}")
        listed.open(f"{url}/tasks")
        for tab in (page, listed):
            wait_until_live(tab)
            assert "pending" in tab.text()
        worker.finish(done(worker.claim_one()))
        for tab in (page, listed):
            wait_until(lambda tab=tab: "completed" in tab.text(), WITHIN_S, tab.text)
            assert tab.problems == []


def test_a_page_survives_a_restart_of_the_web_server(browser: Browser, app: Horsies, db: Session) -> None:
    port = free_port()
    with browser.tab() as tab:
        with served(horsies_web(app, auth=everybody_is(ADMIN)), port) as url:
            tab.open(f"{url}/tasks")
            wait_until_live(tab)
            tab.run("document.body.dataset.kept = 'yes'")
        wait_until(lambda: fresh(tab) == "the server does not answer", WITHIN_S, lambda: fresh(tab))
        task_id = str(send(db))
        with served(horsies_web(app, auth=everybody_is(ADMIN)), port):
            wait_until(lambda: task_id in tab.text(), WITHIN_S, tab.text)
            wait_until(lambda: streams(tab), WITHIN_S, "the stream")
            wait_until_live(tab)
        assert tab.run("document.body.dataset.kept") == "yes", "the page was not loaded again"


def test_a_page_survives_a_restart_of_postgresql(browser: Browser) -> None:
    settings = {"port": str(free_port())}  # the same address after the restart
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()), "pg")
        tab = stack.enter_context(browser.tab())
        with own_server(home, settings) as server:
            with psycopg.connect(server.url, autocommit=True) as session:
                migrate(session, "horsies")
            url = stack.enter_context(served(horsies_web(open_app(server.url), auth=everybody_is(ADMIN))))
            tab.open(f"{url}/tasks")
            wait_until_live(tab)
        wait_until(lambda: fresh(tab) == "no current data", WITHIN_S, lambda: fresh(tab))
        with own_server(home, settings) as server, open_session(server.url) as db:
            task_id = str(send(db))
            wait_until(lambda: task_id in tab.text(), WITHIN_S, tab.text)
            wait_until_live(tab)


def test_seven_tabs_share_one_stream(browser: Browser, app: Horsies, db: Session) -> None:
    task_id = send(db)
    paths = ("/", "/queues", "/tasks", f"/tasks/{task_id}", "/workers", "/runs", "/tasks?filter=status:pending")
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as url, browser.tabs(len(paths)) as tabs:
        for tab, path in zip(tabs, paths, strict=True):
            tab.open(url + path)
        wait_until(lambda: [streams(tab) for tab in tabs].count(True) == 1, WITHIN_S, "one tab with a stream")
        for tab in tabs:
            wait_until_live(tab)
        added = str(send(db))
        for place in (2, 6):
            wait_until(lambda place=place: added in tabs[place].text(), WITHIN_S, "the task in the list")
        worker = DrivenWorker(db)
        for _ in range(2):
            worker.finish(done(worker.claim_one()))
        wait_until(lambda: "completed" in tabs[3].text(), WITHIN_S, "the end on the page of the task")
        assert [tab.problems for tab in tabs] == [[]] * len(tabs)


def test_a_hidden_tab_closes_its_stream_and_a_visible_one_takes_over(
    browser: Browser, app: Horsies, db: Session
) -> None:
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as url, browser.tabs(2) as tabs:
        for tab in tabs:
            tab.open(f"{url}/tasks")
        wait_until(lambda: [streams(tab) for tab in tabs].count(True) == 1, WITHIN_S, "one tab with a stream")
        leader, other = sorted(tabs, key=streams, reverse=True)
        leader.run(HIDE.replace("STATE", "hidden"))
        assert leader.run("stream") is None
        wait_until(lambda: streams(other), WITHIN_S, "the stream of the other tab")
        other.run(HIDE.replace("STATE", "hidden"))
        assert other.run("stream") is None
        task_id = str(send(db))
        leader.run(HIDE.replace("STATE", "visible"))
        wait_until(lambda: streams(leader) and task_id in leader.text(), WITHIN_S, "the tab that is visible again")
