"""`rerun`: sends an ended task again, as a new task."""

from datetime import timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, done, ended_task, expire, failed, request, send
from tests.support.sessions import (
    NOON,
    InBackground,
    NotificationListener,
    Session,
    call,
    find,
    freeze_clock,
    move_clock,
    row,
    scalar,
    wait_until_blocked,
)

POLICY = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["BOOM"])
KEPT = {"task_name", "queue", "priority", "args", "retry_policy", "timeout_ms", "fingerprint"}


def rerun(session: Session, origin: UUID, new_id: UUID | None = None) -> str:
    return call(session, task_queries.rerun(origin, new_id or uuid7()))


def test_it_is_a_new_task_that_knows_its_origin(db: Session) -> None:
    freeze_clock(db)
    wanted = request(
        queue="other", priority=7, delay=5, good_until=NOON + timedelta(seconds=9), retry=POLICY, timeout_ms=100
    )
    before = row(db, "tasks", send(db, wanted))
    move_clock(db, 10)
    expire(db)
    new_id = uuid7()
    assert rerun(db, wanted.task_id, new_id) == "sent"
    new = row(db, "tasks", new_id)
    assert {name: new[name] for name in KEPT} == {name: before[name] for name in KEPT}
    assert (new["rerun_of"], new["good_until"]) == (wanted.task_id, None)
    assert new["sent_at"] == new["run_at"] == NOON + timedelta(seconds=10)
    assert (new["status"], new["attempt"], new["progress"], new["idempotency_key"]) == ("PENDING", 0, None, None)
    assert row(db, "history", wanted.task_id)["status"] == "EXPIRED"


@pytest.mark.parametrize("how", [done, failed])
def test_it_can_be_claimed_and_ends_with_its_origin(db: Session, how: type) -> None:
    origin = send(db)
    worker = DrivenWorker(db)
    worker.finish(how(worker.claim_one()))
    new_id = uuid7()
    rerun(db, origin, new_id)
    fence = worker.claim_one()
    assert fence.task_id == new_id
    assert worker.finish(done(fence)) == ["accepted"]
    assert row(db, "history", new_id)["rerun_of"] == origin


def test_a_rerun_of_a_rerun_has_that_one_for_its_origin(db: Session) -> None:
    first, second, third = ended_task(db), uuid7(), uuid7()
    rerun(db, first, second)
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    assert rerun(db, second, third) == "sent"
    assert row(db, "tasks", third)["rerun_of"] == second


def test_of_a_node_the_task_goes_without_the_workflow(db: Session) -> None:
    origin = ended_task(db)
    db.execute("update horsies.history set workflow_id = id, node_index = 1, root_id = id, idempotency_key = 'k'")
    new_id = uuid7()
    assert rerun(db, origin, new_id) == "sent"
    new = row(db, "tasks", new_id)
    assert new["workflow_id"] is new["node_index"] is new["root_id"] is new["idempotency_key"] is None


def test_a_live_task_is_not_run_again(db: Session) -> None:
    task_id = send(db)
    assert rerun(db, task_id) == "live"
    DrivenWorker(db).claim_one()
    assert rerun(db, task_id) == "live"
    assert scalar(db, "select count(*) from horsies.tasks") == 1


def test_there_is_no_such_task(db: Session) -> None:
    assert rerun(db, uuid7()) == "unknown"
    assert scalar(db, "select count(*) from horsies.tasks") == 0


def test_a_replay_makes_no_second_task(db: Session) -> None:
    origin, new_id = ended_task(db), uuid7()
    assert [rerun(db, origin, new_id) for _ in range(2)] == ["sent", "sent"]
    assert scalar(db, "select count(*) from horsies.tasks") == 1
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    assert rerun(db, origin, new_id) == "sent"
    assert not find(db, "tasks", new_id)
    assert scalar(db, "select count(*) from horsies.history") == 2


def test_a_replay_while_the_first_is_about_to_commit(db: Session, other: Session, in_background: InBackground) -> None:
    origin, new_id = ended_task(db), uuid7()
    with db.transaction():
        rerun(db, origin, new_id)
        replay = in_background(lambda: rerun(other, origin, new_id))
        wait_until_blocked(db, other)
    assert replay.result() == "sent"
    assert scalar(db, "select count(*) from horsies.tasks") == 1


def test_it_is_durable(db: Session) -> None:
    origin = ended_task(db)
    db.execute("set synchronous_commit = off")
    with db.transaction():
        rerun(db, origin)
        assert scalar(db, "show synchronous_commit") == "on"


def test_workers_are_notified_by_the_hint(db: Session, other: Session) -> None:
    listener = NotificationListener(other, "wake")
    hint = task_queries.rerun(uuid7(), uuid7()).hint
    assert hint is not None
    call(db, hint)
    assert listener.heard() == [""]
