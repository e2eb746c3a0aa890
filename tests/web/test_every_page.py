"""All pages in a real Chromium, with something to show on each: hostile names, barriers, zoom, keyboard, and no script.

The pages and actions are those of the application, so that a new one must be added to the tables below.
"""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from horsies import Horsies
from horsies.web import horsies_web
from horsies.web.actions import ACTIONS
from horsies.web.pages import PAGES
from tests.support.axe import barriers
from tests.support.browser import Browser, Tab, running_browser
from tests.support.busy import HOSTILE_NAME, HOSTILE_TEXT, SCRIPT, Busy, busy_app, fill
from tests.support.sessions import Session
from tests.support.waiting import wait_until
from tests.support.web import ADMIN, Visitor, everybody_is, served

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]
PLAIN = "orders"
# Elements with text that is cut off and cannot be scrolled to. Some are hidden from eyes on purpose.
CLIPPED = """[...document.querySelectorAll("body *")].filter((each) => {
    const style = getComputedStyle(each);
    return /hidden|clip/.test(style.overflowX) && style.textOverflow !== "ellipsis" && each.innerText?.trim()
        && each.scrollWidth > each.clientWidth + 1 && !each.closest(".unseen, svg");
}).map((each) => each.outerHTML.slice(0, 200))"""
# Elements of the page that stand out of the window and are not in something that scrolls.
OUTSIDE = """[...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 1 || box.left < -1)
        && !each.closest(".unseen, .skip, .scroll, svg, pre, .top nav");
}).map((each) => each.outerHTML.slice(0, 200))"""
FOCUSABLE = """[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]")]
    .filter((each) => each.tabIndex >= 0 && each.checkVisibility({visibilityProperty: true}))"""
