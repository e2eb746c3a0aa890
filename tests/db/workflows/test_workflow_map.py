"""`workflow_map`: one task for each item of a list, and their results as a list."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.support.factories import DrivenWorker, done, expire, failed
from tests.support.runs import control, map_once, node, nodes_of, read, start, state, statuses
from tests.support.sessions import NOON, Session, column, freeze_clock, move_clock, scalar

MAP: dict[str, Any] = {"kind": "map", "over": 0, "item_parameter": "each", "args": {"size": 1}}


def started(db: Session, worker: DrivenWorker, items: bytes, **options: Any) -> UUID:
    run = start(db, node(), node(0, **{**MAP, **options}), node(1, args_from={"x": 1}), output=1)
    worker.finish(done(worker.claim_one(), items))
    return run


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    return DrivenWorker(db, names=["add", "horsies.map"])


def test_each_item_becomes_a_task_and_the_results_a_list(db: Session, worker: DrivenWorker) -> None:
    run = started(db, worker, b'[1.50,"two",null]')
    assert map_once(db, worker) == "done"
    assert statuses(db, run) == ["COMPLETED", "RUNNING", "PENDING"]
    args = [task.decode() for task in column(db, "select args from horsies.tasks order by item")]
    assert args == ['{"size": 1,"each":1.50}', '{"size": 1,"each":"two"}', '{"size": 1,"each":null}']
    claims = worker.claim(3)
    worker.finish(failed(claims[1]), done(claims[0], b"10"))
    worker.finish(done(claims[2], b"30"))
    assert map_once(db, worker) == "done"
    assert statuses(db, run) == ["COMPLETED", "COMPLETED", "ENQUEUED"]
    first, second, third = read(nodes_of(db, run)[1].result)
    assert (first, third) == ({"ok": 10}, {"ok": 30})
    assert second["err"]["error_code"] == "BOOM"
    assert scalar(db, "select count(*) from horsies.workflow_items") == 0


def test_no_items_complete_at_once(db: Session, worker: DrivenWorker) -> None:
    run = started(db, worker, b"[]")
    map_once(db, worker)
    assert (statuses(db, run)[1], nodes_of(db, run)[1].result) == ("COMPLETED", b"[]")


def test_what_is_no_list_fails_the_node(db: Session, worker: DrivenWorker) -> None:
    run = started(db, worker, b'{"a":1}')
    map_once(db, worker)
    assert [(each.status, each.error_code) for each in nodes_of(db, run)][1:] == [
        ("FAILED", "WORKFLOW_ENQUEUE_FAILED"),
        ("SKIPPED", "UPSTREAM_SKIPPED"),
    ]


def test_a_list_that_failed_fails_the_node_that_is_to_run_all_the_same(db: Session, worker: DrivenWorker) -> None:
    run = start(db, node(), node(0, **MAP, allow_failed_deps=True))
    worker.finish(failed(worker.claim_one()))
    map_once(db, worker)
    assert nodes_of(db, run)[1].error_code == "BOOM"


def test_who_lost_the_task_maps_nothing(db: Session, worker: DrivenWorker) -> None:
    run = started(db, worker, b"[1]")
    (task,) = worker.ask().tasks
    control(db, run, "cancel")
    assert scalar(db, "select horsies.workflow_map(%s, %s)", task.id, task.attempt) == "lost"
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_a_cancel_ends_the_items(db: Session, worker: DrivenWorker) -> None:
    run = started(db, worker, b"[1,2,3]")
    map_once(db, worker)
    assert control(db, run, "cancel") == "changed"
    assert statuses(db, run) == ["COMPLETED", "FAILED", "SKIPPED"]
    assert scalar(db, "select count(*) from horsies.tasks") == 0
    assert state(db, run).status == "CANCELLED"


def test_a_deadline_is_for_the_items_and_not_for_the_collecting_of_them(db: Session, worker: DrivenWorker) -> None:
    freeze_clock(db)
    deadline = (NOON + timedelta(minutes=1)).isoformat()
    run = started(db, worker, b"[1,2]", good_until=deadline, max_parallel=1)
    map_once(db, worker)
    first = worker.claim_one()
    move_clock(db, 60)
    worker.finish(done(first))
    assert expire(db) == 1
    assert expire(db) == 0
    map_once(db, worker)
    collected = read(nodes_of(db, run)[1].result)
    assert (collected[0], collected[1]["err"]["error_code"]) == ({"ok": 1}, "TASK_EXPIRED")
