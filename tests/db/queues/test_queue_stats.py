"""`queue_stats`: waiting and running tasks per queue, pauses, and the caps in effect."""

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.rows import QueueStats
from tests.support.factories import DrivenWorker, cap_queue, pause_queue, request, send
from tests.support.sessions import Session, call, freeze_clock, move_clock


def stats(db: Session, *names: str) -> list[QueueStats]:
    return call(db, monitoring_queries.queue_stats(names))


def test_a_queue_nobody_knows_of_is_empty(db: Session) -> None:
    assert stats(db) == []
    assert stats(db, "a", "a") == [QueueStats("a", 0, 0, 0, 0, paused=False, max_concurrency=None, workers=0)]


def test_waiting_claimed_and_running_tasks_are_counted(db: Session) -> None:
    for delay in (0, 0, 0, 0, 60):
        send(db, request(queue="a", delay=delay))
    worker = DrivenWorker(db, caps={"a": None, "b": 3})
    worker.claim_one()
    worker.prefetch(2)
    assert stats(db, "c") == [
        QueueStats("a", 1, 1, 2, 1, paused=False, max_concurrency=None, workers=1),
        QueueStats("b", 0, 0, 0, 0, paused=False, max_concurrency=3, workers=1),
        QueueStats("c", 0, 0, 0, 0, paused=False, max_concurrency=None, workers=0),
    ]


def test_what_is_said_at_run_time_comes_first_and_then_the_smallest_cap_of_live_workers(db: Session) -> None:
    freeze_clock(db)
    DrivenWorker(db, caps={"a": 1}, stale_after_s=5)
    move_clock(db, 10)
    for cap in (4, 3, None):
        DrivenWorker(db, caps={"a": cap})
    assert [(each.max_concurrency, each.workers) for each in stats(db)] == [(3, 3)]
    cap_queue(db, "a", 9)
    pause_queue(db, "b")
    assert [(each.name, each.max_concurrency, each.paused) for each in stats(db)] == [
        ("a", 9, False),
        ("b", None, True),
    ]
