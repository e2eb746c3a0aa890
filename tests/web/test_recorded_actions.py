"""Every action of the web interface is recorded in the database, in the name of the user."""

from collections.abc import Callable

import pytest

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult
from horsies.monitoring.audit import ACTIONS as RECORDED
from horsies.web.actions import ACTIONS
from tests.support.bulk import control, preview
from tests.support.factories import define, ended_task, pause_queue, send
from tests.support.flow import declare_queue, hold, send_keys
from tests.support.runs import node, start
from tests.support.sessions import Session
from tests.support.web import Visitor

type Prepared = tuple[dict[str, str], dict[str, str]]
"""The values in the path of an action, and the fields of its form."""


def queue(db: Session) -> Prepared:
    return {}, {"queue": "default"}


def task(db: Session) -> Prepared:
    return {"task_id": str(send(db))}, {}


def ended(db: Session) -> Prepared:
    return {"task_id": str(ended_task(db))}, {"reruns": "0"}


def paused(db: Session) -> Prepared:
    pause_queue(db, "default")
    return {}, {"queue": "default"}


def rated(db: Session) -> Prepared:
    declare_queue(db)
    return {}, {"queue": "default", "limit": "5", "per_seconds": "60"}


def keyed(db: Session) -> Prepared:
    declare_queue(db)
    send_keys(db, ["acme"])
    return {}, {"queue": "default", "key": "acme"}


def held(db: Session) -> Prepared:
    prepared = keyed(db)
    hold(db, "horsies.now() + interval '1 hour'", key="acme")
    return prepared


def run(db: Session) -> Prepared:
    return {"run_id": str(start(db, node()))}, {}


def paused_run(db: Session) -> Prepared:
    prepared = run(db)
    db.execute("select horsies.workflow_control(%s, 'pause')", (prepared[0]["run_id"],))
    return prepared


def schedule(db: Session) -> Prepared:
    define(db)
    return {}, {"schedule": "nightly"}


def paused_schedule(db: Session) -> Prepared:
    prepared = schedule(db)
    db.execute("update horsies.schedules set paused = true")
    return prepared


def filtered(kind: str) -> Callable[[Session], Prepared]:
    def prepare(db: Session) -> Prepared:
        send(db)
        ended_task(db)
        return {}, {"filter": "status:completed" if kind == "rerun" else "status:pending"}

    return prepare


def bulk(kind: str, *changes: str) -> Callable[[Session], Prepared]:
    def prepare(db: Session) -> Prepared:
        send(db)
        ended_task(db)
        bulk_id = preview(db, kind, statuses=["COMPLETED"] if kind == "rerun" else ["PENDING"], who="eve")
        for change in changes:
            assert control(db, bulk_id, change, kind, who="eve") is not None
        return {"bulk_id": str(bulk_id)}, {}

    return prepare


CASES: dict[str, tuple[str, Callable[[Session], Prepared]]] = {
    "/tasks/{task_id}/cancel": ("task.cancel", task),
    "/tasks/{task_id}/rerun": ("task.rerun", ended),
    "/queues/pause": ("queue.pause", queue),
    "/queues/resume": ("queue.resume", paused),
    "/queues/limit": ("queue.cap", lambda _: ({}, {"queue": "default", "max_concurrency": "3"})),
    "/queues/rate": ("queue.limit", rated),
    "/queues/pause-key": ("key.pause", keyed),
    "/queues/resume-key": ("key.resume", held),
    "/runs/{run_id}/pause": ("run.pause", run),
    "/runs/{run_id}/resume": ("run.resume", paused_run),
    "/runs/{run_id}/cancel": ("run.cancel", run),
    "/schedules/run": ("schedule.run", schedule),
    "/schedules/pause": ("schedule.pause", schedule),
    "/schedules/resume": ("schedule.resume", paused_schedule),
    "/send/submit": ("task.send", lambda _: ({}, {"task": "add", "token": "t" * 20, "arg.a": "1"})),
    **{f"/bulk/{kind}/preview": ("bulk.preview", filtered(kind)) for kind in ("cancel", "rerun")},
    **{f"/bulk/{kind}/{{bulk_id}}/start": ("bulk.start", bulk(kind)) for kind in ("cancel", "rerun")},
    **{f"/bulk/{kind}/{{bulk_id}}/stop": ("bulk.stop", bulk(kind, "start")) for kind in ("cancel", "rerun")},
    **{
        f"/bulk/{kind}/{{bulk_id}}/resume": ("bulk.resume", bulk(kind, "start", "stop")) for kind in ("cancel", "rerun")
    },
}
"""For each action, what is recorded, and how to prepare the database so that the action changes something."""


@pytest.fixture
def shop(database_url: str) -> Horsies:
    app = Horsies(AppConfig(broker=PostgresConfig(database_url=database_url, auto_migrate=False)))

    @app.task("add")
    def add(a: int) -> TaskResult[int, TaskError]:
        return TaskResult(ok=a)

    return app


def test_every_action_is_tested_here() -> None:
    assert CASES.keys() == {each.path for each in ACTIONS}
    assert {recorded for recorded, _ in CASES.values()} <= {*RECORDED}


@pytest.mark.parametrize("path", CASES)
def test_an_action_is_recorded_for_the_user(shop: Horsies, db: Session, path: str) -> None:
    recorded, prepare = CASES[path]
    values, fields = prepare(db)
    db.execute("delete from horsies.audit")
    answer = Visitor(shop).act(path.format(**values), **fields)
    assert answer.status_code == 303, answer.text
    found = db.execute("select who, action from horsies.audit order by id").fetchall()
    first = found[0]
    assert first == ("ada", recorded)
    # A started action has processed its batch, too.
    assert {action for _, action in found[1:]} <= {"task.cancel", "task.rerun"}
    assert {who for who, _ in found} == {"ada"}


def test_a_refused_send_is_not_recorded(shop: Horsies, db: Session) -> None:
    answer = Visitor(shop).act("/send/submit", task="add", token="t" * 20, **{"arg.a": "many"})
    assert answer.status_code == 400
    assert db.execute("select * from horsies.audit").fetchall() == []


def test_the_record_of_a_send_names_the_task_and_not_its_arguments(shop: Horsies, db: Session) -> None:
    visitor = Visitor(shop)
    for _ in range(2):
        visitor.act("/send/submit", task="add", token="t" * 20, **{"arg.a": "1234567"})
    [(subjects, details)] = db.execute("select subjects, details::text from horsies.audit").fetchall()
    [(task_id,)] = db.execute("select id::text from horsies.tasks").fetchall()
    assert subjects == [task_id]
    assert details == '{"task_names" : ["add"]}'
