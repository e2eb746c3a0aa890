"""`promote`: rows enter and leave the order of turns."""

import pytest

from horsies import RetryPolicy
from tests.support.factories import DrivenWorker, failed, request, send
from tests.support.flow import declare_queue, keys_of, send_keys
from tests.support.sessions import Session, freeze_clock, move_clock, scalar


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


def test_a_claim_after_which_more_rows_may_be_due_is_followed_at_once(db: Session) -> None:
    declare_queue(db, per_key=1)
    send(db, request(task_key="a"))
    worker = DrivenWorker(db)
    worker.claim_one()
    send_keys(db, ["a"] * 450 + ["b"], delay=60)
    move_clock(db, 61)
    claims = [worker.ask(9) for _ in range(3)]
    assert [len(claim.tasks) for claim in claims] == [0, 0, 1]
    assert [claim.due_in for claim in claims] == [0, 0, None]


def test_a_walk_begins_again_when_rows_have_fallen_due(db: Session) -> None:
    declare_queue(db, per_key=1)
    keys = [f"k{number:03}" for number in range(600)]
    send_keys(db, keys)
    worker = DrivenWorker(db)
    assert sum(len(worker.ask(600).tasks) for _ in range(2)) == 600
    send_keys(db, keys)
    send_keys(db, "a", delay=60)
    assert worker.ask(9).due_in == 0, "the walk stopped at its bound, and has passed the key"
    move_clock(db, 61)
    for _ in range(4):
        claim = worker.ask(9)
        if claim.due_in != 0:
            break
    assert scalar(db, "select started_at is not null from horsies.tasks where task_key = 'a'")
