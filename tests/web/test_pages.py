"""The pages: what they show, hostile names and errors, parameters, prefixes, and their JSON documents."""

import asyncio
import json
import re
import time
from datetime import timedelta
from threading import get_ident
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from horsies import AppConfig, Horsies, PostgresConfig
from horsies.db.queries import tasks as task_queries
from horsies.db.rights import Kind, grant_sql
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from horsies.web import Right, User, horsies_web
from horsies.web import site as site_module
from horsies.web.actions import ACTIONS
from horsies.web.formats import document, duration
from horsies.web.pages.page import Page
from horsies.web.visit import Visit
from tests.support.factories import (
    DrivenWorker,
    cap_queue,
    count_of_a_worker,
    done,
    ended_task,
    failed,
    pause_queue,
    request,
    send,
)
from tests.support.roles import new_role
from tests.support.runs import node, start
from tests.support.sessions import Session, call, freeze_clock, move_clock, scalar
from tests.support.waiting import wait_until
from tests.support.web import ADMIN, Visitor, everybody_is, open_app

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>\x1b[2J\u202e"
LINK = re.compile(r"""(?:href|action|src)="([^"]*)\"""")
STALE = re.compile(r"<span data-fresh[^>]*>([^<]*)</span>")
PATHS = (
    "/",
    "/queues",
    "/tasks",
    "/workers",
    "/runs",
    "/definitions",
    "/send",
    "/queues?queue=default",
    "/tasks?filter=status:failed",
    "/runs?status=failed",
    "/errors",
    "/schedules",
    "/system",
    "/errors?task=x&new=1",
    "/schedules?schedule=x&view=week",
)


def fail(db: Session, worker: DrivenWorker, code: str, error: dict[str, object]) -> None:
    fence = worker.claim_one()
    outcome = failed(fence, code)
    worker.finish(outcome._replace(result=json.dumps({"error_code": code, **error}).encode()))


def test_an_empty_queue_teaches_how_to_begin(visitor: Visitor) -> None:
    for path in PATHS:
        visitor.page(path)
    assert "No worker is alive" in visitor.page("/")
    assert "horsies worker" in visitor.page("/queues")
    assert "horsies send" in visitor.page("/tasks")


def test_the_overview(visitor: Visitor, db: Session) -> None:
    worker = DrivenWorker(db)
    assert "All is well" in visitor.page("/")
    ended_task(db)
    send(db, request(name="unknown"))
    assert worker
    text = Visitor(visitor.app).page("/")
    assert "1 task unknown in queue default cannot run" in text
    assert "no worker" in text
    assert "All is well" not in text


def test_minutes_that_are_not_closed_are_marked(visitor: Visitor, db: Session) -> None:
    count_of_a_worker(db)
    page = visitor.page("/")
    assert page.count('<g class="current">') == 1
    assert "UTC, so far: 3 completed, 2 failed" in page
    chart = visitor.get("/overview.json").json()["data"]["throughput"]["columns"]
    assert [each["counts"] for each in chart if each["is_current"]] == [{"completed": 3, "retried": 0, "failed": 2}]
    assert all({"expired", "cancelled"} <= each["counts"].keys() for each in chart if not each["is_current"])


def test_a_paused_queue_is_a_problem_only_if_tasks_wait(db: Session, visitor: Visitor) -> None:
    assert DrivenWorker(db)
    pause_queue(db, "default")
    assert "All is well" in visitor.page("/")
    send(db)
    text = Visitor(visitor.app).page("/")
    assert "Queue default is paused, and 1 task in it wait." in text


def test_the_gauge_of_a_queue_links_to_the_tasks_that_fill_it(visitor: Visitor, db: Session) -> None:
    send(db)
    cap_queue(db, "default", 3)
    fence = DrivenWorker(db).claim_one()
    text = visitor.page("/queues?queue=default")
    assert text.count('class="free"') == 2
    assert f'href="./tasks/{fence.task_id}"' in text
    card = visitor.get("/queues.json").json()["data"]["queues"][0]
    assert [part["kind"] for part in card["gauge"]] == ["running", "free", "free"]


def test_workers_with_the_tasks_in_their_slots(visitor: Visitor, db: Session) -> None:
    assert "No worker is registered" in visitor.page("/workers")
    freeze_clock(db)
    send(db)
    worker = DrivenWorker(db, stale_after_s=60)
    fence = worker.claim_one()
    worker.heartbeat(-7)
    text = Visitor(visitor.app).page("/workers")
    assert f'href="./tasks/{fence.task_id}"' in text
    assert "its clock is 7.0 s behind" in text
    [card] = Visitor(visitor.app).get("/workers.json").json()["data"]["workers"]
    assert [part["kind"] for part in card["gauge"]] == ["running", "free"]
    move_clock(db, 61)
    assert "silent" in Visitor(visitor.app).page("/workers")


def test_tasks_are_listed_page_by_page(visitor: Visitor, db: Session) -> None:
    sent = [str(send(db)) for _ in range(5)]
    found: list[str] = []
    path = "/tasks.json?limit=2"
    while path:
        data = visitor.get(path).json()["data"]
        found += [each["task_id"] for each in data["tasks"]]
        path = data["next_before"] and f"/tasks.json?limit=2&before={data['next_before']}"
    assert found == sent[::-1]
    assert "Older tasks" in visitor.page("/tasks?limit=2")


def test_a_mistake_in_a_filter_is_shown_with_its_place(visitor: Visitor) -> None:
    text = visitor.page("/tasks?filter=status:faild")
    assert "there is no status &#39;faild&#39;" in text
    assert "did you mean" in text
    assert "^^^^^" in text


def test_a_task_says_why_it_waits(visitor: Visitor, db: Session) -> None:
    assert DrivenWorker(db)
    task_id = send(db, request(delay=3600))
    text = visitor.page(f"/tasks/{task_id}")
    assert "It is due at" in text
    assert "It was sent for a later time." in text


@pytest.mark.parametrize("digits", ["1" + 400 * "0", "-1" + 400 * "0", "1e-310"], ids=len)
def test_progress_beyond_all_measures_is_shown(visitor: Visitor, db: Session, digits: str) -> None:
    task_id = send(db)
    fence = DrivenWorker(db).claim_one()
    assert call(db, task_queries.progress(fence.task_id, 1, f'{{"done":{digits},"total":1,"note":null}}'.encode()))
    assert "%" in visitor.page(f"/tasks/{task_id}") or "Progress:" in visitor.page(f"/tasks/{task_id}")
    assert visitor.get(f"/tasks/{task_id}.json").json()["data"]["progress"]["left_s"] is None


@pytest.mark.parametrize("task_id", ["01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e", "x", "%3Cscript%3E"])
def test_an_unknown_task(visitor: Visitor, task_id: str) -> None:
    answer = visitor.get(f"/tasks/{task_id}")
    assert answer.status_code == 404
    assert "no such task" in answer.text
    assert visitor.get(f"/tasks/{task_id}.json").json()["status"] == 404


def test_arguments_and_tracebacks_need_a_right(app: Horsies, db: Session) -> None:
    task_id = send(db, request(args=b'{"a":"secret argument"}'))
    error = {"message": "a message", "data": {"card": "secret data"}}
    error["exception"] = {"type": "ValueError", "message": "m", "traceback": "secret traceback"}
    fail(db, DrivenWorker(db), "BOOM", error)
    done_id = send(db)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one(), b'"secret result"'))
    for suffix in ("", ".json"):
        viewer = Visitor(app, User("v", frozenset({Right.VIEW})))
        texts = [viewer.page(f"/tasks/{each}{suffix}") for each in (task_id, done_id)]
        assert "a message" in texts[0]
        assert not any("secret" in text for text in texts)
        allowed = Visitor(app)
        texts = [allowed.page(f"/tasks/{each}{suffix}") for each in (task_id, done_id)]
        assert [word in texts[0] for word in ("secret argument", "secret data", "secret traceback")] == [True] * 3
        assert "secret result" in texts[1]


