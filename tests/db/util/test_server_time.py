"""`server_time`: the clock of workers, which tests of users cannot move."""

from horsies.db.queries import worker as worker_queries
from horsies.db.sqlfiles import admin, bind
from tests.support.factories import DrivenWorker, send
from tests.support.sessions import NOON, SCHEMA, Session, call, row, scalar


def test_heartbeats_and_leases_do_not_follow_the_clock_of_tasks(db: Session) -> None:
    db.execute(bind(admin("test_clock"), SCHEMA))
    db.execute("insert into horsies.clock (frozen_at) values (%s)", (NOON,))
    worker = DrivenWorker(db)
    task = send(db)
    [fence] = worker.prefetch(1)
    found = row(db, "tasks", task)
    assert found["claimed_at"] == found["sent_at"] == NOON
    assert scalar(db, "select lease_until - clock_timestamp() < '1 hour' from horsies.tasks")
    assert scalar(db, "select clock_timestamp() - heartbeat_at < '1 min' from horsies.workers")
    assert call(db, worker_queries.renew(worker.id, [fence], 60, 60)) == {task}
