"""`relaxed`: a transaction that only notifies does not wait for the disk."""

from horsies.db import calls_worker
from tests.support.factories import numbered_id
from tests.support.sessions import Session, call, scalar


def test_it_lasts_for_the_transaction(db: Session) -> None:
    with db.transaction():
        call(db, calls_worker.notify_wake())
        assert scalar(db, "show synchronous_commit") == "off"
    with db.transaction():
        call(db, calls_worker.notify_done([numbered_id(1)]))
        assert scalar(db, "show synchronous_commit") == "off"
    assert scalar(db, "show synchronous_commit") == "on"
