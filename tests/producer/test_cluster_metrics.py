"""The metrics of the cluster are what the database says, with a bounded number of series."""

import asyncio

import pytest

from horsies.metrics.exposition import render
from horsies.monitoring import cluster_metrics, cluster_metrics_async
from horsies.monitoring.metrics import CLUSTER_METRICS, WAITING_REASONS
from horsies.monitoring.metrics_service import ClusterMetrics
from horsies.result import Err
from tests.producer.shop import Shop
from tests.support.factories import DrivenWorker, define, request, send
from tests.support.runs import node, start
from tests.support.scrapes import Scrape
from tests.support.sessions import NOON, Session, freeze_clock, move_clock

HOSTILE = 'a"b\\c\nhorsies_workers{state="live"} 9\r\x1b[2J'


def found(shop: Shop) -> Scrape:
    reading = cluster_metrics(shop.app.get_broker()).unwrap()
    assert [metric for metric, _ in reading] == list(CLUSTER_METRICS)
    return Scrape.of(render(reading).decode())


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)


def test_each_state_of_tasks(db: Session, shop: Shop) -> None:
    DrivenWorker(db, queues=["default"], names=["add"])
    for _ in range(3):
        send(db, request(name="add"))
    send(db, request(name="add", delay=60))
    send(db, request(name="unknown", queue="mail"))
    DrivenWorker(db, queues=["default"], names=["add"]).claim_one()
    move_clock(db, 45)
    scrape = found(shop)
    tasks = scrape.by("horsies_queue_tasks", "queue", "state")
    assert {state: tasks["default", state] for state in ("waiting", "scheduled", "held", "claimed", "running")} == {
        "waiting": 2,
        "scheduled": 1,
        "held": 0,
        "claimed": 0,
        "running": 1,
    }
    assert scrape.value("horsies_queue_oldest_due_seconds", queue="default") == 45
    assert scrape.value("horsies_queue_in_hand", queue="default") == 1
    assert scrape.value("horsies_queue_paused", queue="default") == 0
    assert scrape.by("horsies_queue_cap", "queue") == {}
    assert scrape.value("horsies_unclaimable_tasks") == scrape.value("horsies_waiting_tasks", reason="no_worker") == 1
    assert scrape.value("horsies_waiting_tasks", reason="scheduled") == 1
    assert scrape.value("horsies_workers", state="live") == 2


def test_reasons_without_tasks_are_zero_and_no_oldest_task_is_zero_seconds(db: Session, shop: Shop) -> None:
    db.execute("insert into horsies.queues (name, paused) values ('mail', true)")
    scrape = found(shop)
    assert scrape.by("horsies_waiting_tasks", "reason") == {(reason,): 0 for reason in WAITING_REASONS}
    assert scrape.value("horsies_queue_oldest_due_seconds", queue="mail") == 0
    assert scrape.value("horsies_queue_paused", queue="mail") == 1
    assert scrape.value("horsies_workers", state="silent") == 0


def test_runs_and_schedules(db: Session, shop: Shop) -> None:
    start(db, node())
    define(db, "nightly", due=NOON)
    move_clock(db, 30)
    scrape = found(shop)
    assert scrape.value("horsies_workflow_runs", status="RUNNING") == 1
    assert scrape.value("horsies_schedule_late_seconds", schedule="nightly") == 30


def test_hostile_names_stay_in_their_label(db: Session, shop: Shop) -> None:
    send(db, request(name=HOSTILE, queue=HOSTILE))
    scrape = found(shop)
    ((name, _),) = [key for key, number in scrape.by("horsies_queue_tasks", "queue", "state").items() if number]
    assert name == HOSTILE.replace("\n", "\\n").replace("\r", "\\r").replace("\x1b", "\\x1b")
    assert scrape.value("horsies_workers", state="live") == 0


def test_queues_beyond_the_first_five_hundred_are_put_together(db: Session, shop: Shop) -> None:
    db.execute("insert into horsies.queues (name, paused) select 'q' || i, true from generate_series(1, 600) i")
    for number in range(3):
        send(db, request(queue=f"zz{number}"))
    DrivenWorker(db, queues=["zz0"], names=["add"])
    move_clock(db, 10)
    scrape = found(shop)
    tasks = scrape.by("horsies_queue_tasks", "queue", "state")
    assert len({queue for queue, _ in tasks}) == 501
    assert (tasks["zz0", "waiting"], tasks["other", "waiting"]) == (1, 2)
    assert scrape.value("horsies_queue_oldest_due_seconds", queue="other") == 10
    assert ("other",) not in scrape.by("horsies_queue_paused", "queue")


def test_clients_share_one_answer_of_the_database(db: Session, shop: Shop) -> None:
    cluster = ClusterMetrics(shop.app.get_broker())

    async def ask() -> None:
        first, second = await asyncio.gather(cluster.read(), cluster.read())
        send(db, request())
        assert first is second is await cluster.read()
        await shop.app.close_async()

    asyncio.run(ask())


def test_an_error_of_the_database_is_an_error_and_no_zero(db: Session, shop: Shop) -> None:
    broker = shop.app.get_broker()
    cluster = ClusterMetrics(broker, max_age_s=0)

    async def ask() -> None:
        assert await cluster.read() is not None
        db.execute("drop function horsies.run_counts")
        assert isinstance(await cluster_metrics_async(broker), Err)
        assert isinstance(await asyncio.to_thread(cluster_metrics, broker), Err)
        assert await cluster.read() is None
        await shop.app.close_async()

    asyncio.run(ask())
