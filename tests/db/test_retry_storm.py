"""Ten thousand tasks that fail at once are retried at different times, and delay no other task."""

from collections import Counter

from horsies.config.retry import RetryPolicy
from tests.support.factories import DrivenWorker, failed, request, send, send_many
from tests.support.sessions import NOON, Session, column, freeze_clock, move_clock

MANY = 10_000
POLICY = RetryPolicy.fixed([60], auto_retry_for=["BOOM"])


def test_a_storm_of_retries_is_spread_by_jitter_and_holds_up_nothing_else(db: Session) -> None:
    freeze_clock(db)
    send_many(db, MANY)
    db.execute("update horsies.tasks set retry_policy = %s::json", (POLICY.to_json().decode(),))
    worker = DrivenWorker(db)
    while fences := worker.claim(1000):
        assert worker.finish(*map(failed, fences)) == ["accepted"] * len(fences)
    again = Counter(round((due - NOON).total_seconds()) for due in column(db, "select run_at from horsies.tasks"))
    assert (min(again), max(again), again.total()) == (45, 75, MANY)
    assert max(again.values()) < 3 * MANY / 30  # no second has many more than its share of a thirtieth
    fresh = send(db, request())
    assert [fence.task_id for fence in worker.claim(10)] == [fresh]
    move_clock(db, 60)
    urgent = send(db, request(priority=1))
    assert worker.claim_one().task_id == urgent
