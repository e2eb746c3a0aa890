"""Remote limits: an answer of one task holds its key or its queue in the whole cluster."""

from copy import copy
from datetime import datetime, timedelta
from typing import Any

import pytest

from horsies.postponement import PostponeScope
from tests.support.factories import DrivenWorker, done, postponed, request, send
from tests.support.sessions import (
    NOON,
    InBackground,
    NewSession,
    Session,
    freeze_clock,
    row,
    scalar,
    wait_until_blocked,
)

KEY, QUEUE, TASK = PostponeScope.KEY, PostponeScope.QUEUE, PostponeScope.TASK


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    """A worker of the keyed queue ``default`` and of the queue ``plain``."""
    freeze_clock(db)
    db.execute("insert into horsies.queues (name, turns) values ('default', 'on')")
    return DrivenWorker(db, queues=["default", "plain"])


def holds(db: Session) -> list[tuple[Any, ...]]:
    return db.execute("select queue, scope, key, until from horsies.holds order by queue, scope, key").fetchall()


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def with_session(worker: DrivenWorker, session: Session) -> DrivenWorker:
    """Return the same worker with another connection."""
    again = copy(worker)
    again.session = session
    return again


def run_all(worker: DrivenWorker, *keys: str | None, queue: str = "default") -> list[Any]:
    """Send a task for each key, claim them all, and return their fences in the order of the keys.

    The queue is not keyed meanwhile, so that one claim takes all of them.
    """
    worker.session.execute("update horsies.queues set turns = 'off' where name = 'default'")
    ids = [send(worker.session, request(queue=queue, task_key=key)) for key in keys]
    found = {fence.task_id: fence for fence in worker.claim(len(ids))}
    worker.session.execute("update horsies.queues set turns = 'on' where name = 'default'")
    return [found[task_id] for task_id in ids]


def test_the_scope_key_holds_the_key_and_names_the_task(db: Session, worker: DrivenWorker) -> None:
    (fence,) = run_all(worker, "a")
    assert worker.finish(postponed(fence, 2, KEY)) == ["accepted"]
    assert holds(db) == [("default", "key", "a", after(2))]
    (said,) = db.execute("select kind, who, reason, set_at from horsies.holds").fetchall()
    assert said == ("rate_limited", f"task {fence.task_id}", "rate limited for 2 s", NOON)
    assert scalar(db, "select has_holds from horsies.queues where name = 'default'")
    assert scalar(db, "select postponed ->> 'scope' from horsies.tasks where id = %s", fence.task_id) == "key"


@pytest.mark.parametrize(("queue", "key"), [("default", None), ("plain", "a"), ("plain", None)])
def test_the_scope_key_is_the_task_alone_without_a_key_or_in_a_queue_that_is_not_keyed(
    db: Session, worker: DrivenWorker, queue: str, key: str | None
) -> None:
    (fence,) = run_all(worker, key, queue=queue)
    assert worker.finish(postponed(fence, 2, KEY)) == ["accepted"]
    assert holds(db) == []
    assert scalar(db, "select postponed ->> 'scope' from horsies.tasks where id = %s", fence.task_id) == "task"
    assert row(db, "tasks", fence.task_id)["run_at"] == after(2)


@pytest.mark.parametrize("queue", ["default", "plain"])
def test_the_scope_queue_holds_any_queue(db: Session, worker: DrivenWorker, queue: str) -> None:
    (fence,) = run_all(worker, "a", queue=queue)
    assert worker.finish(postponed(fence, 2, QUEUE)) == ["accepted"]
    assert holds(db) == [(queue, "queue", "", after(2))]
    assert scalar(db, "select has_holds from horsies.queues where name = %s", queue)


def test_no_time_and_the_scope_task_hold_nothing(db: Session, worker: DrivenWorker) -> None:
    first, second, third = run_all(worker, "a", "b", "c")
    outcomes = [postponed(first, 0, KEY), postponed(second, 0, QUEUE), postponed(third, 9, TASK)]
    assert worker.finish(*outcomes) == ["accepted"] * 3
    assert holds(db) == []


def test_an_answer_that_is_stale_or_a_duplicate_holds_nothing(db: Session, worker: DrivenWorker) -> None:
    first, second = run_all(worker, "a", "b")
    assert DrivenWorker(db).finish(postponed(first, 2, KEY)) == ["stale"]
    assert holds(db) == []
    worker.finish(postponed(second, 2, KEY))
    assert worker.finish(postponed(second, 60, KEY)) == ["duplicate"]
    assert holds(db) == [("default", "key", "b", after(2))]


