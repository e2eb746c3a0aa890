"""`horsies.monitoring`: lists of tasks, runs and nodes, sync and async, without arguments and results."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from horsies import BrokerErrorCode, TaskStatus, WorkflowStatus, WorkflowTaskStatus, monitoring
from horsies.producer.handle import BrokerResult
from tests.producer.shop import Hand, Shop
from tests.support.factories import DrivenWorker, failed, numbered_id
from tests.support.runs import finish, node, start
from tests.support.sessions import Session, freeze_clock, move_clock


def ask(shop: Shop, name: str, *args: Any, **options: Any) -> BrokerResult[Any]:
    """Ask both ways; the answers of a frozen clock must be the same."""
    broker = shop.app.get_broker()
    found = getattr(monitoring, name)(broker, *args, **options)

    async def again() -> BrokerResult[Any]:
        return await getattr(monitoring, f"{name}_async")(broker, *args, **options)

    assert asyncio.run(again()) == found
    return found


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)


@pytest.fixture
def sent(shop: Shop, hand: Hand) -> dict[str, str]:
    """A completed, a failed and a waiting task."""
    ids = {status: shop.add.send(1).unwrap().task_id for status in ("COMPLETED", "FAILED", "PENDING")}
    hand.end(UUID(ids["COMPLETED"]))
    hand.end(UUID(ids["FAILED"]), failed)
    hand.worker.release(hand.claim(UUID(ids["PENDING"])))
    return ids


@pytest.mark.parametrize(
    ("wanted", "live", "every"),
    [
        ("", ["PENDING"], ["PENDING", "FAILED", "COMPLETED"]),
        ("status:failed status:pending", ["PENDING"], ["PENDING", "FAILED"]),
        ("status:failed", [], ["FAILED"]),
        ("-status:pending", [], ["FAILED", "COMPLETED"]),
        ("task:nothing", [], []),
    ],
)
def test_tasks_match_a_filter(shop: Shop, sent: dict[str, str], wanted: str, live: list[str], every: list[str]) -> None:
    for name, expected in (("live_tasks", live), ("all_tasks", every)):
        page = ask(shop, name, wanted).unwrap()
        assert [each.task_id for each in page.tasks] == [sent[status] for status in expected], name
        assert [each.status for each in page.tasks] == [TaskStatus(status) for status in expected]
        assert {each.args for each in page.tasks} <= {None}
        assert (page.next_before, page.is_cut) == (None, False)


def test_a_list_continues(shop: Shop) -> None:
    ids = [shop.add.send(1).unwrap().task_id for _ in range(3)]
    for name in ("live_tasks", "all_tasks"):
        first = ask(shop, name, limit=2).unwrap()
        second = ask(shop, name, limit=2, before=first.next_before).unwrap()
        assert [each.task_id for each in (*first.tasks, *second.tasks)] == ids[::-1]


@pytest.mark.parametrize("name", ["live_tasks", "all_tasks"])
@pytest.mark.parametrize(("options", "hint"), [({"wanted": "satus:x"}, "status"), ({"before": "x"}, "before must be")])
def test_a_mistake_is_refused(shop: Shop, name: str, options: dict[str, str], hint: str) -> None:
    error = ask(shop, name, **options).unwrap_err()
    assert error.code is BrokerErrorCode.MONITORING_QUERY_FAILED
    assert hint in error.message


def test_runs_and_their_nodes(db: Session, shop: Shop) -> None:
    worker = DrivenWorker(db)
    first = start(db, node(), node(0))
    finish(db, worker, first, 0)
    move_clock(db, 60)
    second = start(db, node(), node(0))
    assert [each.run_id for each in ask(shop, "runs").unwrap()] == [str(second), str(first)]
    assert [each.run_id for each in ask(shop, "runs", limit=1).unwrap()] == [str(second)]
    [ended] = ask(shop, "runs", status=WorkflowStatus.FAILED).unwrap()
    assert (ended.run_id, ended.nodes, ended.completed, ended.failed, ended.skipped) == (str(first), 2, 0, 1, 1)
    assert ended.finished_at == ended.started_at
    before, after = ask(shop, "run_nodes", str(first)).unwrap()
    assert (before.status, before.error_code, before.waits_for) == (WorkflowTaskStatus.FAILED, "BOOM", ())
    assert (after.status, after.waits_for, after.child_run_id) == (WorkflowTaskStatus.SKIPPED, (0,), None)


def test_runs_that_do_not_exist(shop: Shop) -> None:
    assert ask(shop, "runs").unwrap() == ask(shop, "run_nodes", str(numbered_id(1))).unwrap() == ()
    assert "run_id must be the id of a run" in ask(shop, "run_nodes", "nothing").unwrap_err().message
    assert "from 1 to 1,000" in ask(shop, "runs", limit=0).unwrap_err().message
