"""Secrets in workflow runs and schedules: nodes get the real values, and nobody else sees them."""

import asyncio
import json
from collections.abc import Iterator
from datetime import time
from typing import Any
from uuid import UUID

import pytest

from horsies import (
    AppConfig,
    CustomQueueConfig,
    DailySchedule,
    Horsies,
    PostgresConfig,
    QueueMode,
    ScheduleConfig,
    Secret,
    TaskError,
    TaskResult,
    TaskSchedule,
    TaskStatus,
    Unique,
    WorkflowHandle,
    WorkflowSpec,
    monitoring,
)
from horsies.db.queries.workflows import workflow_state, workflow_tasks
from horsies.testing import TestQueue
from tests.support.leaks import leaks, secrets_in
from tests.support.sessions import Session, call, column, open_session
from tests.support.web import Visitor
from tests.testing.secret_runs import Nested, mapping, naming, passing
from tests.testing.secrets_app import MARK, app, pay, pay_once

PATHS = ["/", "/queues", "/tasks", "/workers", "/runs"]


@pytest.fixture
def queue(database_url: str) -> Iterator[TestQueue]:
    with TestQueue(app, database_url=database_url) as running:
        yield running


@pytest.fixture
def session(queue: TestQueue) -> Iterator[Session]:
    with open_session(queue.database_url) as opened:
        yield opened


def run(queue: TestQueue, session: Session, spec: WorkflowSpec[Any]) -> WorkflowHandle[Any]:
    """Run a workflow to its end, and look for leaks in all tables after each task."""
    handle = spec.start().unwrap()
    assert leaks(session, MARK) == [], "before it runs"
    seen: list[str] = []

    def has_ended() -> bool:
        seen.extend(leaks(session, MARK))
        return handle.status().unwrap().is_terminal

    queue.drain(until=has_ended)
    assert [*seen, *leaks(session, MARK)] == []
    assert_views_show_nothing(session, handle)
    return handle


def assert_views_show_nothing(session: Session, handle: WorkflowHandle[Any]) -> None:
    """Check what the command line and the monitoring show of a run."""
    run_id = handle.workflow_id
    uuid = UUID(run_id)
    shown: list[Any] = [call(session, workflow_state(uuid)), call(session, workflow_tasks(uuid, with_results=True))]
    broker = app.get_broker()
    shown += [monitoring.runs(broker).unwrap(), monitoring.run_nodes(broker, run_id).unwrap()]
    for task_id in column(session, "select id::text from horsies.history"):
        details = broker.get_task_info(task_id, include_result=True, include_failed_reason=True).unwrap()
        shown += [details, asyncio.run(broker.why(task_id)).unwrap()]
    assert MARK not in repr(shown)


def ok_values(handle: WorkflowHandle[Any]) -> dict[str, Any]:
    return {name: result.ok for name, result in handle.results().unwrap().items() if result.is_ok()}


def test_results_with_secrets_are_passed_on(queue: TestQueue, session: Session) -> None:
    handle = run(queue, session, passing())
    token = f"token of login {MARK}"
    assert ok_values(handle) == {
        "login": token,
        "called": f"answer to <{token}>",
        "again": f"answer to <answer to <{token}>>",
        "looked": f"seen {token}",
        "own": token,
    }
    results = handle.results().unwrap()
    assert getattr(results["failed"].err_value, "card", None) == token
    errors = [results[name].err_value for name in ("failed", "crashed")]
    assert MARK not in "".join(f"{error.message}{error.data}{error.exception}" for error in errors)
    assert "[redacted]" in str(errors[1].message)
    assert handle.get(timeout_ms=0).err_value.error_code == "DECLINED"
    assert secrets_in(session, "workflow_nodes", "secret_args", MARK) == 1
    assert secrets_in(session, "workflow_nodes", "secret_result", MARK) == 6


def test_maps_over_secrets(queue: TestQueue, session: Session) -> None:
    handle = run(queue, session, mapping())
    found = ok_values(handle)
    assert [each.ok for each in found["charged"]] == [f"lamps charged ada {number} {MARK}" for number in range(3)]
    assert found["total"] == ", ".join(each.ok for each in found["charged"])
    used = found["used"]
    assert "[redacted]" in used[0].err_value.message
    assert MARK not in used[0].err_value.message
    assert used[1].ok == f"listed 1 {MARK}"
    assert [each.ok for each in found["of_texts"]] == ["a plain item", f"<texts {MARK}>"]
    assert [each.ok for each in found["taken"]] == [len(f"firstkey {MARK}"), len(f"secondkey {MARK}")]
    keys = column(session, "select distinct task_key from horsies.history where task_key is not null order by 1")
    assert keys == ["<[redacted]>", "[redacted]", "a plain item", "lamps"]
    stored = "select args::text from horsies.history where task_name = 'take_secret' and item = 0"
    assert json.loads(column(session, stored)[0]) == {"api_key": "[redacted]", "token": "[redacted]"}


