"""`return_stale_to_queue`: returns claimed, unstarted tasks of silent workers to the queue."""

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, numbered_id, prefetch, request, send
from tests.support.sessions import NotificationListener, Session, call, find, freeze_clock, move_clock, row


def return_stale_to_queue(db: Session, seconds: float, most: int = 100) -> int:
    return call(db, monitoring_queries.return_stale_to_queue(seconds, most))


def test_claims_of_a_silent_worker_go_back_and_what_it_runs_stays(db: Session, other: Session) -> None:
    freeze_clock(db)
    silent, lively = DrivenWorker(db), DrivenWorker(db)
    for number in range(3):
        send(db, request(numbered_id(number)))
    claimed, running = silent.claim(2)
    kept = lively.claim_one()
    for fence in (claimed, kept):
        prefetch(db, fence)
    move_clock(db, 60)
    lively.heartbeat()
    listener = NotificationListener(other, "wake")
    assert return_stale_to_queue(db, 61) == 0
    assert listener.heard() == []
    assert return_stale_to_queue(db, 60) == 1
    assert listener.heard() == [""]
    assert row(db, "tasks", claimed.task_id)["status"] == "PENDING"
    assert row(db, "tasks", claimed.task_id)["worker_deaths"] == 1
    assert row(db, "tasks", kept.task_id)["status"] == "CLAIMED"
    assert row(db, "tasks", running.task_id)["status"] == "RUNNING"
    assert find(db, "workers", silent.id)


def test_those_of_a_worker_that_is_gone_go_back(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    prefetch(db, worker.claim_one())
    worker.stop()
    assert return_stale_to_queue(db, 3600) == 1


def test_those_whose_lease_has_passed_go_back_and_nobody_has_died(db: Session) -> None:
    freeze_clock(db)
    for number in range(2):
        send(db, request(numbered_id(number)))
    worker = DrivenWorker(db)
    (short,), (long,) = worker.prefetch(lease_s=10), worker.prefetch(lease_s=11)
    move_clock(db, 10)
    assert return_stale_to_queue(db, 60) == 1
    assert (row(db, "tasks", short.task_id)["status"], row(db, "tasks", short.task_id)["worker_deaths"]) == (
        "PENDING",
        0,
    )
    assert row(db, "tasks", long.task_id)["status"] == "CLAIMED"
    assert worker.start(short, long).keys() == {long.task_id}


def test_a_call_takes_a_bounded_number_and_waits_for_nobody(db: Session, other: Session) -> None:
    freeze_clock(db)
    for number in range(4):
        send(db, request(numbered_id(number)))
    for fence in DrivenWorker(db).claim(4):
        prefetch(db, fence)
    move_clock(db, 60)
    with other.transaction():
        other.execute("select from horsies.tasks where id = %s for update", (numbered_id(0),))
        assert return_stale_to_queue(db, 60, most=2) == 2
        assert return_stale_to_queue(db, 60, most=2) == 1
    assert return_stale_to_queue(db, 60, most=2) == 1


def test_what_would_go_back_for_the_fifth_time_is_left_to_who_fails_it(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db)
    for worker_deaths in range(1, 5):
        prefetch(db, DrivenWorker(db).claim_one())
        move_clock(db, 60)
        assert return_stale_to_queue(db, 60) == 1
        assert row(db, "tasks", task_id)["worker_deaths"] == worker_deaths
    last = DrivenWorker(db)
    prefetch(db, last.claim_one())
    move_clock(db, 60)
    assert return_stale_to_queue(db, 60) == 0
    assert int(call(db, worker_queries.reap(last.id, 10))) == 1
    assert row(db, "history", task_id)["error_code"] == "WORKER_CRASHED"
