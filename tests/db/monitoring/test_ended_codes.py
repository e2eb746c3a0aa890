"""`ended_codes`: the error codes that ended tasks have, for suggestions."""

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, done, failed, send
from tests.support.sessions import Session, call, column


def test_each_code_of_the_latest_tasks_once(db: Session) -> None:
    for _ in range(5):
        send(db)
    worker = DrivenWorker(db)
    first, *others = worker.claim(4)
    worker.finish(done(first))
    for fence, code in zip(others, ["BOOM", "BANG", "BOOM"], strict=True):
        worker.finish(failed(fence, code))
    assert call(db, monitoring_queries.ended_codes()) == ["BANG", "BOOM"]
    assert column(db, "select horsies.ended_codes(1)") == ["BOOM"]