def test_reruns_of_nodes_and_items_know_what_is_secret(queue: TestQueue, session: Session) -> None:
    """The arguments of items are not declared as secret: only the public arguments say what they contain."""
    run(queue, session, mapping())
    query = "select id::text from horsies.history where task_name = any (%s) and secret_args is not null"
    again = column(session, query, ["use_token", "charge", "list_texts", "take_secret"])
    assert len(again) == 3 + 3 + 1 + 2
    for task_id in again:
        app.rerun(task_id).unwrap()
    queue.drain()
    assert leaks(session, MARK) == []
    results = "select secret_result #>> '{}' from horsies.history where rerun_of is not null order by 1"
    assert column(session, results)[:2] == [f"<texts {MARK}>", f'["a plain item", "<texts {MARK}>"]'.replace(", ", ",")]


def test_child_runs_pass_secrets_on(queue: TestQueue, session: Session) -> None:
    handle = run(queue, session, Nested.build(app))
    assert handle.get(timeout_ms=0).unwrap() == f"child {MARK} = child {MARK}"
    [summary] = [each.sub_workflow_summary for each in handle.tasks().unwrap() if each.sub_workflow_summary]
    assert summary.output == f"child {MARK}"
    assert set(column(session, "select task_key from horsies.history where task_name = 'charge'")) == {
        "shop of [redacted]"
    }


def test_a_rerun_with_secrets_belongs_to_no_node(queue: TestQueue, session: Session) -> None:
    handle = run(queue, session, naming())
    assert ok_values(handle) == {"named": "node 0"}
    [task_id] = column(session, "select id::text from horsies.history")
    app.rerun(task_id).unwrap()
    queue.drain()
    results = "select result #>> '{}' from horsies.history where rerun_of is not null"
    assert column(session, results) == ["no node"]


def test_a_schedule_of_a_unique_task(database_url: str) -> None:
    """The real arguments are compared: a send with the same card finds the task of the schedule."""
    scheduled = TaskSchedule(
        name="nightly", task_name="pay_once", pattern=DailySchedule(time(3)), args=(f"scheduled {MARK}",)
    )
    shop = Horsies(
        AppConfig(
            broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/shop"),
            queue_mode=QueueMode.CUSTOM,
            custom_queues=[CustomQueueConfig(name="shop")],
            schedule=ScheduleConfig(schedules=[scheduled]),
        )
    )

    def keep_card(card: Secret[str]) -> TaskResult[Secret[str], TaskError]:
        return TaskResult(ok=card)

    task = shop.task("pay_once", queue_name="shop", unique=Unique(by=("card",), on_conflict="keep"))(keep_card)
    with TestQueue(shop, database_url=database_url) as queue, open_session(queue.database_url) as session:
        queue.tick_schedules()
        asyncio.run(shop.get_broker().run_schedule("nightly")).unwrap()
        first, other = task.send(f"scheduled {MARK}").unwrap(), task.send(f"other {MARK}").unwrap()
        assert leaks(session, MARK) == []
        assert secrets_in(session, "schedules", "secret_unique_args", MARK) == 1
        assert column(session, "select count(*) from horsies.tasks") == [2]
        queue.drain()
        assert first.get(timeout_ms=0).unwrap() == f"scheduled {MARK}"
        assert other.get(timeout_ms=0).unwrap() == f"other {MARK}"
        assert leaks(session, MARK) == []


def test_bulk_reruns_and_asynchronous_sends(queue: TestQueue, session: Session) -> None:
    async def send() -> list[Any]:
        one = (await pay.send_async(f"awaited {MARK}")).unwrap()
        many = (await pay.send_many_async([(f"awaited many {MARK}",)])).unwrap()
        once = (await pay_once.send_async(f"awaited once {MARK}")).unwrap()
        together = (await app.send_many_async([pay.args(f"awaited together {MARK}")])).unwrap()
        return [one, *many, once, *together]

    sent = asyncio.run(send())
    assert leaks(session, MARK) == []
    queue.drain()
    broker = app.get_broker()
    preview = asyncio.run(broker.preview_rerun([TaskStatus.COMPLETED], task_name="pay")).unwrap()
    assert MARK not in repr(preview)
    outcomes = asyncio.run(broker.rerun_tasks(preview.candidates)).unwrap()
    assert MARK not in repr(outcomes)
    assert secrets_in(session, "tasks", "secret_args", MARK) == 3
    queue.drain()
    assert leaks(session, MARK) == []
    assert sent[0].get(timeout_ms=0).unwrap() == f"awaited {MARK} 1"
    again = column(session, "select secret_result #>> '{}' from horsies.history where rerun_of is not null")
    assert set(again) == {f"awaited many {MARK} 1", f"awaited together {MARK} 1", f"awaited {MARK} 1"}


def test_web_pages(queue: TestQueue, session: Session) -> None:
    waiting = pay.schedule(3600, f"waiting {MARK}").unwrap()
    runs = [run(queue, session, spec).workflow_id for spec in (passing(), mapping())]
    visitor = Visitor(app)
    ids = [waiting.task_id, *column(session, "select id::text from horsies.history")]
    shown = 0
    for path in (*PATHS, *(f"/runs/{each}" for each in runs), *(f"/tasks/{each}" for each in ids)):
        for answer in (visitor.get(path), visitor.get("/overview.json" if path == "/" else f"{path}.json")):
            assert answer.status_code == 200, path
            assert MARK not in answer.text, path
            shown += "[redacted]" in answer.text
    assert shown >= len(ids)
