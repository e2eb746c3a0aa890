"""`horsies.monitoring.errors` and `error_counts`: error groups, sync and async."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from horsies import BrokerErrorCode
from horsies.db.queries import monitoring as monitoring_queries
from horsies.monitoring import ErrorCount, ErrorGroups, error_counts, error_counts_async, errors, errors_async
from tests.producer.shop import Hand, Shop
from tests.support.factories import failed
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

HOUR = timedelta(hours=1)


def sample(db: Session) -> None:
    assert all(iter(lambda: call(db, monitoring_queries.sample(None)), 0))
    assert all(iter(lambda: call(db, monitoring_queries.sample_errors()), 0))


def ask(shop: Shop, **wanted: Any) -> ErrorGroups:
    """Ask both ways, which must give the same answer."""
    broker = shop.app.get_broker()
    found = errors(broker, NOON - HOUR, NOON + HOUR, **wanted).unwrap()
    assert asyncio.run(errors_async(broker, NOON - HOUR, NOON + HOUR, **wanted)).unwrap() == found
    return found


def test_groups_and_their_counts(db: Session, shop: Shop, hand: Hand) -> None:
    nothing = ask(shop)
    assert (nothing.groups, nothing.known_since, nothing.as_of, nothing.is_complete) == ((), None, None, True)
    freeze_clock(db)
    sample(db)
    empty = ask(shop)
    assert (empty.groups, empty.known_since, empty.known_until, empty.as_of) == ((), NOON - HOUR, NOON, NOON)
    ids = [shop.add.send(number).unwrap().task_id for number in range(3)]
    for task_id in ids:
        hand.end(UUID(task_id), failed)
    move_clock(db, 60)
    sample(db)
    [group] = ask(shop).groups
    assert (group.task_name, group.error_code, group.frame, group.message) == ("add", "BOOM", None, "it failed")
    assert (group.number, group.is_other, group.first_seen, group.last_seen) == (3, False, NOON, NOON)
    assert group.example_id in ids
    assert ask(shop, task_name="add", error_code="BOOM").groups == (group,)
    assert ask(shop, error_code="BANG").groups == ()
    broker = shop.app.get_broker()
    counts = error_counts(broker, group.group_id, NOON, NOON + HOUR).unwrap()
    assert counts == (ErrorCount(NOON, "0.1.0", None, 3),)
    assert asyncio.run(error_counts_async(broker, group.group_id, NOON, NOON + HOUR)).unwrap() == counts


def test_the_limit_is_said(db: Session, shop: Shop, hand: Hand) -> None:
    freeze_clock(db)
    for code in ("BOOM", "BANG"):
        task_id = UUID(shop.add.send(1).unwrap().task_id)
        hand.end(task_id, lambda fence, code=code: failed(fence, code))
    move_clock(db, 60)
    sample(db)
    assert ask(shop, limit=2).is_complete
    cut = ask(shop, limit=1)
    assert (len(cut.groups), cut.is_complete) == (1, False)


@pytest.mark.parametrize("limit", [0, 10_001, "5"])
def test_a_wrong_limit_is_refused(shop: Shop, limit: Any) -> None:
    wrong = errors(shop.app.get_broker(), NOON, NOON, limit=limit).unwrap_err()
    assert wrong.code is BrokerErrorCode.MONITORING_QUERY_FAILED
    assert "from 1 to 10,000" in wrong.message
