"""`start`: starts prefetched tasks, if the worker still holds them."""

from datetime import timedelta

from tests.support.factories import DrivenWorker, cap_queue, done, numbered_id, pause_queue, reap, request, send
from tests.support.sessions import NOON, NotificationListener, Session, freeze_clock, move_clock, row


def test_a_prefetched_task_waits_under_a_lease_and_then_runs(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db)
    worker = DrivenWorker(db)
    (fence,) = worker.prefetch(lease_s=60)
    task = row(db, "tasks", task_id)
    assert (task["status"], task["attempt"], task["started_at"]) == ("CLAIMED", 0, None)
    assert (task["claimed_at"], task["lease_until"]) == (NOON, NOON + timedelta(seconds=60))
    move_clock(db, 5)
    assert worker.start(fence) == {task_id: 1}
    task = row(db, "tasks", task_id)
    assert (task["status"], task["attempt"], task["lease_until"]) == ("RUNNING", 1, None)
    assert (task["claimed_at"], task["started_at"]) == (NOON, NOON + timedelta(seconds=5))
    assert worker.finish(done(fence)) == ["accepted"]


def test_prefetched_tasks_come_in_order_and_only_once(db: Session) -> None:
    freeze_clock(db)
    for number in range(3):
        send(db, request(numbered_id(number)))
    first, second = DrivenWorker(db), DrivenWorker(db)
    assert [fence.task_id for fence in first.prefetch(2)] == [numbered_id(0), numbered_id(1)]
    assert [fence.task_id for fence in second.prefetch(5)] == [numbered_id(2)]


def test_only_a_claim_of_one_s_own_that_waits_begins(db: Session) -> None:
    for _ in range(2):
        send(db)
    worker, other = DrivenWorker(db), DrivenWorker(db)
    (waiting,) = worker.prefetch()
    running = worker.claim_one()
    assert other.start(waiting) == {}
    assert worker.start(running) == {}
    assert worker.start(waiting).keys() == {waiting.task_id}
    assert worker.start(waiting) == {}
    assert row(db, "tasks", waiting.task_id)["attempt"] == 1


def test_a_worker_that_was_declared_dead_begins_nothing(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    (fence,) = worker.prefetch()
    worker.stop()
    assert worker.start(fence) == {}
    assert row(db, "tasks", task_id)["status"] == "CLAIMED"
    assert reap(db).returned == 1


def test_what_may_not_begin_any_more_goes_back(db: Session, other: Session) -> None:
    freeze_clock(db)
    for number, queue in enumerate(["fine", "overdue", "held", "paused", "capped"]):
        deadline = NOON + timedelta(seconds=1) if queue == "overdue" else None
        send(db, request(numbered_id(number), queue=queue, good_until=deadline))
    worker = DrivenWorker(db, queues=["fine", "overdue", "held", "paused", "capped"])
    fences = worker.prefetch(5)
    move_clock(db, 1)
    db.execute("update horsies.tasks set held = true where queue = 'held'")
    pause_queue(db, "paused")
    cap_queue(db, "capped", 5)
    listener = NotificationListener(other, "wake")
    assert worker.start(*fences) == {numbered_id(0): 1}
    assert listener.heard() == [""]
    states = {row(db, "tasks", fence.task_id)["queue"]: row(db, "tasks", fence.task_id) for fence in fences}
    assert {queue for queue, task in states.items() if task["status"] == "PENDING"} == set(states) - {"fine"}
    assert {(task["attempt"], task["worker_deaths"]) for queue, task in states.items() if queue != "fine"} == {(0, 0)}
