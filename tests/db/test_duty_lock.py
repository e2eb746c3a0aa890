"""`duty_lock`: one worker at a time does the duties."""

from horsies.db import calls_worker
from horsies.db.migrate import migrate
from horsies.db.sqlfiles import bind
from tests.support.sessions import Session, call


def test_one_worker_at_a_time_has_it_until_its_transaction_ends(db: Session, other: Session) -> None:
    with db.transaction():
        assert call(db, calls_worker.duty_lock())
        assert not call(other, calls_worker.duty_lock())
    assert call(other, calls_worker.duty_lock())


def test_another_schema_has_a_lock_of_its_own(db: Session, other: Session) -> None:
    migrate(db, "second")
    with db.transaction():
        assert call(db, calls_worker.duty_lock())
        assert other.execute(bind("select horsies.duty_lock()", "second")).fetchone() == (True,)
