"""The page of a task: the forecast of its retries."""

from datetime import datetime, timedelta

from horsies import RetryPolicy
from tests.support.factories import DrivenWorker, failed, request, send
from tests.support.sessions import Session, row
from tests.support.web import Visitor

POLICY = RetryPolicy.fixed([600, 1200], auto_retry_for=["BOOM"], jitter=False)


def retries(visitor: Visitor, task_id: object) -> list[datetime]:
    data = Visitor(visitor.app).get(f"/tasks/{task_id}.json").json()["data"]
    return [datetime.fromisoformat(each) for each in data["retries"]]


def test_the_forecast_of_retries(visitor: Visitor, db: Session) -> None:
    task_id = send(db, request(retry=POLICY))
    due = row(db, "tasks", task_id)["run_at"]
    assert retries(visitor, task_id) == [due + timedelta(seconds=600), due + timedelta(seconds=1800)]
    assert "If its attempts keep failing, it is retried" in visitor.page(f"/tasks/{task_id}")
    worker = DrivenWorker(db)
    worker.finish(failed(worker.claim_one(), "BOOM"))
    planned = row(db, "tasks", task_id)["run_at"]
    assert retries(visitor, task_id) == [planned, planned + timedelta(seconds=1200)]


def test_no_retry_is_forecast_beyond_the_deadline(visitor: Visitor, db: Session) -> None:
    task_id = send(db, request(retry=POLICY))
    db.execute("update horsies.tasks set good_until = run_at + interval '1000 s'")
    assert len(retries(visitor, task_id)) == 1


def test_a_task_without_retries_has_no_forecast(visitor: Visitor, db: Session) -> None:
    task_id = send(db)
    assert retries(visitor, task_id) == []
    assert "keep failing" not in visitor.page(f"/tasks/{task_id}")
