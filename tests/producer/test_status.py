"""`horsies.monitoring`: the state of queues, workers, schedules and runs, sync and async."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from horsies import BrokerErrorCode, monitoring
from horsies.db.queries import status as status_queries
from horsies.monitoring import Accuracy, QueueStatus, WorkerState, worker_state
from horsies.producer.handle import BrokerResult
from tests.db.test_plans import fill
from tests.producer.shop import Shop
from tests.support.factories import DrivenWorker, define
from tests.support.runs import node, start
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

CALLS = ("queue_status", "waiting_reasons", "worker_status", "run_counts", "schedule_status")


def ask(shop: Shop, name: str, *args: Any, **options: Any) -> BrokerResult[Any]:
    """Ask both ways; the answers of a frozen clock must be the same."""
    broker = shop.app.get_broker()
    blocking: Callable[..., BrokerResult[Any]] = getattr(monitoring, name)
    awaited: Callable[..., Any] = getattr(monitoring, f"{name}_async")
    found = blocking(broker, *args, **options)

    async def again() -> BrokerResult[Any]:
        return await awaited(broker, *args, **options)

    assert asyncio.run(again()) == found
    return found


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)


def queue(shop: Shop, name: str = "default") -> QueueStatus:
    found = {each.queue_name: each for each in ask(shop, "queue_status", [name]).unwrap()}
    return found[name]


@pytest.mark.parametrize("name", CALLS)
def test_an_empty_database_has_an_answer_for_each_call(shop: Shop, name: str) -> None:
    answer = ask(shop, name).unwrap()
    assert [each for each in answer if name != "run_counts"] == []


def test_a_queue_with_the_age_of_its_oldest_task(db: Session, shop: Shop) -> None:
    assert (queue(shop).waiting.number, queue(shop).oldest_due) == (0, None)
    for _ in range(3):
        shop.add.send(1).unwrap()
    DrivenWorker(db).claim_one()
    move_clock(db, 90)
    found = queue(shop)
    assert (found.waiting.number, found.waiting.accuracy, found.waiting.counted_at) == (
        2,
        Accuracy.EXACT,
        NOON + timedelta(seconds=90),
    )
    assert (found.oldest_due, found.in_flight) == (timedelta(seconds=90), 1)
    assert ask(shop, "backlog", "default").unwrap() == 3


def test_an_old_count_says_when_it_was_made(db: Session, shop: Shop) -> None:
    fill(db, 1_000_000, due_in=-3600_000, count=100_001)
    assert queue(shop).waiting.accuracy is Accuracy.AT_LEAST
    call(db, status_queries.count_waiting())
    move_clock(db, 20)
    waiting = queue(shop).waiting
    assert (waiting.number, waiting.accuracy, waiting.counted_at) == (100_001, Accuracy.COUNTED, NOON)
    [reason] = ask(shop, "waiting_reasons").unwrap()
    assert (reason.task_name, reason.reason, reason.tasks) == ("add", "no_worker", waiting)


def test_a_silent_worker(db: Session, shop: Shop) -> None:
    worker = DrivenWorker(db, stale_after_s=10)
    [found] = ask(shop, "worker_status").unwrap()
    assert (UUID(found.worker_id), worker_state(found)) == (worker.id, WorkerState.LIVE)
    move_clock(db, 11)
    [found] = ask(shop, "worker_status").unwrap()
    assert worker_state(found) is WorkerState.SILENT


def test_runs_by_status(db: Session, shop: Shop) -> None:
    start(db, node())
    found = ask(shop, "run_counts").unwrap()
    assert {each.status: each.runs for each in found if each.is_exact} == {
        "RUNNING": 1, "PAUSED": 0, "COMPLETED": 0, "FAILED": 0, "CANCELLED": 0,
    }  # fmt: skip


@pytest.mark.parametrize("within", [-1.0, float("nan"), float("inf")])
def test_an_impossible_time_is_refused(shop: Shop, within: float) -> None:
    refused = ask(shop, "run_counts", ended_within_s=within).unwrap_err()
    assert refused.code == BrokerErrorCode.MONITORING_QUERY_FAILED
    assert "at least 0" in refused.message


def test_a_schedule_is_late_from_its_due_time_on(db: Session, shop: Shop) -> None:
    define(db, due=NOON + timedelta(seconds=10))
    [found] = ask(shop, "schedule_status").unwrap()
    assert (found.task_name, found.late_by) == ("add", timedelta(0))
    move_clock(db, 25)
    [found] = ask(shop, "schedule_status").unwrap()
    assert found.late_by == timedelta(seconds=15)
    db.execute("update horsies.schedules set paused = true")
    [found] = ask(shop, "schedule_status").unwrap()
    assert found.late_by == timedelta(0)
