"""`prune`: deletes history that is older than the retention."""

from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, done, ended_task, failed, reap, request, send, send_once, unique
from tests.support.sessions import NOON, Session, call, column, find, freeze_clock, move_clock, row, scalar

DAY_S = 24 * 3600
KEEP_HOURS = 48.0
AGAIN = RetryPolicy.fixed([DAY_S, DAY_S], jitter=False, auto_retry_for=["BOOM"])


@pytest.fixture(autouse=True)
def _days(db: Session) -> None:
    """Create partitions for 2031-05-06 to 2031-05-12, and no others."""
    for name in partitions(db):
        db.execute(f"drop table {name}".encode())
    freeze_clock(db)
    call(db, worker_queries.add_partitions(6))


def prune(db: Session, keep_hours: float = KEEP_HOURS) -> int:
    return call(db, worker_queries.prune(keep_hours))


def prune_all(db: Session, keep_hours: float = KEEP_HOURS) -> int:
    """The number of days that are dropped, one with each call."""
    days = 0
    while prune(db, keep_hours):
        days += 1
    return days


def partitions(db: Session) -> list[str]:
    return column(
        db,
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'horsies.history'::regclass"
        " and inhrelid <> 'horsies.history_default'::regclass order by 1",
    )


def task_that_failed_once(db: Session) -> UUID:
    """Create a task whose first attempt failed. It is due again a day later."""
    task_id = send(db, request(retry=AGAIN))
    worker = DrivenWorker(db)
    worker.finish(failed(worker.claim_one()))
    worker.stop()
    return task_id


def test_a_day_is_dropped_when_all_of_it_is_older_and_not_before(db: Session) -> None:
    ended = ended_task(db)
    move_clock(db, 2.5 * DAY_S - 0.001)
    assert prune(db) == 0
    assert find(db, "history", ended)
    move_clock(db, 0.001)
    assert prune(db) == 1
    assert not find(db, "history", ended)
    assert partitions(db)[0] == "horsies.history_20310507"


def test_all_days_that_are_older_are_dropped_one_by_one_and_younger_ones_stay(db: Session) -> None:
    kept: list[UUID] = []
    for _ in range(5):
        kept.append(ended_task(db))
        move_clock(db, DAY_S)
    assert prune_all(db) == 3
    assert [bool(find(db, "history", task_id)) for task_id in kept] == [False] * 3 + [True] * 2


def test_the_retention_may_be_a_fraction_of_a_day(db: Session) -> None:
    move_clock(db, DAY_S)
    assert prune(db, 13) == 0
    assert prune(db, 12) == 1


def test_rows_that_the_default_caught_are_forgotten_with_their_day(db: Session) -> None:
    freeze_clock(db, NOON - timedelta(days=1))
    old = ended_task(db)
    freeze_clock(db, NOON + timedelta(days=100))
    young = ended_task(db)
    freeze_clock(db, NOON + timedelta(days=1.5) - timedelta(milliseconds=1))
    prune(db)
    assert find(db, "history", old)
    freeze_clock(db, NOON + timedelta(days=1.5))
    prune(db)
    assert not find(db, "history", old)
    assert find(db, "history", young)


def test_attempts_are_forgotten_with_their_task(db: Session) -> None:
    task_id = task_that_failed_once(db)
    move_clock(db, DAY_S)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    assert row(db, "history", task_id)["attempt"] == 2
    move_clock(db, 2 * DAY_S)
    assert prune(db) == 1  # the day of the attempt; the task ended on a later day
    assert column(db, "select task_id from horsies.attempts") == [task_id]
    move_clock(db, DAY_S)
    assert prune(db) == 1
    assert scalar(db, "select count(*) from horsies.attempts") == 0


def test_attempts_of_a_task_that_is_still_alive_are_kept(db: Session) -> None:
    task_id = task_that_failed_once(db)
    move_clock(db, 6 * DAY_S)
    assert prune_all(db) == 4
    assert column(db, "select task_id from horsies.attempts") == [task_id]


