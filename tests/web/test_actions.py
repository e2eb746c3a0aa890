"""Actions: what they change, what they record, and that pages show the change at once."""

import html
import json
import re

import httpx
import pytest

from horsies import Horsies
from horsies.db.queries.limits import QueueLimits
from horsies.web import User
from tests.support.factories import DrivenWorker, cap_queue, ended_task, pause_queue, send
from tests.support.flow import declare_queue, rate, send_keys
from tests.support.sessions import Session, column, scalar
from tests.support.web import SAME_ORIGIN, Visitor

FORMS = ("/cancel", "/rerun", "/queues/pause", "/queues/limit")
LIMIT = re.compile('name="max_concurrency"[^>]* value="([^"]*)"')


def target(answer: httpx.Response) -> str:
    """Return the path to which an action leads."""
    assert answer.status_code == 303, answer.text
    return answer.url.join(answer.headers["location"]).raw_path.decode()


def recorded(db: Session) -> list[tuple[str, str]]:
    return db.execute("select who, action from horsies.audit order by id").fetchall()


def test_a_task_is_cancelled_and_recorded(visitor: Visitor, db: Session) -> None:
    task_id = send(db)
    page = f"/tasks/{task_id}"
    assert "Cancel this task" in visitor.page(page)
    assert target(visitor.act(f"{page}/cancel")) == page
    assert "cancelled" in visitor.page(page)
    assert scalar(db, "select status from horsies.history") == "CANCELLED"
    assert recorded(db) == [("ada", "task.cancel")]
    assert target(visitor.act(f"{page}/cancel")) == page  # it has ended, so nothing changes
    assert len(recorded(db)) == 1


def test_a_task_is_sent_again_only_once_for_one_form(visitor: Visitor, db: Session) -> None:
    task_id = ended_task(db)
    [new_id] = [target(visitor.act(f"/tasks/{task_id}/rerun", reruns="0")).removeprefix("/tasks/")]
    assert column(db, "select id::text from horsies.tasks") == [new_id]
    again = visitor.act(f"/tasks/{task_id}/rerun", reruns="0")
    assert again.status_code == 409
    assert "sent again meanwhile" in again.text
    assert f'href="../tasks/{new_id}"' in visitor.page(f"/tasks/{task_id}")
    assert recorded(db) == [("ada", "task.rerun")]


def test_a_live_task_is_not_sent_again(visitor: Visitor, db: Session) -> None:
    assert visitor.act(f"/tasks/{send(db)}/rerun").status_code == 409


def test_a_queue_is_paused_resumed_and_limited(visitor: Visitor, db: Session) -> None:
    assert DrivenWorker(db)
    page = "/queues?queue=default"
    assert "Pause the queue" in visitor.page(page)
    assert target(visitor.act("/queues/pause", queue="default")) == page
    assert "Resume the queue" in visitor.page(page)
    visitor.act("/queues/resume", queue="default")
    assert "Pause the queue" in visitor.page(page)
    visitor.act("/queues/limit", queue="default", max_concurrency="7")
    assert visitor.get("/queues.json").json()["data"]["queues"][0]["places"] == 7
    assert LIMIT.findall(visitor.page(page)) == ["7"]
    assert "As declared" in visitor.page(page)
    visitor.act("/queues/limit", queue="default", as_declared="1")
    assert visitor.get("/queues.json").json()["data"]["queues"][0]["places"] is None
    assert LIMIT.findall(visitor.page(page)) == [""]
    assert [action for _, action in recorded(db)] == ["queue.pause", "queue.resume", "queue.cap", "queue.cap"]


def rate_of(visitor: Visitor, name: str = "rate") -> dict[str, object] | None:
    limits = visitor.get("/queues.json?queue=default").json()["data"]["chosen"]["limits"]
    return dict(zip(QueueLimits._fields, limits, strict=True))[name]


def test_the_rate_of_a_queue_is_set_lifted_and_restored(visitor: Visitor, db: Session) -> None:
    declare_queue(db, takes_turns=False, rate=rate(7, 30))
    page = "/queues?queue=default"
    assert rate_of(visitor) == {"limit": 7, "per_seconds": 30.0, "burst": 1}
    assert target(visitor.act("/queues/rate", queue="default", limit="100", per_seconds="60.5", burst="5")) == page
    assert rate_of(visitor) == {"limit": 100, "per_seconds": 60.5, "burst": 5}
    text = visitor.page(page)
    assert re.findall('name="(limit|per_seconds|burst)"[^>]* value="([^"]*)"', text) == [
        ("limit", "100"),
        ("per_seconds", "60.5"),
        ("burst", "5"),
    ]
    assert "Rate of one key" not in text, "the queue is not keyed"
    visitor.act("/queues/rate", queue="default", no_limit="1")
    assert rate_of(visitor) is None
    visitor.act("/queues/rate", queue="default", as_declared="1")
    assert rate_of(visitor) == {"limit": 7, "per_seconds": 30.0, "burst": 1}
    visitor.act("/queues/rate", queue="default", limit="100", per_seconds="60")
    assert rate_of(visitor) == {"limit": 100, "per_seconds": 60.0, "burst": 10}
    assert recorded(db) == [("ada", "queue.limit")] * 4