def test_what_the_role_of_the_database_may_not_see_is_not_said_to_be_missing(db: Session, database_url: str) -> None:
    task_id = send(db)
    fail(db, DrivenWorker(db), "BOOM", {"message": "a message"})
    with new_role(db) as role:
        db.execute(grant_sql(DEFAULT_SCHEMA, role, (Kind.VIEWER,)).encode())
        db.execute(f"alter role {role} login".encode())
        app = open_app(re.sub("//[^@/]*@", f"//{role}@", database_url))
        text = Visitor(app).page(f"/tasks/{task_id}")
        app.close()
    assert "may not see arguments" in text
    assert "may not see it" in text
    assert "null" not in text


def test_a_viewer_never_gets_what_another_user_has_asked_for(app: Horsies, db: Session) -> None:
    task_id = send(db, request(args=b'{"a":"secret"}'))
    user = ADMIN

    async def auth(_connection: object) -> User:
        return user

    visitor = Visitor(app, site=horsies_web(app, auth=auth))
    assert "secret" in visitor.page(f"/tasks/{task_id}")
    user = User("v")
    assert "secret" not in visitor.page(f"/tasks/{task_id}")


def test_hostile_names_errors_and_arguments_are_only_text(visitor: Visitor, db: Session) -> None:
    name = HOSTILE.replace("\x1b", "").replace(" ", "_")[:100]
    DrivenWorker(db, names=[name])
    task_id = send(db, request(name=name, args=json.dumps({"a": HOSTILE}).encode()))
    worker = DrivenWorker(db, names=[name])
    error = {"message": HOSTILE, "exception": {"type": "T", "message": "m", "traceback": HOSTILE}}
    fail(db, worker, "<b>", error)
    send(db, request(name=name))
    for path in (*PATHS, f"/tasks/{task_id}", f"/queues?queue={quote(HOSTILE)}", f"/tasks?filter={quote(HOSTILE)}"):
        text = visitor.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "\x1b" not in text, path
        assert "\u202e" not in text, path
        assert "<b>" not in text, path
    document = visitor.get(f"/tasks/{task_id}.json")
    assert "\u202e" not in document.text
    assert document.json()["data"]["task"]["error_code"] == "<b>"