FOCUS = """(() => {
    const each = document.activeElement, style = getComputedStyle(each);
    const box = each.getBoundingClientRect();
    return [[...all].indexOf(each), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
        box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight, each.outerHTML.slice(0, 120)];
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


def urls(busy: Busy, visitor: Visitor) -> list[str]:
    """Return the URLs to look at: each page, also with what can be chosen on it."""
    name = quote(busy.name, safe="")
    [group] = [each["group"]["group_id"] for each in visitor.get("/errors.json").json()["data"]["groups"]]
    found = {
        "overview": [""],
        "queues": ["queues", f"queues?queue={name}", "queues?queue=mail"],
        "tasks": ["tasks", "tasks?filter=status:failed", f"tasks?filter={name}", "tasks?limit=2"],
        "task": [f"tasks/{each}" for each in busy.ids.values()],
        "bulk_actions": ["bulk"],
        "bulk_action": ["bulk/00000000-0000-7000-8000-000000000000"],
        "errors": ["errors", f"errors?group={group}&period=24h", f"errors?task={name}&code={name}", "errors?new=1"],
        "runs": ["runs", "runs?status=completed", f"runs?workflow={name}"],
        "run": [f"runs/{each}{view}" for each in busy.runs.values() for view in ("", "?view=timeline")],
        "definitions": ["definitions", f"definitions?task={name}"],
        "schedules": ["schedules", f"schedules?schedule={name}&view=week", "schedules?schedule=hourly&view=day"],
        "workers": ["workers"],
        "system": ["system"],
        "send": ["send", f"send?task={name}"],
    }
    assert set(found) == {page.name for page in PAGES}, "add the new page to this table"
    return ["/" + each for some in found.values() for each in some] + ["/nothing", "/tasks?limit=x"]


@pytest.fixture
def app(database_url: str, name: str) -> Iterator[Horsies]:
    opened = busy_app(database_url, name)
    yield opened
    opened.close()


@pytest.fixture
def name() -> str:
    return PLAIN


@pytest.fixture
def busy(db: Session, name: str) -> Busy:
    return fill(db, name, HOSTILE_TEXT if name == HOSTILE_NAME else "card 42 was declined")


@pytest.fixture
def pages(busy: Busy, visitor: Visitor) -> list[str]:
    return urls(busy, visitor)


@pytest.fixture
def url(app: Horsies, pages: list[str]) -> Iterator[str]:
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as found:
        yield found


def problems(tab: Tab) -> list[str]:
    """Return what the browser has said, but for the statuses of pages that are asked for because they are wrong."""
    return [each for each in tab.problems if "status of 404" not in each and "status of 400" not in each]


@pytest.mark.parametrize("name", [HOSTILE_NAME], ids=["hostile"])
def test_hostile_texts_do_nothing_on_any_page(browser: Browser, url: str, pages: list[str]) -> None:
    showing = 0
    with browser.tab() as tab:
        for page in pages:
            tab.open(url + page)
            assert tab.run("window.hit ?? null") is None, page
            assert tab.run("document.querySelectorAll('script:not([src]), svg[onload], img').length") == 0, page
            assert problems(tab) == [], page
            assert len(tab.text()) > 30, page
            text = tab.run("document.documentElement.outerHTML")
            assert not {"\x1b", "\x07", "\u202e", "\u2028"} & set(text), page
            assert "49%0a" not in text, page
            showing += SCRIPT in tab.text()
    assert showing > len(pages) / 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_barriers(browser: Browser, url: str, pages: list[str], scheme: str) -> None:
    found: dict[str, None] = {}
    for width in (1400, 400):
        with browser.tab() as tab:
            tab.size(width)
            tab.scheme("light" if scheme == "light" else "dark")
            for page in pages:
                tab.open(url + page)
                tab.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
                found |= dict.fromkeys(f"{page.split('?')[0][:7]} {width}: {each}" for each in barriers(tab))
            tab.open(url)
            tab.press("?")
            wait_until(lambda tab=tab: tab.run("document.querySelector('dialog[open]') !== null"), 10, "the keys")
            found |= dict.fromkeys(f"keys {width}: {each}" for each in barriers(tab))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("width", [1400, 1280, 640])
def test_pages_can_be_read_at_a_zoom_of_200_percent(browser: Browser, url: str, pages: list[str], width: int) -> None:
    wrong: list[str] = []
    with browser.tab() as tab:
        tab.size(width // 2, 450, 2)
        for page in pages:
            tab.open(url + page)
            assert tab.run("devicePixelRatio") == 2
            if (found := tab.run("document.documentElement.scrollWidth")) != width // 2:
                wrong.append(f"{page} is {found} wide")
            wrong += [f"{page}: cut off: {each}" for each in tab.run(CLIPPED)]
            wrong += [f"{page}: outside: {each}" for each in tab.run(OUTSIDE)]
    assert not wrong, "\n".join(wrong)


def test_all_controls_are_reached_with_the_tab_key_and_seen(browser: Browser, url: str, pages: list[str]) -> None:
    wrong: list[str] = []
    with browser.tab() as tab:
        tab.size(1400)
        for page in pages:
            tab.open(url + page)
            tab.run("isFetching = true")  # no region changes meanwhile
            tab.run(f"globalThis.all = {FOCUSABLE}; null")
            number = tab.run("all.length")
            order: list[int] = []
            for _ in range(min(number, 40)):
                tab.press("Tab")
                index, has_outline, is_seen, what = tab.run(FOCUS)
                order.append(index)
                if not (has_outline and is_seen):
                    wrong.append(f"{page}: the focus cannot be seen: {what}")
            if order != list(range(len(order))):
                wrong.append(f"{page}: the order is {order} of {number}")
    assert not wrong, "\n".join(wrong)


def test_the_first_link_leads_to_the_content(browser: Browser, url: str) -> None:
    with browser.tab() as tab:
        tab.open(f"{url}/tasks")
        tab.press("Tab", "Enter")
        assert tab.run("location.hash") == "#main"
        tab.press("Tab")
        assert tab.run("document.querySelector('main').contains(document.activeElement)")


def test_keys_lead_everywhere(browser: Browser, url: str) -> None:
    with browser.tab() as tab:
        tab.open(f"{url}/queues")
        tab.press("?")
        wait_until(lambda: tab.run("document.querySelector('dialog[open]') !== null"), 10, "the keys")
        rows = "[...document.querySelectorAll('dialog dl div')].map((row) => [...row.children].map((each) => each.innerText))"
        shown = dict(tab.run(rows))
        tab.press("Escape")
        wait_until(lambda: tab.run("document.querySelector('dialog') === null"), 10, "no keys")
        assert set(shown.values()) == {"filter tasks", "show these keys", *(p.title for p in PAGES if p.in_navigation)}
        for keys, title in shown.items():
            if keys.startswith("g "):
                tab.press("g")
                tab.press_to_leave(keys[2])
                assert tab.run("document.title").startswith(title)
        tab.press_to_leave("/")
        wait_until(lambda: tab.run("document.activeElement.id") == "filter", 10, "the filter has the focus")
        tab.press(*"status:failed")
        tab.press_to_leave("Enter")
        assert tab.run("new URL(location).searchParams.get('filter')") == "status:failed"


def test_a_task_is_cancelled_with_the_keyboard(browser: Browser, url: str, busy: Busy) -> None:
    with browser.tab() as tab:
        tab.open(f"{url}/tasks/{busy.ids['waiting']}")
        for control, key in (("summary", "Enter"), ("button", "Space")):
            is_reached = f"document.activeElement.matches('#cancel {control}')"
            for _ in range(40):
                if tab.run(is_reached):
                    break
                tab.press("Tab")
            assert tab.run(is_reached), control
            tab.press_to_leave(key) if control == "button" else tab.press(key)
        assert "cancelled" in tab.text()


# The page of each action, what is entered there, and what it shows afterwards. {…} are ids of tasks and runs.
WITHOUT_SCRIPT: dict[str, tuple[str, dict[str, str], str]] = {
    "/tasks/{task_id}/cancel": ("tasks/{waiting}", {}, "cancelled"),
    "/tasks/{task_id}/rerun": ("tasks/{ended}", {}, "pending"),
    "/queues/pause": ("queues?queue=orders", {}, "Resume"),
    "/queues/resume": ("queues?queue=mail", {}, "Pause"),
    "/queues/limit": ("queues?queue=mail", {"max_concurrency": "77"}, "77"),
    "/queues/pause-key": ("queues?queue=orders", {"key": "orders"}, "paused"),
    "/queues/resume-key": ("queues?queue=orders", {"key": "orders"}, "orders"),
    "/runs/{run_id}/pause": ("runs/{run}", {}, "paused"),
    "/runs/{run_id}/resume": ("runs/{run}", {}, "running"),
    "/runs/{run_id}/cancel": ("runs/{run}", {}, "cancelled"),
    "/send/submit": ("send?task=orders", {"arg.order_id": "5"}, "pending"),
    "/schedules/run": ("schedules?schedule=hourly", {}, "add"),
    "/schedules/pause": ("schedules?schedule=hourly", {}, "Resume"),
    "/schedules/resume": ("schedules?schedule=hourly", {}, "Pause"),
}
ELSEWHERE = {"/queues/rate", *(each.path for each in ACTIONS if each.path.startswith("/bulk/"))}
"""Actions that this file does not perform: only test_bulk.py and others do, over HTTP."""
FORM = "[...document.forms].find((form) => form.method === 'post' && new URL(form.action).pathname.endsWith('{path}'))"


def test_pages_and_actions_work_without_script(browser: Browser, url: str, busy: Busy, pages: list[str]) -> None:
    assert {*WITHOUT_SCRIPT, *ELSEWHERE} == {each.path for each in ACTIONS}, "add the new action to a table"
    ids = {**busy.ids, **busy.runs}
    with browser.tab() as tab:
        tab.without_script()
        for page in pages:
            tab.open(url + page)
            assert len(tab.text()) > 30, page
        assert problems(tab) == []
        for action, (page, fields, shown) in WITHOUT_SCRIPT.items():
            tab.open(f"{url}/{page.format(**ids)}")
            form = FORM.format(path=action.rpartition("}")[2])
            assert tab.run(f"{form} !== undefined"), action
            tab.run(
                f"for (let each = {form}; each; each = each.parentElement) if (each.tagName === 'DETAILS') each.open = true"
            )
            for field, value in fields.items():
                tab.run(f"{form}.elements[{field!r}].value = {value!r}")
            tab.run(f"{form}.querySelector('button').focus()")
            tab.press_to_leave("Enter")
            assert shown in tab.text(), (action, tab.text())
        assert problems(tab) == []
