"""Claims while an old snapshot keeps the rows of tasks that have ended: what they read, and which tasks they find."""

import random
from collections.abc import Iterator
from uuid import UUID

import pytest

from horsies.db.queries.worker import Fence
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


def test_claims_of_an_empty_queue_step_over_all_dead_rows_once(crowded: DrivenWorker) -> None:
    found = [blocks_of_claim(crowded) for _ in range(4)]
    assert found[0] > 300
    assert max(found[1:]) < 50, found


def test_priorities_that_the_first_claim_did_not_reach_have_no_marks(crowded: DrivenWorker) -> None:
    send_many(crowded.session, MANY, first=MANY)
    crowded.session.execute("update horsies.tasks set priority = 10")
    crowded.session.execute("delete from horsies.tasks")
    move_clock(crowded.session, 60)
    late = send(crowded.session, request(priority=50, delay=-30))
    first = send(crowded.session, request(priority=10))
    assert [task.id for _ in range(2) for task in crowded.ask(1).tasks] == [first, late]
    assert marks_of(crowded)


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


def let_marks_last(worker: DrivenWorker) -> bool:
    """Let the marks of the session last as long as they ever do, 5 s; return whether the next claim will use them."""
    if not marks_of(worker):
        return False
    longest = "jsonb_set(kept, '{until}', to_jsonb((kept ->> 'from')::timestamptz + interval '5 s'))"
    [(is_used,)] = worker.session.execute(
        f"select horsies.now() <= (set_config('horsies.claim_marks', {longest}::text, false)::jsonb"
        " ->> 'until')::timestamptz from (values (current_setting('horsies.claim_marks')::jsonb)) as v (kept)"
    ).fetchall()
    return bool(is_used)


@pytest.mark.parametrize("seed", range(3))
def test_no_task_waits_longer_than_the_marks_last(crowded: DrivenWorker, seed: int) -> None:
    """Whatever happens to tasks and queues: a claim finds them in time, or says when to ask again."""
    db, chance = crowded.session, random.Random(seed)  # noqa: S311 - reproducible
    waiting = dict[UUID, tuple[str, float]]()  # for each task its queue, and since when it can be claimed
    clock, is_paused, used = 0.0, False, 0
    for _ in range(150):
        for _ in range(chance.choice([0, 0, 1, 4])):
            queue, delay = chance.choice(["default", "other"]), chance.choice([-30, -2, -0.5, 0, 0, 0.7, 4])
            task_id = send(db, request(queue=queue, priority=chance.choice([1, 50, 100]), delay=delay))
            waiting[task_id] = queue, clock + max(delay, 0)
        if chance.random() < 0.1 and not is_paused:
            pause_queue(db, "other")
            is_paused = True
        elif chance.random() < 0.2 and is_paused:
            db.execute("delete from horsies.queues")
            is_paused = False
            waiting = {each: (queue, max(since, clock)) for each, (queue, since) in waiting.items()}
        used += let_marks_last(crowded)
        claim = crowded.ask(chance.choice([1, 3, 50]))
        taken = {Fence(each.id, crowded.exchange_no): waiting.pop(each.id)[0] for each in claim.tasks}
        times = [since for queue, since in waiting.values() if not (is_paused and queue == "other")]
        if times and not claim.is_filled:
            assert min(times) > clock - 5.01, "a full look at the latest after 5 s finds it"
            assert claim.due_in is not None
            assert claim.due_in <= (5 if min(times) <= clock else min(times) - clock) + 0.01
        for fence, queue in taken.items():
            if chance.random() < 0.2:
                crowded.release(fence)
                waiting[fence.task_id] = queue, clock
            else:
                crowded.finish(done(fence))
        step = chance.choice([0.01, 0.3, 1.5])
        clock += step
        move_clock(db, step)
    assert used > 50
