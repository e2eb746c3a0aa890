"""`retry_forecast`: the delays before the further retries of a task, if its attempts keep failing."""

from datetime import timedelta

import pytest

from horsies import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, done, failed, prefetch, request, send
from tests.support.sessions import Session, call, freeze_clock, move_clock, row

FIXED = RetryPolicy.fixed([10, 20, 30], auto_retry_for=["BOOM"], jitter=False)
EXPONENTIAL = RetryPolicy.exponential(10, max_retries=4, auto_retry_for=["BOOM"], jitter=False, max_delay_seconds=35)


@pytest.mark.parametrize(("policy", "delays"), [(FIXED, [10, 20, 30]), (EXPONENTIAL, [10, 20, 35, 35])])
def test_the_forecast_is_what_happens(db: Session, policy: RetryPolicy, delays: list[float]) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    task_id = send(db, request(retry=policy))

    def forecast() -> list[float]:
        return call(db, monitoring_queries.retry_forecast(task_id))

    for number, delay in enumerate(delays):
        assert forecast() == delays[number:], "waiting"
        fence = worker.claim_one()
        assert forecast() == delays[number:], "running"
        before = row(db, "tasks", task_id)["started_at"]
        worker.finish(failed(fence, "BOOM"))
        assert row(db, "tasks", task_id)["run_at"] - before == timedelta(seconds=delay)
        move_clock(db, delay)
    assert forecast() == []
    worker.finish(done(worker.claim_one()))
    assert forecast() == [], "it has ended"


def test_a_prefetched_task_has_not_begun_its_attempt(db: Session) -> None:
    task_id = send(db, request(retry=FIXED))
    prefetch(db, DrivenWorker(db).claim_one())
    assert call(db, monitoring_queries.retry_forecast(task_id)) == [10, 20, 30]


def test_a_task_without_a_policy_has_none(db: Session) -> None:
    assert call(db, monitoring_queries.retry_forecast(send(db))) == []
