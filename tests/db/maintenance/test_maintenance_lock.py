"""`maintenance_lock`: one worker at a time runs maintenance."""

from datetime import timedelta
from uuid import uuid4

from horsies.config.app import RecoveryConfig
from horsies.db import operations
from horsies.db.migrate import migrate
from horsies.db.operations import Call
from horsies.db.queries import schedules as schedule_queries
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


def test_a_lock_row_that_somebody_removed_is_created_again(db: Session, other: Session) -> None:
    db.execute("truncate horsies.locks")
    with db.transaction():
        assert call(db, LOCK)
        assert scalar(db, "select count(*) from horsies.locks") == 1
    assert call(other, LOCK)


def test_advisory_locks_of_other_roles_stop_neither_maintenance_nor_limits(db: Session, other: Session) -> None:
    """Any role can take these: the keys that earlier releases used, for example."""
    keys = (
        "select pg_advisory_lock(to_regclass('horsies.tasks')::oid::int, key) from unnest(array[1, hashtext('a')]) key"
    )
    other.execute(keys)
    other.execute("select pg_advisory_lock(to_regclass('horsies.schedules')::oid::int, hashtext('nightly'))")
    assert call(db, LOCK)
    send(db, request(queue="a"))
    assert len(DrivenWorker(db, caps={"a": 1}).claim(5)) == 1
    lease = timedelta(seconds=3)
    assert call(db, schedule_queries.schedule_lead(["nightly"], uuid4(), lease)) == ["nightly"]
    other.execute("select pg_advisory_unlock_all()")
