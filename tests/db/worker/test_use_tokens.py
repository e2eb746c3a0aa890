"""`use_tokens`: each start takes a token, and a claim that rolls back none."""

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, rate, send_keys
from tests.support.sessions import Session


def test_a_claim_that_rolls_back_loses_no_token(db: Session) -> None:
    declare_queue(db, rate=rate(1, 3600, burst=1))
    send_keys(db, "ab")
    worker = DrivenWorker(db)
    with db.transaction(force_rollback=True):
        worker.claim_one()
    worker.cursors = None
    assert len(worker.claim(9)) == 1
    assert worker.claim(9) == []
