"""`rerun_many`: sends ended tasks again, as new tasks, each once."""

from collections.abc import Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import RerunVerdict
from tests.support.factories import DrivenWorker, done, ended_task, failed, request, send
from tests.support.sessions import (
    InBackground,
    NotificationListener,
    Session,
    call,
    column,
    freeze_clock,
    row,
    scalar,
    wait_until_blocked,
)

POLICY = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["BOOM"])
KEPT = {"task_name", "queue", "priority", "args", "retry_policy", "timeout_ms", "fingerprint"}


def rerun_many(
    session: Session, origins: Sequence[UUID], known: int = 0, new_ids: Sequence[UUID] | None = None
) -> list[RerunVerdict]:
    new_ids = new_ids or [uuid7() for _ in origins]
    found = call(session, monitoring_queries.rerun_many(origins, [known] * len(origins), new_ids))
    return [found[origin] for origin in origins]


def new_tasks(session: Session) -> list[UUID]:
    """The origins of all live tasks."""
    return column(session, "select rerun_of from horsies.tasks order by id")


def failures(session: Session, count: int) -> list[UUID]:
    sent = [send(session, request(priority=7, retry=POLICY, timeout_ms=100)) for _ in range(count)]
    worker = DrivenWorker(session)
    worker.finish(*(failed(fence, "OTHER") for fence in worker.claim(count)))
    worker.stop()
    return sent


def test_each_is_a_new_task_that_knows_its_origin(db: Session) -> None:
    origins, new_ids = failures(db, 2), [uuid7(), uuid7()]
    assert rerun_many(db, origins, new_ids=new_ids) == ["sent", "sent"]
    for origin, new_id in zip(origins, new_ids, strict=True):
        ended, new = row(db, "history", origin), row(db, "tasks", new_id)
        assert {name: new[name] for name in KEPT} == {name: ended[name] for name in KEPT}
        assert (new["rerun_of"], new["status"], new["attempt"]) == (origin, "PENDING", 0)


def test_what_has_another_number_of_reruns_by_now_is_left_out(db: Session) -> None:
    first, second = failures(db, 2)
    call(db, task_queries.rerun(first, uuid7()))
    assert rerun_many(db, [first, second]) == ["changed", "sent"]
    assert rerun_many(db, [first, second], known=1) == ["sent", "sent"]
    assert sorted(new_tasks(db)) == sorted([first, second] * 2)


def test_what_is_live_or_unknown_is_not_sent(db: Session) -> None:
    live, nobody = send(db), uuid7()
    assert rerun_many(db, [live, nobody, ended_task(db, request(name="other"))]) == ["live", "unknown", "sent"]
    assert rerun_many(db, []) == []


def test_a_replay_makes_no_second_task(db: Session) -> None:
    freeze_clock(db)
    origins, new_ids = failures(db, 2), [uuid7(), uuid7()]
    assert [rerun_many(db, origins, new_ids=new_ids) for _ in range(2)] == [["sent", "sent"]] * 2
    worker = DrivenWorker(db)
    worker.finish(*map(done, worker.claim(2)))
    assert rerun_many(db, origins, new_ids=new_ids) == ["sent", "sent"]
    assert new_tasks(db) == []


def test_of_two_at_the_same_time_one_sends(db: Session, other: Session, in_background: InBackground) -> None:
    origins = failures(db, 3)
    with db.transaction():
        assert rerun_many(db, origins[:2]) == ["sent", "sent"]
        second = in_background(lambda: rerun_many(other, origins[::-1]))
        wait_until_blocked(db, other)
    assert second.result() == ["sent", "changed", "changed"]
    assert sorted(new_tasks(db)) == sorted(origins)


def test_it_waits_for_the_rerun_of_one_task(db: Session, other: Session, in_background: InBackground) -> None:
    [origin] = failures(db, 1)
    with db.transaction():
        call(db, task_queries.rerun(origin, uuid7()))
        second = in_background(lambda: rerun_many(other, [origin]))
        wait_until_blocked(db, other)
    assert second.result() == ["changed"]
    assert new_tasks(db) == [origin]


def test_what_is_rolled_back_is_sent_by_the_other(db: Session, other: Session, in_background: InBackground) -> None:
    [origin] = failures(db, 1)
    with db.transaction(force_rollback=True):
        assert rerun_many(db, [origin]) == ["sent"]
        second = in_background(lambda: rerun_many(other, [origin]))
        wait_until_blocked(db, other)
    assert second.result() == ["sent"]
    assert new_tasks(db) == [origin]


def test_it_is_durable_and_notifies_workers(db: Session, other: Session) -> None:
    [origin] = failures(db, 1)
    db.execute("set synchronous_commit = off")
    with db.transaction():
        rerun_many(db, [origin])
        assert scalar(db, "show synchronous_commit") == "on"
    listener = NotificationListener(other, "wake")
    hint = monitoring_queries.rerun_many([], [], []).hint
    assert hint is not None
    call(db, hint)
    assert listener.heard() == [""]


def test_the_record_has_the_details_of_the_caller(db: Session) -> None:
    [origin] = failures(db, 1)
    db.execute("select horsies.rerun_many(%s, '{0}', %s, 'ada', '{\"why\": 1}')", ([origin], [uuid7()]))
    assert column(db, "select details ->> 'why' from horsies.audit") == ["1"]
