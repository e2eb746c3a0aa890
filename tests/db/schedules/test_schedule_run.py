"""`schedule_run`: sends the task of a schedule now."""

from datetime import timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import schedules as schedule_queries
from tests.support.factories import define, schedule_state
from tests.support.sessions import NOON, Session, call, freeze_clock, row, scalar

LATER = NOON + timedelta(hours=1)


def run(session: Session, task_id: UUID) -> UUID | None:
    return call(session, schedule_queries.schedule_run("nightly", task_id))


def test_the_task_is_sent_now_and_what_is_due_stays_due(db: Session) -> None:
    freeze_clock(db)
    policy = RetryPolicy.fixed([1], auto_retry_for=["BOOM"])
    define(db, due=LATER, queue="mail", priority=7, args=b'{"a": 1}', retry=policy, timeout_ms=500)
    task_id = uuid7()
    assert run(db, task_id) == task_id
    task = row(db, "tasks", task_id)
    assert (task["task_name"], task["queue"], task["priority"], task["args"]) == ("add", "mail", 7, b'{"a": 1}')
    assert (task["retry_policy"], task["timeout_ms"], task["run_at"]) == (policy.to_json(), 500, NOON)
    state = schedule_state(db)
    assert (state.next_run_at, state.last_run_at, state.last_task_id, state.run_count) == (LATER, NOON, task_id, 1)


def test_a_replay_changes_nothing(db: Session) -> None:
    define(db, due=LATER)
    task_id = uuid7()
    assert run(db, task_id) == task_id
    assert run(db, task_id) == task_id
    assert schedule_state(db).run_count == scalar(db, "select count(*) from horsies.tasks") == 1


def test_one_that_is_not_known(db: Session) -> None:
    assert run(db, uuid7()) is None
    assert scalar(db, "select count(*) from horsies.tasks") == 0