def test_large_arguments_are_cut(visitor: Visitor, db: Session) -> None:
    task_id = send(db, request(args=json.dumps({"a": "x" * 10_000_000}).encode()))
    text = visitor.page(f"/tasks/{task_id}")
    assert "more is left out" in text
    assert len(text) < 200_000


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=1e3",
        "limit=99999999999999999999",
        "limit=\N{ARABIC-INDIC DIGIT ONE}",
        "before=x",
        "unknown=1",
        "limit=1&limit=2",
        "filter=%00",
        "filter=%ff",
        "filter=" + "x" * 2001,
        "&".join(f"a{n}=1" for n in range(50)),
    ],
)
def test_wrong_parameters_are_refused(visitor: Visitor, query: str) -> None:
    for path in ("/tasks", "/tasks.json"):
        answer = visitor.get(f"{path}?{query}")
        assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


def test_long_urls_are_refused(visitor: Visitor) -> None:
    assert visitor.get("/tasks?filter=" + "x" * 9000).status_code == 414


def resolved_links(visitor: Visitor, url: str) -> set[str]:
    """Return where the links of a page lead to."""
    answer = visitor.get(url)
    assert answer.status_code == 200, answer.text
    base = httpx.URL("http://localhost").join(url)
    links = {
        base.join(link.replace("&amp;", "&")).raw_path.decode()
        for link in LINK.findall(answer.text)
        if not link.startswith("data:")
    }
    return {link for link in links if "#" not in link}


@pytest.mark.parametrize("prefix", ["", "/queue", "/a/b"])
def test_all_links_work_below_any_prefix(app: Horsies, db: Session, prefix: str) -> None:
    task_id = ended_task(db)
    send(db)
    run_id = start(db, node(), node(0))
    site = horsies_web(app, auth=everybody_is(ADMIN))
    outer = Starlette(routes=[Mount(prefix, site)]) if prefix else site
    actions = {each.path.replace("{task_id}", str(task_id)).replace("{run_id}", str(run_id)) for each in ACTIONS}
    visitor = Visitor(app, site=outer)
    for path in (*PATHS, f"/tasks/{task_id}", f"/runs/{run_id}"):
        for link in resolved_links(visitor, prefix + path):
            assert link.startswith(f"{prefix}/"), link
            is_action = link.removeprefix(prefix) in actions
            assert visitor.get(link).status_code == (405 if is_action else 200), link


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/queue/tasks/?limit=3", "/queue/tasks?limit=3"),
        ("/queue//evil.example/", "/queue/evil.example"),
        ("/queue", "/queue/"),
    ],
)
def test_a_slash_too_many_or_too_few_is_corrected(app: Horsies, path: str, target: str) -> None:
    site = horsies_web(app, auth=everybody_is(ADMIN))
    visitor = Visitor(app, site=Starlette(routes=[Mount("/queue", site)]))
    answer = visitor.get(path)
    assert answer.status_code == 307
    found = httpx.URL(f"http://localhost{path}").join(answer.headers["location"])
    assert (found.host, found.raw_path.decode()) == ("localhost", target)


