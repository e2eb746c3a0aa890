"""`lost_claims`: which claims of a worker the database does not have any more."""

from copy import replace

from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, numbered_id, send
from tests.support.sessions import Session, call


def test_only_what_is_lost_is_returned_and_nothing_changes(db: Session) -> None:
    for _ in range(3):
        send(db)
    worker = DrivenWorker(db)
    kept, cancelled, released = worker.claim(3)
    call(db, task_queries.cancel(cancelled.task_id))
    worker.release(released)
    unknown = Fence(numbered_id(1), 1)
    held = [kept, cancelled, released, unknown]
    assert call(db, worker_queries.lost_claims(worker.id, held)) == {each.task_id for each in held[1:]}
    assert call(db, worker_queries.lost_claims(worker.id, [replace(kept, exchange_no=7)])) == {kept.task_id}
    assert call(db, worker_queries.lost_claims(numbered_id(2), [kept])) == {kept.task_id}
    assert worker.reconcile(kept) == set()


def test_a_task_that_nobody_reports_is_not_returned_to_the_queue(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    assert call(db, worker_queries.lost_claims(worker.id, [])) == set()
    assert worker.reconcile(fence) == set()
