"""`worker_stats`: the registered workers, and the number of tasks of each."""

from datetime import timedelta

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import HOSTNAME, PID, DrivenWorker, prefetch, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock


def test_each_worker_with_its_claimed_and_running_tasks(db: Session) -> None:
    freeze_clock(db)
    assert call(db, monitoring_queries.worker_stats()) == []
    for _ in range(4):
        send(db)
    busy = DrivenWorker(db, queues=("default", "other"), stale_after_s=60)
    prefetch(db, busy.claim(3)[0])
    move_clock(db, 60)
    idle = DrivenWorker(db)
    first, second = call(db, monitoring_queries.worker_stats())
    assert (first.worker_id, first.claimed, first.running, first.is_stale) == (str(busy.id), 1, 2, False)
    assert (first.hostname, first.pid, first.process_name) == (HOSTNAME, PID, "host-1/worker")
    assert (first.queues, first.task_names) == (("default", "other"), ("add",))
    assert (first.processes, first.concurrency, first.library_version) == (2, 1, "0.1.0")
    assert first.started_at == first.heartbeat_at == NOON
    assert first.clock_skew_s is None
    assert (second.worker_id, second.claimed, second.running) == (str(idle.id), 0, 0)
    assert second.started_at == NOON + timedelta(seconds=60)
    move_clock(db, 1)
    assert [found.is_stale for found in call(db, monitoring_queries.worker_stats())] == [True, False]
    busy.heartbeat(1.5)
    idle.heartbeat(-1.5)
    assert [found.clock_skew_s for found in call(db, monitoring_queries.worker_stats())] == [1.5, -1.5]
