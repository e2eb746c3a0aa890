"""`worker_stop`: deregisters a worker."""

from tests.support.factories import DrivenWorker, reap, send
from tests.support.sessions import Session, find, row


def test_its_row_is_gone_and_the_others_stay(db: Session) -> None:
    leaving, staying = DrivenWorker(db), DrivenWorker(db)
    leaving.stop()
    leaving.stop()
    assert not find(db, "workers", leaving.id)
    assert find(db, "workers", staying.id)


def test_it_claims_nothing_any_more(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    worker.stop()
    assert worker.claim() == []


def test_its_tasks_are_recovered(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    worker.stop()
    assert reap(db).crashed == 1
    assert row(db, "history", fence.task_id)["error_code"] == "WORKER_CRASHED"
