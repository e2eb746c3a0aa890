"""`in_flight_tasks`: the tasks that workers hold."""

from horsies.db.queries import status as status_queries
from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker, prefetch, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock


def test_claimed_and_running_tasks_the_longest_held_first(db: Session) -> None:
    freeze_clock(db)
    for _ in range(3):
        send(db)
    worker = DrivenWorker(db)
    claimed = worker.claim(2)
    prefetch(db, claimed[1])
    first, second = call(db, status_queries.in_flight_tasks(None, 10))
    assert {first.status, second.status} == {"RUNNING", "CLAIMED"}
    assert (first.queue, first.task_name, first.worker_id, first.process_name) == (
        "default",
        "add",
        worker.id,
        "host-1/worker",
    )
    assert first.clock == NOON
    move_clock(db, 5)
    late = worker.claim(1)[0]
    assert [row.id for row in call(db, status_queries.in_flight_tasks(None, 10))][-1] == late.task_id
    assert len(call(db, status_queries.in_flight_tasks(None, 1))) == 1


def test_only_those_of_a_queue(db: Session) -> None:
    send(db)
    send(db, request(queue="mail"))
    DrivenWorker(db, queues=("default", "mail")).claim(2)
    assert [row.queue for row in call(db, status_queries.in_flight_tasks("mail", 10))] == ["mail"]
    assert call(db, status_queries.in_flight_tasks("other", 10)) == []


def test_waiting_tasks_are_not_read(db: Session) -> None:
    for _ in range(50):
        send(db)
    DrivenWorker(db).claim(2)
    with reading(db) as reads:
        assert len(call(db, status_queries.in_flight_tasks(None, 10))) == 2
    assert not reads.whole_tables & {"tasks", "history"}
    assert reads.rows < 20
