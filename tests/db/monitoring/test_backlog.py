"""`backlog`: how many tasks need or occupy a place in a worker."""

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import status as status_queries
from tests.support.factories import DrivenWorker, request, send, send_many
from tests.support.flow import hold
from tests.support.sessions import Session, call


def backlog(db: Session) -> int:
    return call(db, status_queries.backlog("default"))


def test_due_and_claimed_tasks_count_and_scheduled_ones_do_not(db: Session) -> None:
    assert backlog(db) == 0
    send_many(db, 5)
    send(db, request(delay=60))
    send(db, request(queue="other"))
    assert backlog(db) == 5
    DrivenWorker(db).claim(2)
    assert backlog(db) == 5


def test_tasks_that_no_worker_would_start_do_not_count(db: Session) -> None:
    send_many(db, 5)
    DrivenWorker(db).claim(2)
    hold(db, "horsies.now() + interval '1 minute'")
    assert backlog(db) == 2
    hold(db, "horsies.now() - interval '1 minute'")
    assert backlog(db) == 5
    call(db, monitoring_queries.queue_control("default", "pause"))
    assert backlog(db) == 2


def test_tasks_of_other_queues_are_not_counted(db: Session) -> None:
    send_many(db, 5)
    for _ in range(3):
        send(db, request(queue="other"))
    figures = "select queue, waiting from horsies.waiting_figures(horsies.now(), only_queue => %s)"
    assert db.execute(figures, ("other",)).fetchall() == [("other", 3)]
    assert db.execute(figures, (None,)).fetchall() == [("default", 5), ("other", 3)]
