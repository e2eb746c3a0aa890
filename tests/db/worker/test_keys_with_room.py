"""`keys_with_room`: limits and rates of keys, and their holds."""

import pytest

from tests.support.factories import DrivenWorker, done
from tests.support.flow import declare_queue, hold, keys_of, rate, send_keys
from tests.support.sessions import Session, freeze_clock, scalar


def test_no_more_tasks_of_a_key_are_in_flight_than_its_limit(db: Session) -> None:
    declare_queue(db, per_key=2)
    send_keys(db, "aaaaabbbc")
    worker, second = DrivenWorker(db), DrivenWorker(db)
    first = worker.claim(9)
    assert keys_of(db, first) == "abcab"
    assert second.claim(9) == []
    worker.finish(done(first[0]))
    assert keys_of(db, second.claim(9)) == "a"
    worker.release(first[3])
    assert keys_of(db, second.claim(9)) == "a"
    db.execute("select horsies.cancel(%s)", (first[1].task_id,))
    assert keys_of(db, second.claim(9)) == "b"


def test_rates_of_keys_let_the_burst_start_and_say_when_the_next_token_comes(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, rate_per_key=rate(60, 60, burst=2))
    send_keys(db, "aaaab")
    worker = DrivenWorker(db)
    claim = worker.ask(9)
    assert len(claim.tasks) == 3
    assert claim.due_in == pytest.approx(1, abs=0.1)
    assert worker.claim(9) == []
    freeze_clock(db, at=scalar(db, "select horsies.now() + interval '1 second'"))
    assert keys_of(db, worker.claim(9)) == "a"
    freeze_clock(db, at=scalar(db, "select horsies.now() + interval '1 hour'"))
    assert keys_of(db, worker.claim(9)) == "a"
    worker.claim(9)
    assert scalar(db, "select count(*) from horsies.buckets") == 1, "full buckets are deleted"


def test_a_held_key_and_a_held_queue_start_nothing_until_the_end_of_the_hold(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db)
    send_keys(db, "ab")
    hold(db, "horsies.now() + interval '1 minute'", key="a")
    worker = DrivenWorker(db)
    claim = worker.ask(9)
    assert [task.id for task in claim.tasks] == [scalar(db, "select id from horsies.tasks where task_key = 'b'")]
    assert claim.due_in == pytest.approx(60, abs=0.1)
    freeze_clock(db, at=scalar(db, "select horsies.now() + interval '1 minute'"))
    hold(db, "horsies.now() + interval '1 minute'")
    claim = worker.ask(9)
    assert claim.tasks == []
    assert claim.due_in == pytest.approx(60, abs=0.1)
    freeze_clock(db, at=scalar(db, "select horsies.now() + interval '1 minute'"))
    assert keys_of(db, worker.claim(9)) == "a"
    assert scalar(db, "select count(*) from horsies.holds") == 0
