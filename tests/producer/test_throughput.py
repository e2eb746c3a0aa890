"""`horsies.monitoring.throughput`: the samples of a time, sync and async, and how much is known."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from horsies import BrokerErrorCode
from horsies.db.queries import monitoring as monitoring_queries
from horsies.monitoring import CurrentSample, Histogram, Period, Throughput, throughput, throughput_async, total
from tests.producer.shop import Hand, Shop
from tests.support.factories import failed
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

HOUR = timedelta(hours=1)


def sample(db: Session) -> None:
    assert all(iter(lambda: call(db, monitoring_queries.sample(None)), 0))


def ask(shop: Shop, since: datetime = NOON - HOUR, until: datetime = NOON + HOUR, **wanted: Any) -> Throughput:
    """Ask both ways, which must give the same answer."""
    broker = shop.app.get_broker()
    found = throughput(broker, since, until, **wanted).unwrap()

    async def again() -> Throughput:
        return (await throughput_async(broker, since, until, **wanted)).unwrap()

    assert asyncio.run(again()) == found
    return found


def test_before_the_first_sample_nothing_is_known(shop: Shop) -> None:
    found = ask(shop)
    assert (found.samples, found.known_since, found.known_until, found.age) == ((), None, None, None)
    assert total(found.samples) is None


def test_samples_and_their_sums(db: Session, shop: Shop, hand: Hand) -> None:
    freeze_clock(db)
    sample(db)
    empty = ask(shop)
    assert (empty.samples, empty.known_since, empty.age) == ((), NOON - HOUR, timedelta(0))
    for minute in range(3):
        ids = [UUID(shop.add.send(minute).unwrap().task_id) for _ in range(2)]
        move_clock(db, 2)
        hand.end(ids[0])
        hand.end(ids[1], failed)
        move_clock(db, 58)
    sample(db)
    move_clock(db, 90)
    found = ask(shop)
    assert [(each.started_at, each.task_name, each.completed, each.failed) for each in found.samples] == [
        (NOON + minute * timedelta(minutes=1), "add", 1, 1) for minute in range(3)
    ]
    assert (found.known_until, found.age) == (NOON + timedelta(minutes=3), timedelta(seconds=90))
    assert found.is_complete
    whole = total(found.samples)
    assert whole is not None
    assert (whole.queue_name, whole.completed, whole.failed, whole.crashed) == ("default", 3, 3, 0)
    assert whole.waits.total == whole.runs.total == 6
    assert whole.waits.percentile(0.5) == pytest.approx(2, rel=0.1)
    [hour] = ask(shop, period=Period.HOUR).samples
    assert (hour.started_at, hour.completed, hour.waits) == (NOON, 3, whole.waits)
    assert len(ask(shop, until=NOON + timedelta(minutes=1)).samples) == 1
    assert ask(shop, since=NOON + HOUR, until=NOON + 2 * HOUR).samples == ()
    assert len(ask(shop, queue_name="default", task_name="add").samples) == 3
    assert ask(shop, task_name="greet").samples == ask(shop, queue_name="mail").samples == ()


def count_of_worker(db: Session, worker: int, minute: datetime, *numbers: int) -> None:
    """Store what the heartbeat of a worker reports of a minute: how many completed, failed, and were retried."""
    values = (UUID(int=worker), minute, "default", "add", *numbers)
    db.execute("insert into horsies.current_counts values (%s, %s, %s, %s, %s, %s, %s)", values)


def test_minutes_that_are_not_closed_are_marked(db: Session, shop: Shop, hand: Hand) -> None:
    freeze_clock(db)
    sample(db)
    hand.end(UUID(shop.add.send(1).unwrap().task_id))
    for worker in range(2):
        count_of_worker(db, worker, NOON, 3, 2, 1)
        count_of_worker(db, worker, NOON + timedelta(minutes=1), 10, 0, 0)
    minutes = [CurrentSample(NOON, "default", "add", 6, 4, 2)]
    assert ask(shop, until=NOON + timedelta(minutes=1)).current == tuple(minutes)
    minutes.append(CurrentSample(NOON + timedelta(minutes=1), "default", "add", 20, 0, 0))
    found = ask(shop)
    assert (found.samples, found.current) == ((), tuple(minutes))
    assert ask(shop, period=Period.HOUR).current == tuple(minutes)
    assert ask(shop, queue_name="mail").current == ask(shop, task_name="greet").current == ()
    move_clock(db, 60)
    sample(db)
    found = ask(shop)
    assert [(each.started_at, each.completed) for each in found.samples] == [(NOON, 1)]
    assert found.current == tuple(minutes[1:])


def test_without_maintenance_only_what_workers_count_is_known(db: Session, shop: Shop) -> None:
    count_of_worker(db, 1, NOON, 3, 2, 1)
    found = ask(shop)
    assert (found.samples, found.known_until, found.as_of) == ((), None, None)
    assert found.current == (CurrentSample(NOON, "default", "add", 3, 2, 1),)


@pytest.mark.parametrize("period", [0, 61, "60"])
def test_a_period_without_samples_is_refused(shop: Shop, period: Any) -> None:
    error = throughput(shop.app.get_broker(), NOON, NOON, period=period).unwrap_err()
    assert error.code is BrokerErrorCode.MONITORING_QUERY_FAILED
    assert error.message.startswith("period must be one of 60, 600, 3600 seconds, got ")


def test_percentiles_of_a_histogram() -> None:
    assert Histogram({}).percentile(0.5) is None
    assert Histogram({0: 3}).percentile(0.5) == pytest.approx(0.00001)
    mixed = Histogram.merged([Histogram({10: 5}), Histogram({10: 4, 50: 1})])
    assert mixed.total == 10
    assert mixed.percentile(0.9) == mixed.percentile(0) == pytest.approx(0.00001 * 1.2**9.5)
    assert mixed.percentile(0.91) == mixed.percentile(1) == pytest.approx(0.00001 * 1.2**49.5)
