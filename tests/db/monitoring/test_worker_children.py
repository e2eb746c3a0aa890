"""`worker_children`: what each worker has said about its child processes."""

import json
from uuid import UUID

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker
from tests.support.sessions import Session, call


def children(db: Session) -> dict[UUID, object]:
    return {
        row.worker_id: None if row.children is None else json.loads(row.children)
        for row in call(db, monitoring_queries.worker_children())
    }


def test_the_last_report_of_each_worker(db: Session) -> None:
    worker, silent, stopped = DrivenWorker(db), DrivenWorker(db), DrivenWorker(db)
    stopped.stop()
    assert children(db) == {worker.id: None, silent.id: None}
    for memory in (50, 60):
        report = {"memory": [memory, None], "deaths": [[1.5, 0, 4711, "signal", "killed"]]}
        assert call(db, worker_queries.heartbeat(worker.id, 0, "[]", json.dumps(report)))[0]
    expected = {"memory": [60, None], "deaths": [[1.5, 0, 4711, "signal", "killed"]]}
    assert children(db) == {worker.id: expected, silent.id: None}
    assert worker.heartbeat()
    assert children(db)[worker.id] == expected, "a worker of an older release says nothing about children"


def test_the_version_of_the_app(db: Session) -> None:
    DrivenWorker(db)
    assert [row.app_version for row in call(db, monitoring_queries.worker_children())] == [None]
    db.execute("update horsies.workers set app_version = 'v1'")
    assert [row.app_version for row in call(db, monitoring_queries.worker_children())] == ["v1"]