@pytest.mark.parametrize("seconds", [(2, 5), (5, 2), (5, 5)])
def test_one_batch_holds_each_key_until_the_latest_time(
    db: Session, worker: DrivenWorker, seconds: tuple[float, float]
) -> None:
    fences = run_all(worker, "a", "a", "b")
    given = [postponed(fence, delay, KEY) for fence, delay in zip(fences, (*seconds, 1), strict=True)]
    assert worker.finish(*given) == ["accepted"] * 3
    assert holds(db) == [("default", "key", "a", after(5)), ("default", "key", "b", after(1))]


@pytest.mark.parametrize("seconds", [(2, 5), (5, 2)])
def test_a_later_answer_never_shortens_the_hold(
    db: Session, worker: DrivenWorker, seconds: tuple[float, float]
) -> None:
    fences = run_all(worker, "a", "a")
    for fence, delay in zip(fences, seconds, strict=True):
        worker.finish(postponed(fence, delay, KEY))
    assert holds(db) == [("default", "key", "a", after(5))]
    longest = fences[seconds.index(5)].task_id
    assert scalar(db, "select who from horsies.holds") == f"task {longest}"


@pytest.mark.parametrize("seconds", [(2, 5), (5, 2)])
def test_concurrent_answers_wait_for_each_other_and_the_longest_counts(
    db: Session,
    worker: DrivenWorker,
    new_session: NewSession,
    in_background: InBackground,
    seconds: tuple[float, float],
) -> None:
    first, second = run_all(worker, "a", "a")
    early, late = with_session(worker, new_session()), with_session(worker, new_session())
    with early.session.transaction():
        assert early.finish(postponed(first, seconds[0], KEY)) == ["accepted"]
        waiting = in_background(lambda: late.finish(postponed(second, seconds[1], KEY)))
        wait_until_blocked(db, late.session)
    assert waiting.result() == ["accepted"]
    assert holds(db) == [("default", "key", "a", after(5))]


def test_a_claim_that_holds_the_lock_of_the_queue_is_waited_for_and_never_waits(
    db: Session, worker: DrivenWorker, new_session: NewSession, in_background: InBackground
) -> None:
    """The outcome holds the rows of its tasks and waits for the queue; the claim skips these rows."""
    fences = run_all(worker, "a", "b")
    claiming, finishing = new_session(), with_session(worker, new_session())
    with claiming.transaction():
        claiming.execute("select horsies.lock_limits('{queue default}', true)")
        waiting = in_background(lambda: finishing.finish(*(postponed(fence, 2, KEY) for fence in fences)))
        wait_until_blocked(db, finishing.session)
        assert claiming.execute("select id from horsies.tasks for update skip locked").fetchall() == []
        claiming.execute(
            "insert into horsies.holds values ('default', 'key', 'a', 'paused', 'infinity', '', '', now())"
        )
    assert waiting.result() == ["accepted"] * 2
    assert [key for _, _, key, _ in holds(db)] == ["a", "a", "b"]


def test_answers_over_many_keys_and_queues_in_any_order_do_not_deadlock(
    db: Session, worker: DrivenWorker, new_session: NewSession, in_background: InBackground
) -> None:
    keys = [f"key {number}" for number in range(10)]
    mine, theirs = run_all(worker, *keys), run_all(worker, *reversed(keys))
    plain, others = run_all(worker, "x", queue="plain"), run_all(worker, "y", queue="plain")
    blocker = new_session()
    first, second = with_session(worker, new_session()), with_session(worker, new_session())
    one = [postponed(fence, 2, KEY) for fence in mine] + [postponed(plain[0], 2, QUEUE)]
    two = [postponed(others[0], 3, QUEUE), *(postponed(fence, 3, KEY) for fence in theirs)]
    with blocker.transaction():
        blocker.execute("select horsies.lock_limits('{queue default}', true)")
        calls = [in_background(lambda: first.finish(*one)), in_background(lambda: second.finish(*two))]
        for each in (first, second):
            wait_until_blocked(db, each.session)
    assert [call.result() for call in calls] == [["accepted"] * 11] * 2
    assert {until for *_, until in holds(db)} == {after(3)}
    assert len(holds(db)) == 11


def test_a_queue_that_stays_locked_makes_the_outcome_busy_and_holds_up_no_other(
    db: Session, worker: DrivenWorker, other: Session
) -> None:
    first, second = run_all(worker, "a", "b")
    with other.transaction():
        other.execute("select horsies.lock_limits('{queue default}', true)")
        assert worker.finish(postponed(first, 2, KEY), done(second)) == ["busy", "accepted"]
    assert holds(db) == []
    assert worker.finish(postponed(first, 2, KEY)) == ["accepted"]
    assert holds(db) == [("default", "key", "a", after(2))]
