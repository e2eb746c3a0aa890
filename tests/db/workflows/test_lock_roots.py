"""`lock_roots`: functions that change runs lock the root runs, ordered by id, before any task row."""

from collections.abc import Callable
from uuid import UUID

import pytest
from psycopg import errors

from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import HOSTNAME, DrivenWorker, done, numbered_id
from tests.support.runs import control, node, request
from tests.support.sessions import InBackground, NewSession, Session, call, column, wait_until_blocked

LOCK_RUN = b"select from horsies.workflows where id = %s for update nowait"
LOCK_TASK = b"select from horsies.tasks where workflow_id = %s for update nowait"


def is_free(session: Session, sql: bytes, run: UUID) -> bool:
    try:
        session.execute(sql, (run,))
    except errors.LockNotAvailable:
        return False
    return True


def started(session: Session, number: int, **options: object) -> UUID:
    wanted = request([node(**options)], numbered_id(number))
    assert call(session, workflow_queries.workflow_start(wanted)) == "started"
    return wanted.run_id


def finish(session: Session, worker: UUID, fences: list[Fence]) -> object:
    return call(session, worker_queries.finish(worker, HOSTNAME, [done(fence) for fence in fences]))


@pytest.mark.parametrize("held", [0, 1, 2])
def test_roots_are_locked_in_the_order_of_their_ids_and_before_tasks(
    db: Session, new_session: NewSession, in_background: InBackground, held: int
) -> None:
    runs = [started(db, number) for number in (2, 0, 1)]
    worker = DrivenWorker(db)
    fences = worker.claim(3)
    calling, observing = new_session(), new_session()
    with db.transaction():
        assert is_free(db, LOCK_RUN, numbered_id(held))
        moving = in_background(lambda: finish(calling, worker.id, fences))
        wait_until_blocked(observing, calling)
        assert [is_free(observing, LOCK_RUN, numbered_id(number)) for number in range(3) if number != held] == [
            number > held for number in range(3) if number != held
        ]
        assert all(is_free(observing, LOCK_TASK, run) for run in runs)
    moving.result()
    finish(calling, worker.id, fences)  # on a slow machine, the first call may have given up waiting
    assert column(db, "select distinct status from horsies.workflows") == ["COMPLETED"]


SINGLE: dict[str, Callable[[Session, UUID, UUID], object]] = {
    "cancel": lambda session, _run, task: call(session, task_queries.cancel(task)),
    "workflow_cancel": lambda session, run, _task: control(session, run, "cancel"),
    "workflow_pause": lambda session, run, _task: control(session, run, "pause"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_functions_that_end_or_hold_a_node_task_lock_its_root_first(
    db: Session, new_session: NewSession, in_background: InBackground, name: str
) -> None:
    run = started(db, 1)
    (task,) = column(db, "select id from horsies.tasks")
    calling, observing = new_session(), new_session()
    with db.transaction():
        assert is_free(db, LOCK_RUN, run)
        moving = in_background(lambda: SINGLE[name](calling, run, task))
        wait_until_blocked(observing, calling)
        assert is_free(observing, LOCK_TASK, run)
    moving.result()
    assert column(db, "select status from horsies.workflows") != ["RUNNING"]


def test_a_plain_task_waits_for_no_run(db: Session, other: Session) -> None:
    run = started(db, 1)
    with db.transaction():
        assert is_free(db, LOCK_RUN, run)
        other.execute("set lock_timeout = '5s'")
        assert call(other, task_queries.cancel(numbered_id(7))) == "unknown"
