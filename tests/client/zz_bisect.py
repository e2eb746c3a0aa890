"""What `info` says of a task in each state, with and without each part that has to be asked for."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from horsies import (
    OperationalErrorCode,
    OutcomeCode,
    TaskAttemptInfo,
    TaskAttemptOutcome,
    TaskHandle,
    TaskInfo,
    TaskStatus,
)
from tests.client.shop import Do, Hand, Shop, ShopError
from tests.support.factories import CHILD_NAME, CHILD_PID, HOSTNAME, PID, expire, failed, prefetch, reap
from tests.support.sessions import NOON, Session, freeze_clock, move_clock

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"
SECOND = timedelta(seconds=1)
ALL = {"include_result": True, "include_failed_reason": True, "include_attempts": True}


def test_of_a_task_this_app_does_not_have(do: Do, shop: Shop, db: Session, hand: Hand) -> None:
    sent = do(shop.plain.send, 1).unwrap()
    hand.end(UUID(sent.task_id))
    db.execute("update horsies.history set task_name = 'stranger'")
    found = do(shop.app.handle(sent.task_id).info, **ALL).unwrap()
    assert found is not None
    assert (found.task_name, found.result and found.result.ok) == ("stranger", 1)
