"""`worker_beats`: lists all workers with the number of their heartbeats."""

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker
from tests.support.sessions import Session, call


def test_it_lists_all_workers_with_their_thresholds(db: Session) -> None:
    workers = [DrivenWorker(db, stale_after_s=seconds) for seconds in (0.5, 60, 7200)]
    listed = call(db, worker_queries.worker_beats())
    assert {(each.worker_id, each.beats, each.stale_after_s) for each in listed} == {
        (workers[0].id, 0, 0.5),
        (workers[1].id, 0, 60.0),
        (workers[2].id, 0, 7200.0),
    }
