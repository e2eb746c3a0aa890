"""`cancel_many`: cancels many tasks in one transaction."""

from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, done, ended_task, request, send
from tests.support.runs import node, start, state, statuses
from tests.support.sessions import InBackground, Session, call, column, find, row, scalar, wait_until_blocked

POLICY = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["BOOM"])


def cancel_many(session: Session, *task_ids: UUID) -> set[UUID]:
    return set(call(session, monitoring_queries.cancel_many(task_ids)))


def test_those_that_have_not_ended_end_with_all_that_is_known_of_them(db: Session) -> None:
    running, waiting, left = send(db), send(db, request(retry=POLICY)), send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    ended = ended_task(db, request(name="other"))
    assert cancel_many(db, waiting, uuid7(), running, ended) == {running, waiting}
    assert {row(db, "history", each)["status"] for each in (running, waiting)} == {"CANCELLED"}
    assert row(db, "history", waiting)["retry_policy"] == POLICY.to_json()
    assert row(db, "history", ended)["status"] == "COMPLETED"
    assert worker.finish(done(fence)) == ["stale"]
    assert column(db, "select id from horsies.tasks") == [left]


@pytest.mark.parametrize("ids", [[], [uuid7()]], ids=["none", "unknown"])
def test_there_may_be_nothing_to_end(db: Session, ids: list[UUID]) -> None:
    assert cancel_many(db, *ids) == set()


def test_nodes_of_runs_end_their_runs(db: Session) -> None:
    runs = [start(db, node(), node(0)) for _ in range(2)]
    cancel_many(db, *column(db, "select id from horsies.tasks"))
    assert [statuses(db, run) for run in runs] == [["FAILED", "SKIPPED"]] * 2
    assert {state(db, run).status for run in runs} == {"FAILED"}


def test_it_waits_for_an_outcome_that_came_first(db: Session, other: Session, in_background: InBackground) -> None:
    first, second = send(db), send(db)
    worker = DrivenWorker(db)
    [fence, _] = worker.claim(2)
    with db.transaction():
        worker.finish(done(fence))
        cancelling = in_background(lambda: cancel_many(other, second, first))
        wait_until_blocked(db, other)
    assert cancelling.result() == {second}
    assert row(db, "history", first)["status"] == "COMPLETED"


def test_it_is_durable(db: Session) -> None:
    task_id = send(db)
    db.execute("set synchronous_commit = off")
    with db.transaction():
        cancel_many(db, task_id)
        assert scalar(db, "show synchronous_commit") == "on"
    assert not find(db, "tasks", task_id)


def test_with_statuses_tasks_that_have_none_of_them_are_left_alone(db: Session) -> None:
    started, waiting = send(db), send(db)
    assert DrivenWorker(db).claim_one().task_id == started
    ids = column(db, "select horsies.cancel_many(%s, 'ada', '{PENDING}', '{\"why\": 1}')", [started, waiting])
    assert ids == [waiting]
    assert row(db, "tasks", started)["status"] == "RUNNING"
    assert column(db, "select details ->> 'why' from horsies.audit") == ["1"]


def test_the_status_is_read_when_the_row_is_locked(db: Session, other: Session, in_background: InBackground) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    with db.transaction():
        worker.claim_one()
        cancelling = in_background(
            lambda: column(other, "select horsies.cancel_many(%s, 'ada', '{PENDING}')", [task_id])
        )
        wait_until_blocked(db, other)
    assert cancelling.result() == []
    assert row(db, "tasks", task_id)["status"] == "RUNNING"
