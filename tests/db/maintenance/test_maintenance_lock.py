"""`maintenance_lock`: one worker at a time runs maintenance."""

from datetime import timedelta

from horsies.config.app import RecoveryConfig
from horsies.db import operations
from horsies.db.migrate import migrate
from horsies.db.operations import Call
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import ReapCounts
from horsies.db.sqlfiles import bind
from horsies.worker.maintenance import maintenance_jobs
from horsies.worker.silence import SilenceObserver
from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, scalar

LOCK = Call("select horsies.maintenance_lock()", (), operations.scalar)
JOBS = maintenance_jobs(RecoveryConfig(), SilenceObserver())


def test_one_worker_at_a_time_has_it_until_its_transaction_ends(db: Session, other: Session) -> None:
    with db.transaction():
        assert call(db, LOCK)
        assert not call(other, LOCK)
    assert call(other, LOCK)


def test_another_schema_has_a_lock_of_its_own(db: Session, other: Session) -> None:
    migrate(db, "second")
    with db.transaction():
        assert call(db, LOCK)
        assert other.execute(bind("select horsies.maintenance_lock()", "second")).fetchone() == (True,)


def test_a_job_does_not_run_while_another_worker_runs_maintenance(db: Session, other: Session) -> None:
    gone = DrivenWorker(db)
    gone.stop()
    freeze_clock(db)
    send(db, request(good_until=NOON + timedelta(seconds=1)))
    move_clock(db, 2)
    with other.transaction():
        assert call(other, LOCK)
        for each in JOBS:
            assert call(db, worker_queries.maintenance_call(each.call())) is None
        assert scalar(db, "select count(*) from horsies.tasks") == 1
    answers = {each.name: call(db, worker_queries.maintenance_call(each.call())) for each in JOBS}
    assert answers["reap"] == ReapCounts(0, 0, 0)
    assert answers["expire"] == 1
    assert all(answer is not None for answer in answers.values())
