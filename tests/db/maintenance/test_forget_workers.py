"""`forget_workers`: records of dead workers are deleted after a while."""

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, reap
from tests.support.sessions import NOON, Session, call, column, freeze_clock, move_clock, row, scalar

HOUR = 3600


def test_a_worker_that_is_found_dead_is_known_until_the_retention_is_over(db: Session) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    reap(db, proven_dead=worker.id)
    known = row(db, "dead_workers", worker.id)
    assert (known["pid"], known["process_name"], known["died_at"]) == (worker.facts(1).pid, "host-1/worker", NOON)

    move_clock(db, 24 * HOUR)
    assert call(db, worker_queries.forget_workers(24)) == 0
    move_clock(db, 1)
    later = DrivenWorker(db)
    reap(db, proven_dead=later.id)
    assert call(db, worker_queries.forget_workers(24)) == 1
    assert column(db, "select id from horsies.dead_workers") == [later.id]


def test_a_worker_that_leaves_in_good_order_did_not_die(db: Session) -> None:
    worker = DrivenWorker(db)
    worker.stop()
    reap(db)
    assert scalar(db, "select count(*) from horsies.dead_workers") == 0
