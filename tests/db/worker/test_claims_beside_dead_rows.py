"""Claims while an old snapshot keeps the rows of tasks that have ended: what they read, and which tasks they find."""

from collections.abc import Iterator

import pytest

from tests.support.factories import DrivenWorker, done, pause_queue, request, send, send_many
from tests.support.sessions import NewSession, Session, column, freeze_clock, move_clock, scalar

BLOCKS = "select pg_stat_get_xact_blocks_fetched('horsies.tasks'::regclass)"
MANY = 20_000


@pytest.fixture
def crowded(db: Session, new_session: NewSession) -> Iterator[DrivenWorker]:
    """Yield a worker of two queues, in one of which 20,000 tasks have ended that an old snapshot still sees."""
    freeze_clock(db)
    worker = DrivenWorker(db, queues=("default", "other"))
    old = new_session()
    with old.transaction(force_rollback=True):
        old.execute("set transaction isolation level repeatable read")
        old.execute("select count(*) from horsies.tasks")
        send_many(db, MANY)
        db.execute("delete from horsies.tasks")
        move_clock(db, 60)
        yield worker


def blocks_of_claim(worker: DrivenWorker) -> int:
    """Claim twenty tasks and end them; return the blocks of the table that the claim has read."""
    with worker.session.transaction():
        before = scalar(worker.session, BLOCKS)
        fences = worker.claim(20)
        blocks = scalar(worker.session, BLOCKS) - before
    worker.finish(*map(done, fences))
    return blocks


def keep_marks(worker: DrivenWorker) -> None:
    """Let the session keep a mark for each queue and the priority 100: these marks follow a task that was waiting."""
    send(worker.session)
    worker.claim_one()


def marks_of(worker: DrivenWorker) -> str:
    return scalar(worker.session, "select coalesce(current_setting('horsies.claim_marks', true), '')")


def test_only_the_first_claim_steps_over_all_dead_rows(crowded: DrivenWorker) -> None:
    send_many(crowded.session, 100, first=MANY)
    found = [blocks_of_claim(crowded) for _ in range(4)]
    assert found[0] > 300
    assert max(found[1:]) < 150


def test_an_idle_worker_asks_again_when_everything_may_be_looked_at(crowded: DrivenWorker) -> None:
    assert crowded.ask(20).due_in is None
    due_in = crowded.ask(20).due_in
    assert due_in is not None
    assert 0 < due_in <= 5
    move_clock(crowded.session, due_in + 0.001)
    assert crowded.ask(20).due_in is None  # it has looked at everything


def test_a_task_behind_the_marks_is_found_when_they_end(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    late = send(crowded.session, request(delay=-30))
    found = crowded.ask(20)
    assert found.tasks == []
    assert found.due_in is not None
    move_clock(crowded.session, found.due_in + 0.001)
    assert [task.id for task in crowded.ask(20).tasks] == [late]


@pytest.mark.parametrize(("queue", "priority"), [("default", 100), ("default", 1), ("default", 50), ("other", 100)])
def test_new_tasks_are_found_at_once(crowded: DrivenWorker, queue: str, priority: int) -> None:
    send(crowded.session, request(priority=60))
    assert len(crowded.claim(20)) == 1
    assert marks_of(crowded)
    for _ in range(3):
        new = send(crowded.session, request(queue=queue, priority=priority))
        assert [task.id for task in crowded.ask(20).tasks] == [new]


def test_tasks_come_in_the_same_order_with_marks(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    sent = [
        send(crowded.session, request(queue=queue, priority=priority))
        for priority in (100, 7, 50, 7)
        for queue in ("other", "default")
    ]
    expected = sorted(sent, key=lambda each: ((100, 100, 7, 7, 50, 50, 7, 7)[sent.index(each)], sent.index(each)))
    assert marks_of(crowded)
    assert [task.id for _ in sent for task in crowded.ask(1).tasks] == expected


def test_a_scheduled_task_is_due_in_time(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    scheduled = send(crowded.session, request(delay=0.01))
    found = crowded.ask(20)
    assert found.tasks == []
    assert found.due_in == pytest.approx(0.01)
    move_clock(crowded.session, 0.01)
    assert [task.id for task in crowded.ask(20).tasks] == [scheduled]


def test_a_queue_that_was_paused_is_looked_at_from_the_beginning(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    move_clock(crowded.session, 6)
    waiting = send(crowded.session, request(queue="other", delay=-30))
    pause_queue(crowded.session, "other")
    assert crowded.claim(20) == []
    assert crowded.claim(20) == []
    crowded.session.execute("delete from horsies.queues")
    assert [task.id for task in crowded.ask(20).tasks] == [waiting]


def test_a_clock_that_was_set_back_ends_the_marks(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    move_clock(crowded.session, -40)
    new = send(crowded.session)
    assert [task.id for task in crowded.ask(20).tasks] == [new]


def test_another_worker_of_the_session_with_other_queues_does_not_use_them(crowded: DrivenWorker) -> None:
    keep_marks(crowded)
    waiting = send(crowded.session, request(delay=-30))
    assert crowded.claim(20) == []
    other = DrivenWorker(crowded.session, queues=("default",))
    assert [task.id for task in other.ask(20).tasks] == [waiting]


def test_marks_end_when_the_dead_rows_are_removed(db: Session, new_session: NewSession) -> None:
    freeze_clock(db)
    worker = DrivenWorker(db)
    old = new_session()
    with old.transaction(force_rollback=True):
        old.execute("set transaction isolation level repeatable read")
        old.execute("select count(*) from horsies.tasks")
        send_many(db, MANY)
        db.execute("delete from horsies.tasks")
        assert worker.claim(20) == []
        assert marks_of(worker)
    db.execute("vacuum horsies.tasks")
    move_clock(db, 5.001)
    assert worker.claim(20) == []
    assert marks_of(worker) == ""


def test_an_undisturbed_claim_keeps_no_marks(db: Session) -> None:
    worker = DrivenWorker(db)
    send_many(db, 2_000)
    assert len(worker.claim(1_000)) == 1_000
    assert len(column(db, "select id from horsies.tasks where status = 'RUNNING'")) == 1_000
    assert marks_of(worker) == ""
