"""`scheduled_wait`: tasks that wait for their time, also those whose key is held beyond it."""

import pytest

from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker, send_many
from tests.support.flow import declare_queue, hold, rate, send_keys
from tests.support.sessions import Session, freeze_clock


def wait(db: Session) -> float | None:
    return DrivenWorker(db).ask(9).due_in


@pytest.fixture(autouse=True)
def keyed_queue(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db)


def test_the_time_of_a_scheduled_task_is_exact(db: Session) -> None:
    assert wait(db) is None
    send_keys(db, "b", delay=40)
    send_keys(db, "a", delay=30)
    assert wait(db) == 30


def test_a_task_with_a_held_key_waits_for_the_end_of_the_hold(db: Session) -> None:
    send_keys(db, "a", delay=30)
    hold(db, "horsies.now() + interval '1 minute'", key="a")
    assert wait(db) == pytest.approx(60, abs=0.1)
    send_keys(db, "b", delay=40)
    assert wait(db) == 40
    hold(db, "'infinity'", key="b")
    assert wait(db) == pytest.approx(60, abs=0.1)


def test_holds_of_keys_have_no_effect_once_the_declaration_ends(db: Session) -> None:
    declare_queue(db, takes_turns=False, rate=rate(100, 1))
    DrivenWorker(db).ask(9)  # gives the tasks back to the common order
    send_keys(db, "a", delay=30)
    hold(db, "'infinity'", key="a")
    assert wait(db) == 30


def test_a_task_behind_many_with_a_held_key_is_not_missed(db: Session) -> None:
    hold(db, "horsies.now() + interval '1 minute'", key="a")
    send_keys(db, "a" * 30, delay=30)
    send_keys(db, "b", delay=31)
    found = wait(db)
    assert found is not None
    assert found <= 31


def test_many_scheduled_tasks_are_not_read(db: Session) -> None:
    hold(db, "horsies.now() + interval '1 minute'", key="a")
    db.execute("vacuum analyze horsies.tasks")
    send_many(db, 5_000, delay=30)
    db.execute("update horsies.tasks set task_key = 'a'")
    worker = DrivenWorker(db)
    for _ in range(8):
        worker.ask(9)
    with reading(db) as reads:
        assert worker.ask(9).due_in is not None
    assert reads.rows < 200