def test_two_apps_side_by_side(app: Horsies, db: Session) -> None:
    send(db)
    other = open_app()
    sites = {"/one": horsies_web(app, auth=everybody_is(ADMIN)), "/two": horsies_web(other, auth=everybody_is(ADMIN))}
    visitor = Visitor(app, site=Starlette(routes=[Mount(path, site) for path, site in sites.items()]))
    assert visitor.get("/one/tasks.json").json()["data"]["tasks"]
    assert visitor.get("/two/tasks.json").status_code == 503


def test_a_page_says_why_the_database_cannot_be_used(database_url: str) -> None:
    config = PostgresConfig(database_url=database_url, schema="missing", auto_migrate=False)
    answer = Visitor(Horsies(AppConfig(broker=config))).get("/queues")
    assert answer.status_code == 503
    assert "horsies db migrate" in answer.text
    assert "does not answer" not in answer.text
    assert "retry-after" not in answer.headers
    away = Visitor(open_app()).get("/queues.json")
    assert away.json()["error"].startswith("The database does not answer. Reload this page")
    assert away.headers["retry-after"] == "2"


def test_a_page_with_earlier_answers_says_why(visitor: Visitor, db: Session) -> None:
    visitor.page("/queues")
    db.execute("alter schema horsies rename to moved")
    found = wait_until(lambda: STALE.search(visitor.page("/queues")), 20, "a page with earlier answers")
    assert "The database cannot be used: " in found[1]
    assert "This page shows" in found[1]


class Watched:
    """The data of the page of workers, which notes the threads that render it."""

    unserved = ()
    app_versions = ()

    def __init__(self) -> None:
        self.threads = set[int]()

    @property
    def workers(self) -> tuple[()]:
        self.threads.add(get_ident())
        return ()

    def __str__(self) -> str:
        self.threads.add(get_ident())
        return "workers"

    async def load(self, _visit: Visit) -> object:
        return self


@pytest.mark.parametrize("look", ["/workers", "/workers.json", "versions"])
def test_other_requests_are_served_while_a_page_is_rendered(monkeypatch: pytest.MonkeyPatch, look: str) -> None:
    watched = Watched()
    monkeypatch.setattr(site_module, "PAGES", (Page("workers", "/workers", "Workers", watched.load, ("workers",)),))
    if look == "versions":
        assert asyncio.run(site_module.Site(open_app()).versions_of(ADMIN, "workers"))
    else:
        Visitor(open_app()).page(look)
    assert watched.threads
    assert get_ident() not in watched.threads  # the event loop runs in this thread


def test_versions_of_a_page_that_fails_are_not_those_of_an_earlier_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(_visit: Visit) -> object:
        if fails:
            raise OverflowError
        return Watched()

    async def look() -> None:
        nonlocal fails
        site = site_module.Site(open_app())
        assert await site.versions_of(ADMIN, "workers")
        fails = True
        site.snapshots.expire()
        assert [await site.versions_of(ADMIN, "workers") for _ in range(2)] == [None, None]

    fails = False
    monkeypatch.setattr(site_module, "PAGES", (Page("workers", "/workers", "Workers", load, ("workers",)),))
    asyncio.run(look())


def test_viewers_share_the_answers_of_the_database(app: Horsies, db: Session) -> None:
    site = horsies_web(app, auth=everybody_is(ADMIN))
    db.execute(f'alter database "{scalar(db, "select current_database()")}" set track_functions = pl')

    async def look(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.get("/queues") for _ in range(50)))

    started = time.monotonic()
    answers = Visitor(app, site=site).run(look)
    seconds = time.monotonic() - started
    assert {each.status_code for each in answers} == {200}
    calls = "select sum(calls) from pg_stat_user_functions where funcname = 'queue_status'"
    wait_until(lambda: scalar(db, calls), 20, "the statistics of functions")
    assert scalar(db, calls) <= seconds + 1


def test_only_the_shown_part_of_a_document_is_encoded() -> None:
    encoded = list[str]()

    class Entry:
        def __str__(self) -> str:
            encoded.append("x" * 1000)
            return encoded[-1]

    assert json.loads(document({"a": [1, None, Entry()]})) == {"a": [1, None, "x" * 1000]}
    assert document([Entry() for _ in range(1000)]).endswith("has all of it")
    assert len(encoded) < 100


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.0004, "< 1 ms"),
        (0.25, "250 ms"),
        (1.24, "1.2 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (7200, "2 h"),
        (timedelta(days=3, hours=4), "3 d 4 h"),
        (-5, "-5.0 s"),
        (None, "unknown"),
    ],
)
def test_durations(value: timedelta | float | None, text: str) -> None:
    assert duration(value) == text
