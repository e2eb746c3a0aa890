"""`relaxed`: a transaction whose loss is harmless does not wait for the disk."""

from horsies.db.queries import tasks as task_queries
from tests.support.factories import numbered_id
from tests.support.sessions import Session, call, scalar


def test_it_lasts_for_the_transaction(db: Session) -> None:
    with db.transaction():
        call(db, task_queries.progress(numbered_id(1), 1, b"1"))
        assert scalar(db, "show synchronous_commit") == "off"
    assert scalar(db, "show synchronous_commit") == "on"