def test_keys_and_replacements_are_forgotten_with_their_task(db: Session) -> None:
    replacing = unique(on_conflict="replace")
    old, waiting = request(key="old", unique=replacing), request(key="waiting", name="later", unique=replacing)
    for wanted in (old, waiting, request(unique=replacing), request(name="later", unique=replacing)):
        send_once(db, wanted)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    move_clock(db, 2 * DAY_S)
    assert prune_all(db) == 0
    assert send_once(db, request(key="old")) == ("existing", old.task_id)
    move_clock(db, DAY_S)
    assert prune_all(db) == 1
    assert column(db, "select key from horsies.idempotency_keys") == ["waiting"]
    assert column(db, "select task_id from horsies.replacements") == [waiting.task_id]
    assert send_once(db, request(key="old"))[0] == "sent"


def test_keys_are_deleted_in_steps(db: Session) -> None:
    for number in range(3):
        ended_task(db, request())
        send_once(db, request(key=str(number), name="other"))
    db.execute("update horsies.idempotency_keys set task_id = (select id from horsies.history limit 1)")
    move_clock(db, 5 * DAY_S)
    assert [call_prune(db, 2) for _ in range(2)] == [2, 1]
    assert scalar(db, "select count(*) from horsies.idempotency_keys") == 0


def test_keys_of_rows_that_the_default_caught_are_forgotten_with_them(db: Session) -> None:
    freeze_clock(db, NOON - timedelta(days=1))
    send_once(db, request(key="k"))
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    freeze_clock(db, NOON + timedelta(days=3))
    prune(db)
    assert scalar(db, "select count(*) from horsies.idempotency_keys") == 0


def test_live_tasks_and_workers_are_left_alone(db: Session) -> None:
    waiting, worker = send(db), DrivenWorker(db)
    move_clock(db, 30 * DAY_S)
    prune(db, 0)
    assert find(db, "tasks", waiting)
    assert find(db, "workers", worker.id)


def call_prune(db: Session, most: int) -> int:
    return scalar(db, "select horsies.prune(%s, %s)", KEEP_HOURS, most)


def test_while_somebody_reads_history_rows_are_deleted_and_the_day_is_dropped_afterwards(
    db: Session, other: Session
) -> None:
    ended = [ended_task(db) for _ in range(5)]
    move_clock(db, 3 * DAY_S)
    before = partitions(db)
    with other.transaction():
        assert find(other, "history", ended[0])
        for left in (3, 1, 0):
            assert call_prune(db, 2) == 0  # the next step can wait
            assert scalar(db, "select count(*) from horsies.history") == left
        assert partitions(db) == before
    assert prune(db) == 1
    assert partitions(db) == before[1:]


def test_the_attempts_of_a_day_are_deleted_in_bounded_steps_before_it_is_dropped(db: Session, other: Session) -> None:
    ids = [task_that_failed_once(db) for _ in range(5)]
    worker = DrivenWorker(db)
    db.execute("update horsies.tasks set run_at = horsies.now()")
    worker.finish(*map(done, worker.claim(5)))
    call(db, task_queries.rerun(ids[0], uuid7()))
    move_clock(db, 3 * DAY_S)
    count = "select count(*) from horsies.attempts"
    with other.transaction():
        assert find(other, "history", ids[0])
        assert [call_prune(db, 2), scalar(db, count)] == [2, 3]
        assert [call_prune(db, 2), scalar(db, count)] == [2, 1]
        assert [call_prune(db, 2), scalar(db, count)] == [0, 0]
        assert scalar(db, "select count(*) from horsies.reruns") == 0
    assert call_prune(db, 2) == 1
    assert call_prune(db, 2) == 0


def test_days_to_come_and_tables_of_other_names_are_not_dropped(db: Session) -> None:
    db.execute(
        "create table horsies.history_old partition of horsies.history for values from ('2020-01-01') to ('2020-01-02')"
    )
    assert prune(db, 0) == 0
    assert "horsies.history_old" in partitions(db)


def test_what_a_crash_left_is_reaped_and_pruned_like_any_other(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    reap(db, proven_dead=worker.id)
    move_clock(db, 3 * DAY_S)
    assert prune(db) == 1
    assert not find(db, "history", fence.task_id)


def test_what_was_sent_again_is_forgotten_with_the_day_of_the_rerun(db: Session) -> None:
    old = ended_task(db)
    call(db, task_queries.rerun(old, uuid7()))
    move_clock(db, 2 * DAY_S)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    [young] = column(db, "select id from horsies.history where rerun_of is not null")
    call(db, task_queries.rerun(young, uuid7()))
    move_clock(db, 0.5 * DAY_S)
    assert prune(db) == 1
    assert column(db, "select origin from horsies.reruns") == [young]
