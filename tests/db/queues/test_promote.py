"""`promote`: rows enter and leave the order of turns."""

import pytest

from horsies import RetryPolicy
from tests.support.factories import DrivenWorker, failed, request, send
from tests.support.flow import declare_queue, keys_of
from tests.support.sessions import Session, freeze_clock, scalar


def test_scheduled_tasks_and_retries_take_turns_when_they_are_due(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, per_key=1)
    policy = RetryPolicy.fixed([30], auto_retry_for=["BOOM"], jitter=False)
    send(db, request(task_key="a", retry=policy))
    send(db, request(task_key="b", delay=60))
    worker = DrivenWorker(db)
    worker.finish(failed(worker.claim_one(), "BOOM"))
    assert scalar(db, "select count(*) from horsies.tasks where turn_key is not null") == 0
    claim = worker.ask(9)
    assert claim.tasks == []
    assert claim.due_in == pytest.approx(30)
    freeze_clock(db, at=scalar(db, "select horsies.now() + interval '1 minute'"))
    assert keys_of(db, worker.claim(9)) == "ba", "a had the last turn"
