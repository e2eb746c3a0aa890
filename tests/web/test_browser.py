"""The pages in a real Chromium: how they are laid out, live updates, and that they work without script."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from horsies import Horsies
from horsies.web import horsies_web
from tests.support.browser import Browser, Tab, running_browser
from tests.support.bulk import control, preview
from tests.support.factories import DrivenWorker, cap_queue, ended_task, send
from tests.support.runs import finish, node, start
from tests.support.sessions import Session
from tests.support.waiting import wait_until
from tests.support.web import ADMIN, everybody_is, served

PATHS = (
    *("/", "/queues?queue=default", "/tasks", "/errors", "/runs", "/definitions"),
    *("/schedules", "/workers", "/system", "/send", "/nothing", "/bulk", "/tasks?filter=queue:default"),
)
# The heads of tables that are cut off until somebody scrolls them sideways.
WIDE_TABLES = """[...document.querySelectorAll(".scroll:has(> table)")]
    .filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.innerText.split("\\n")[0])"""
pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def url(app: Horsies, db: Session) -> Iterator[str]:
    """Yield the URL of pages about a queue with an ended, a running and a waiting task."""
    ended_task(db)
    cap_queue(db, "default", 4)
    send(db)
    assert DrivenWorker(db).claim_one()
    send(db)
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as found:
        yield found


def test_pages_fit_in_light_and_dark_at_any_width(browser: Browser, url: str, db: Session, tmp_path: Path) -> None:
    task_id, bulk_id = send(db), preview(db)
    control(db, bulk_id, "start")
    run_id = start(db, node(), node(0), node(0, kind="map", over=0, item_parameter="item"), node(1, 2))
    backgrounds: set[str] = set()
    for scheme, width in (("light", 1400), ("dark", 400)):
        with browser.tab() as tab:
            tab.size(width)
            tab.scheme("light" if scheme == "light" else "dark")
            for path in (
                *PATHS,
                f"/tasks/{task_id}",
                f"/bulk/{bulk_id}",
                f"/runs/{run_id}",
                f"/runs/{run_id}?view=timeline",
            ):
                tab.open(url + path)
                tab.picture(tmp_path / "page.png")
                assert tab.run("document.documentElement.scrollWidth") == width, (path, scheme)
                assert tab.run(WIDE_TABLES) == [], (path, scheme)
                assert tab.run("getComputedStyle(document.body).marginTop") == "0px", "the style sheet is used"
            backgrounds.add(tab.run("getComputedStyle(document.body).backgroundColor"))
            assert [each for each in tab.problems if "404" not in each] == []
    assert len(backgrounds) == 2


def test_regions_change_while_somebody_looks(browser: Browser, url: str, db: Session) -> None:
    with browser.tab() as tab:
        tab.open(f"{url}/tasks")
        wait_until(lambda: "live" in tab.text(), 20, tab.text)
        tab.run("document.body.dataset.kept = 'yes'")
        task_id = str(send(db))
        wait_until(lambda: task_id in tab.text(), 20, tab.text)
        assert tab.run("document.body.dataset.kept") == "yes", "the page was not loaded again"
        assert tab.problems == []


def test_the_graph_of_a_run_changes_while_somebody_looks(browser: Browser, url: str, db: Session) -> None:
    run_id = start(db, node(queue="mail"), node(0))
    states = "[...document.querySelectorAll('.graph .node')].map((each) => each.getAttribute('class')).join(', ')"
    with browser.tab() as tab:
        tab.open(f"{url}/runs/{run_id}")
        assert "status-enqueued" in tab.run(states)
        finish(db, DrivenWorker(db, queues=("mail",)), run_id)
        wait_until(lambda: "status-completed" in tab.run(states), 20, lambda: tab.run(states))
        assert tab.problems == []


@pytest.mark.parametrize(("letter", "page"), [("r", "runs"), ("d", "definitions")])
def test_letters_lead_to_pages(browser: Browser, url: str, letter: str, page: str) -> None:
    with browser.tab() as tab:
        tab.open(f"{url}/queues")
        for key in ("g", letter):
            tab.run(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))")
        wait_until(lambda: tab.run("location.pathname") == f"/{page}", 20, page)


def holds_stream(tab: Tab) -> bool:
    return tab.run("stream !== null && stream.readyState === EventSource.OPEN")


def test_tabs_share_one_stream(browser: Browser, url: str, db: Session) -> None:
    with browser.tabs(3) as tabs:
        for tab, path in zip(tabs, ("/tasks", "/queues", "/tasks"), strict=True):
            tab.open(url + path)
        wait_until(lambda: [holds_stream(tab) for tab in tabs].count(True) == 1, 30, "one tab with a stream")
        wait_until(lambda: all("live" in tab.text() for tab in tabs), 20, "all tabs are live")
        task_id = str(send(db))
        wait_until(lambda: task_id in tabs[0].text() and task_id in tabs[2].text(), 20, "the task in both lists")
        assert [tab.problems for tab in tabs] == [[], [], []]


def test_without_broadcast_channels_pages_are_asked_for_again(browser: Browser, url: str, db: Session) -> None:
    with browser.tab() as tab:
        tab.call("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.BroadcastChannel")
        tab.open(f"{url}/tasks")
        task_id = str(send(db))
        wait_until(lambda: task_id in tab.text(), 20, tab.text)
        assert tab.run("stream") is None


def test_everything_works_without_script(browser: Browser, url: str) -> None:
    with ExitStack() as stack:
        tab = stack.enter_context(browser.tab())
        tab.without_script()
        tab.open(f"{url}/tasks?filter=status:pending")
        assert "pending" in tab.text()
        assert "as of" in tab.text()
        assert tab.run("document.querySelector('form.filter').method") == "get"
        assert tab.problems == []


def test_times_are_shown_in_the_zone_of_the_browser_or_in_utc(browser: Browser, url: str, db: Session) -> None:
    task_id = send(db)
    with browser.tab() as tab:
        tab.call("Emulation.setTimezoneOverride", timezoneId="Pacific/Kiritimati")  # 14 hours ahead of UTC
        tab.open(f"{url}/tasks/{task_id}")
        hours = "document.querySelector('.facts time').textContent.slice(11, 13)"
        local = int(tab.run(hours))
        tab.run("document.querySelector('.fresh button').click()")
        assert local == (int(tab.run(hours)) + 14) % 24
        tab.open(f"{url}/queues")
        assert tab.run("document.querySelector('.fresh button').textContent") == "UTC", "the choice is kept"
