"""`reap_stale`: declares silent workers dead, whatever thresholds they have set."""

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, done, prefetch, request, send
from tests.support.sessions import Session, call, find, freeze_clock, move_clock, row

AFTER_CRASH = RetryPolicy.fixed([60], jitter=False, auto_retry_for=["WORKER_CRASHED"])


def reap_stale(db: Session, seconds: float, most: int = 100) -> int:
    return call(db, monitoring_queries.reap_stale(seconds, most))


def test_only_who_is_silent_for_so_long_loses_its_work(db: Session) -> None:
    freeze_clock(db)
    silent, lively = DrivenWorker(db), DrivenWorker(db)
    failing, retried, claimed, kept = (send(db, request(retry=AFTER_CRASH if n == 1 else None)) for n in range(4))
    lost, _, fence = silent.claim(3)
    prefetch(db, fence)
    lively.claim_one()
    move_clock(db, 60)
    lively.heartbeat()
    assert reap_stale(db, 61) == 0
    assert reap_stale(db, 60) == 2
    assert row(db, "history", failing)["error_code"] == "WORKER_CRASHED"
    assert [row(db, "tasks", task_id)["status"] for task_id in (retried, claimed, kept)] == [
        "PENDING",
        "PENDING",
        "RUNNING",
    ]
    assert not find(db, "workers", silent.id)
    assert find(db, "workers", lively.id)
    assert silent.finish(done(lost)) == ["stale"]
    assert not silent.heartbeat()


def test_what_a_dead_worker_left_is_taken_along(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    worker.claim_one()
    worker.stop()
    assert reap_stale(db, 3600) == 1
    assert row(db, "history", task_id)["error_code"] == "WORKER_CRASHED"


def test_a_call_handles_a_bounded_number_and_the_next_one_continues(db: Session) -> None:
    freeze_clock(db)
    for _ in range(5):
        send(db)
    DrivenWorker(db).claim(5)
    move_clock(db, 60)
    assert [reap_stale(db, 60, most=2) for _ in range(4)] == [2, 2, 1, 0]
