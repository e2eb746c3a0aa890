"""`lock_free_roots`: a root run that another transaction holds stops no maintenance of other tasks."""

from tests.support.factories import DrivenWorker, expire, numbered_id, reap, request, send
from tests.support.runs import node, start
from tests.support.sessions import Session, column, scalar

LOCK_RUN = b"select from horsies.workflows where id = %s for update"
LATE = "2001-01-01T00:00:00+00:00"


def test_tasks_of_held_runs_are_left_out(db: Session, other: Session) -> None:
    held, free = (start(db, node(), run_id=numbered_id(number)) for number in (1, 2))
    plain = send(db, request())
    ids = column(db, "select id from horsies.tasks")
    with other.transaction():
        other.execute(LOCK_RUN, (held,))
        found = scalar(db, "select horsies.lock_free_roots(%s::uuid[])", ids)
    free_task = scalar(db, "select id from horsies.tasks where workflow_id = %s", free)
    assert set(found) == {plain, free_task}


def test_a_task_whose_run_is_gone_is_free(db: Session) -> None:
    start(db, node(), run_id=numbered_id(1))
    db.execute("delete from horsies.workflows")
    ids = column(db, "select id from horsies.tasks")
    assert scalar(db, "select horsies.lock_free_roots(%s::uuid[])", ids) == ids


def test_reap_and_expire_skip_the_tasks_of_a_held_run(db: Session, other: Session) -> None:
    db.execute("set lock_timeout = '1ms'")
    held, _ = (start(db, node(good_until=LATE), run_id=numbered_id(number)) for number in (1, 2))
    with other.transaction():
        other.execute(LOCK_RUN, (held,))
        assert expire(db) == 1
    assert expire(db) == 1
    held, _ = (start(db, node(), run_id=numbered_id(number)) for number in (3, 4))
    worker = DrivenWorker(db)
    assert len(worker.claim(2)) == 2
    with other.transaction():
        other.execute(LOCK_RUN, (held,))
        assert reap(db, worker.id).crashed == 1
    assert reap(db).crashed == 1
