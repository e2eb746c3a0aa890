"""`schedule_send`: sends the task of a schedule, which may be unique."""

from datetime import timedelta

import pytest
from psycopg import errors

from tests.support.factories import DrivenWorker, define, done, request, schedule_state, send_once, tick, unique
from tests.support.sessions import NOON, Session, freeze_clock, scalar

TIMES = [NOON + timedelta(hours=n) for n in range(4)]


def live(db: Session) -> int:
    return scalar(db, "select count(*) from horsies.tasks")


@pytest.mark.parametrize("on_conflict", ["keep", "reject"])
def test_the_slot_of_a_unique_task_that_still_runs_passes(db: Session, on_conflict: str) -> None:
    define(db, due=TIMES[0], unique=unique("ended", on_conflict))
    assert tick(db, TIMES[0], [TIMES[0]], TIMES[1]) == 1
    ran = schedule_state(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert tick(db, TIMES[1], [TIMES[1]], TIMES[2]) == 0
    passed = schedule_state(db)
    assert (passed.last_run_at, passed.last_task_id, passed.run_count) == (ran.last_run_at, ran.last_task_id, 1)
    assert passed.next_run_at == TIMES[2]
    worker.finish(done(fence))
    assert tick(db, TIMES[2], [TIMES[2]], TIMES[3]) == 1
    assert schedule_state(db).last_run_at == TIMES[2]


def test_missed_slots_of_a_unique_task_become_one_task(db: Session) -> None:
    define(db, due=TIMES[0], unique=unique())
    assert tick(db, TIMES[0], TIMES[:3], TIMES[3]) == 1
    assert live(db) == 1


def test_a_slot_replaces_the_waiting_task(db: Session) -> None:
    freeze_clock(db, TIMES[0])
    define(db, due=TIMES[0], unique=unique(on_conflict="replace", max_wait=60), args=b'{"a":1,"b":1}')
    waiting = request(unique=unique(on_conflict="replace"), delay=3600)
    send_once(db, waiting)
    assert tick(db, TIMES[0], [TIMES[0]], TIMES[1]) == 0
    assert schedule_state(db).last_task_id == waiting.task_id
    assert scalar(db, "select run_at from horsies.tasks") == TIMES[0]


def test_a_slot_that_comes_again_has_its_task_already(db: Session) -> None:
    define(db, due=TIMES[0], unique=unique())
    tick(db, TIMES[0], [TIMES[0]], TIMES[1])
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    define(db, due=TIMES[0], unique=unique(), config_hash="h2")
    assert tick(db, TIMES[0], [TIMES[0]], TIMES[1], config_hash="h2") == 0
    assert live(db) == 0


def test_a_unique_task_needs_read_committed(db: Session) -> None:
    define(db, due=TIMES[0], unique=unique())
    db.execute("set default_transaction_isolation = 'serializable'")
    with pytest.raises(errors.FeatureNotSupported):
        tick(db, TIMES[0], [TIMES[0]], TIMES[1])
