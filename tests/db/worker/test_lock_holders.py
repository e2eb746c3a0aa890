"""`lock_holders`: who holds the rows of outcomes that stay busy."""

from uuid import UUID

import pytest

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, done, numbered_id, send
from tests.support.runs import node, start
from tests.support.sessions import NewSession, Session, call, scalar

LOCK = b"select from horsies.tasks where id = any (%s) for update"


def holders(session: Session, *ids: UUID) -> list[worker_queries.LockHolder]:
    return call(session, worker_queries.lock_holders(ids))


def test_the_session_that_holds_rows_is_named_once(db: Session, other: Session) -> None:
    held = [send(db), send(db)]
    other.execute("set application_name = 'report'")
    with other.transaction():
        other.execute(LOCK, (held,))
        [found] = holders(db, *held, send(db))
        assert (found.pid, found.tasks) == (other.info.backend_pid, 2)
        assert (found.username, found.application) == (other.info.user, "report")
        assert (found.task_id in held, found.state) == (True, "idle in transaction")
        assert found.seconds is not None
        assert found.seconds >= 0
    assert holders(db, *held) == []


def test_a_lock_of_a_savepoint_belongs_to_its_session(db: Session, other: Session) -> None:
    held = send(db)
    with other.transaction(), other.transaction():
        other.execute(LOCK, ([held],))
        assert [found.pid for found in holders(db, held)] == [other.info.backend_pid]


def test_all_who_share_a_lock_are_named(db: Session, new_session: NewSession) -> None:
    held = send(db)
    sessions = [new_session(), new_session()]
    for session in sessions:
        session.execute("begin;")
        session.execute(b"select from horsies.tasks where id = %s for share", (held,))
    assert {found.pid for found in holders(db, held)} == {session.info.backend_pid for session in sessions}
    for session in sessions:
        session.execute("commit;")
    assert holders(db, held) == []


def test_the_holder_of_a_run_is_named(db: Session, other: Session) -> None:
    run = start(db, node(), run_id=numbered_id(1))
    task = scalar(db, "select id from horsies.tasks")
    with other.transaction():
        other.execute(b"select from horsies.workflows where id = %s for update", (run,))
        assert [found.pid for found in holders(db, task)] == [other.info.backend_pid]


def test_a_prepared_transaction_is_named(db: Session, other: Session) -> None:
    if scalar(db, "show max_prepared_transactions") == "0":
        pytest.skip("the server has no prepared transactions")
    held = send(db)
    other.execute("begin;")
    other.execute(LOCK, ([held],))
    other.execute("prepare transaction 'horsies''s'")
    [found] = holders(db, held)
    assert (found.pid, found.state) == (None, "prepared transaction 'horsies''s'")
    other.execute("rollback prepared 'horsies''s'")


def test_a_task_that_has_ended_is_held_by_nobody(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    worker.finish(done(fence))
    assert holders(db, fence.task_id) == []