def test_the_rate_of_keys_is_set_for_a_keyed_queue(visitor: Visitor, db: Session) -> None:
    declare_queue(db)
    assert "Rate of one key: none" in visitor.page("/queues?queue=default")
    visitor.act("/queues/rate", queue="default", per="key", limit="2", per_seconds="0.5")
    assert rate_of(visitor, "rate_per_key") == {"limit": 2, "per_seconds": 0.5, "burst": 1}
    assert rate_of(visitor) is None
    assert "Rate of one key: 2 in" in visitor.page("/queues?queue=default")


def test_names_with_any_characters_come_back(visitor: Visitor, db: Session) -> None:
    name = "a/b?c=d&e#ü"
    answer = visitor.act("/queues/pause", queue=name)
    assert httpx.URL(answer.headers["location"]).params["queue"] == name
    assert column(db, "select name from horsies.queues where paused") == [name]


def test_a_queue_that_the_database_does_not_know_has_a_form_for_a_limit(visitor: Visitor) -> None:
    assert LIMIT.findall(visitor.page("/queues?queue=nothing")) == [""]


KEYS = [" acme", "acme ", "a\u202ecme", "\u200bacme", "<b>'\"&amp;", "a\nb", "a\rb", "a\r\nb\n"]


@pytest.mark.parametrize("key", KEYS)
def test_the_form_of_a_key_acts_on_this_key(visitor: Visitor, db: Session, key: str) -> None:
    declare_queue(db)
    send_keys(db, [key])
    [(name, shown)] = re.findall('name="(key[^"]*)" value="([^"]+)"', visitor.page("/queues?queue=default"))
    sent = re.sub("\r\n|\r|\n", "\r\n", html.unescape(shown))  # as browsers do
    assert visitor.act("/queues/pause-key", **{"queue": "default", name: sent}).status_code == 303
    assert column(db, "select key from horsies.holds where kind = 'paused'") == [key]


def test_keys_of_a_queue_without_keys_cannot_be_paused(visitor: Visitor) -> None:
    answer = visitor.act("/queues/pause-key", queue="default", key="acme")
    assert answer.status_code == 409
    assert "not keyed" in answer.text


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/queues/pause", {}, 400),
        ("/queues/pause", {"queue": "x", "other": "y"}, 400),
        ("/queues/limit", {"queue": "x"}, 400),
        ("/queues/limit", {"queue": "x", "max_concurrency": " "}, 400),
        ("/queues/limit", {"queue": "x", "max_concurrency": "1", "as_declared": "1"}, 400),
        ("/queues/limit", {"queue": "x", "as_declared": "yes"}, 400),
        ("/queues/limit", {"queue": "x", "max_concurrency": "-1"}, 400),
        ("/queues/limit", {"queue": "x", "max_concurrency": "99999999999"}, 400),
        ("/queues/rate", {"queue": "x"}, 400),
        ("/queues/rate", {"limit": "1", "per_seconds": "1"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1"}, 400),
        ("/queues/rate", {"queue": "x", "per_seconds": "1"}, 400),
        ("/queues/rate", {"queue": "x", "burst": "1"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "0", "per_seconds": "1"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1_0", "per_seconds": "1"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1000001", "per_seconds": "1"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1", "per_seconds": "0"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1", "per_seconds": "nan"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1", "per_seconds": "1e3"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1", "per_seconds": "2678401"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1", "per_seconds": "1", "burst": "0"}, 400),
        ("/queues/rate", {"queue": "x", "limit": "1", "per_seconds": "1", "no_limit": "1"}, 400),
        ("/queues/rate", {"queue": "x", "no_limit": "1", "as_declared": "1"}, 400),
        ("/queues/rate", {"queue": "x", "no_limit": "yes"}, 400),
        ("/queues/rate", {"queue": "x", "per": "tenant", "no_limit": "1"}, 400),
        ("/queues/rate", {"queue": "x", "per": "key", "no_limit": "1"}, 409),
        ("/queues/pause", {"queue.json": "x"}, 400),
        ("/queues/pause", {"queue.json": "7"}, 400),
        ("/queues/pause", {"queue.json": '"\\ud800"'}, 400),
        ("/queues/pause", {"queue.json": '"\\u0000"'}, 400),
        ("/queues/pause", {"queue.json": '"x"', "queue": "x"}, 400),
        ("/queues/pause", {"queue": "x" * 20_000}, 413),
        ("/tasks/x/cancel", {}, 404),
        ("/tasks/01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e/rerun", {"reruns": "x"}, 400),
        ("/tasks/01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e/rerun", {}, 409),
    ],
)
def test_wrong_forms_change_nothing(
    visitor: Visitor, db: Session, path: str, fields: dict[str, str], status: int
) -> None:
    assert visitor.act(path, **fields).status_code == status
    assert recorded(db) == []


def test_other_content_is_refused(visitor: Visitor, db: Session) -> None:
    async def post(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/queues/pause", content=json.dumps({"queue": "x"}), headers=headers)

    headers = {**SAME_ORIGIN, "content-type": "application/json"}
    assert visitor.run(post).status_code == 415
    assert recorded(db) == []


def test_viewers_see_no_forms(app: Horsies, db: Session) -> None:
    pause_queue(db, "default")
    cap_queue(db, "default", 1)
    viewer = Visitor(app, User("v"))
    for path in ("/queues?queue=default", f"/tasks/{send(db)}", f"/tasks/{ended_task(db)}"):
        assert 'method="post"' not in viewer.page(path)
