"""Values that nobody expects: numbers out of range in every parameter and field, and texts of ten megabytes."""

import json
from urllib.parse import quote, urlencode

import httpx
import pytest

from horsies.web.actions import ACTIONS
from horsies.web.pages import PAGES
from horsies.web.pages.page import Page
from tests.support.factories import DrivenWorker, failed, request, send
from tests.support.runs import node, start
from tests.support.sessions import Session
from tests.support.web import SAME_ORIGIN, Visitor

UNKNOWN_ID = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
MEGABYTES = 10_000_000
MOST_OF_A_PAGE = 600_000
ODD_NUMBERS = (
    "-1",
    "0",
    str(2**31),
    str(2**63),
    "9" * 1000,
    "1e9",
    "1.5",
    "NaN",
    "inf",
    "0x10",
    " 1 ",
    "+1",
    "1_000",
    "\N{FULLWIDTH DIGIT ONE}",
    "\N{SUPERSCRIPT TWO}",
    "2026-01-01T00:00",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "\ud800",
    "\0",
)


def encoded(fields: dict[str, str]) -> str:
    return urlencode(fields, errors="surrogatepass")


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_no_number_in_a_url_makes_a_page_fail(visitor: Visitor, db: Session, page: Page) -> None:
    ids = {"{task_id}": str(send(db)), "{run_id}": str(start(db, node()))}
    ids["{bulk_id}"] = UNKNOWN_ID
    [path] = [page.path.replace(name, value) for name, value in ids.items() if name in page.path] or [page.path]
    paths = [f"{path}?{encoded({name: odd})}" for name in page.parameters for odd in ODD_NUMBERS]
    if "{" in page.path:
        beginning = page.path.partition("{")[0]
        paths += [beginning + quote(odd, safe="", errors="surrogatepass") for odd in ODD_NUMBERS]

    async def ask(client: httpx.AsyncClient) -> list[int]:
        return [(await client.get(each)).status_code for each in paths]

    statuses = visitor.run(ask)
    wrong = [f"{each}: {status}" for each, status in zip(paths, statuses, strict=True) if status not in {200, 400, 404}]
    assert not wrong, "\n".join(wrong)


def test_no_number_in_a_form_makes_an_action_fail(visitor: Visitor, db: Session) -> None:
    ids = {"task_id": str(send(db)), "run_id": str(start(db, node())), "bulk_id": UNKNOWN_ID}
    whole = {"queue": "default", "key": "a", "schedule": "nightly", "task": "add", "token": "t" * 8}
    wanted = [
        (each.path.format(**ids), encoded({name: whole.get(name, "1") for name in each.fields} | {field: odd}))
        for each in ACTIONS
        for field in (*each.fields, f"{each.group}x")
        for odd in ODD_NUMBERS
        if field != "x"
    ]
    headers = {**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"}

    async def ask(client: httpx.AsyncClient) -> list[int]:
        return [(await client.post(path, content=body, headers=headers)).status_code for path, body in wanted]

    statuses = visitor.run(ask)
    wrong = [
        f"{ask}: {status}" for ask, status in zip(wanted, statuses, strict=True) if status not in {303, 400, 404, 409}
    ]
    assert not wrong, "\n".join(wrong)


def test_texts_of_ten_megabytes_are_cut_on_every_page(visitor: Visitor, db: Session) -> None:
    text = "<b>\x1b[2J" + "x" * MEGABYTES
    worker = DrivenWorker(db)
    task_id = send(db, request(args=json.dumps({"a": text}).encode()))
    raised = {"type": "ValueError", "message": text, "traceback": text}
    error = {"error_code": "BOOM", "message": text, "data": {"a": text}, "exception": raised}
    worker.finish(failed(worker.claim_one())._replace(result=json.dumps(error).encode()))
    run_id = start(db, node(args={"a": text}))
    for path in (
        *(page.path for page in PAGES if "{" not in page.path),
        f"/tasks/{task_id}",
        f"/runs/{run_id}",
        f"/runs/{run_id}?view=timeline",
        "/tasks?filter=status:failed",
    ):
        page = visitor.page(path)
        assert len(page) < MOST_OF_A_PAGE, path
        assert "\x1b" not in page, path
        assert "<b>" not in page, path
    assert "more characters" in visitor.page(f"/tasks/{task_id}")
    assert len(visitor.get("/tasks.json").text) < MOST_OF_A_PAGE
