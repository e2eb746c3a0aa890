"""The order in which server functions take locks, shown by holding locks: no deadlock on the same rows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import (
    DrivenWorker,
    done,
    enqueue,
    expire,
    failed,
    prefetch,
    reap,
    request,
    send,
)
from tests.support.sessions import (
    NOON,
    InBackground,
    NewSession,
    Session,
    call,
    find,
    freeze_clock,
    move_clock,
    row,
    scalar,
    wait_until_blocked,
)

AT_ONCE = RetryPolicy.fixed([0.001] * 20, jitter=False, auto_retry_for=["WORKER_CRASHED", "BOOM"])
LOCK = "select from horsies.tasks where id = %s for update"


IN_FLIGHT: dict[str, Callable[[DrivenWorker, list[Fence]], object]] = {
    "finish": lambda worker, fences: worker.finish(*map(done, fences)),
    "release": lambda worker, fences: worker.release(*fences),
    "reconcile": lambda worker, _fences: worker.reconcile(),
    "renew": lambda worker, fences: call(worker.session, worker_queries.renew(worker.id, fences, 60, 0)),
    "start": lambda worker, fences: worker.start(*fences),
    "reap": lambda worker, _fences: reap(worker.session, proven_dead=worker.id),
    "return_stale_to_queue": lambda worker, _fences: call(
        worker.session, monitoring_queries.return_stale_to_queue(-1, 100)
    ),
    "expire": lambda worker, _fences: expire(worker.session),
}
OF_PREFETCHED = {"renew", "start", "return_stale_to_queue", "expire"}


@pytest.mark.parametrize("name", IN_FLIGHT)
@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_row_that_a_stranger_holds_is_left_out_and_taken_later(
    db: Session, new_session: NewSession, name: str, held: int
) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    ids = [send(db, request(good_until=deadline if name == "expire" else None)) for _ in range(3)]
    calling = new_session()
    calling.execute("set lock_timeout = '1ms'")
    worker = DrivenWorker(calling)
    fences = worker.prefetch(3) if name in OF_PREFETCHED else worker.claim(3)
    if name == "expire":
        move_clock(db, 10)
        move_clock(calling, 0)
    before = {task_id: find(db, "tasks", task_id) for task_id in ids}
    with db.transaction():
        db.execute(LOCK.encode(), (ids[held],))
        IN_FLIGHT[name](worker, fences)
        assert [find(db, "tasks", task_id) == before[task_id] for task_id in ids] == [
            task_id == ids[held] for task_id in ids
        ]
    IN_FLIGHT[name](worker, fences)
    assert find(db, "tasks", ids[held]) != before[ids[held]]


def test_two_connections_of_a_worker_that_finish_the_same_tasks_write_one_outcome_each(
    db: Session, new_session: NewSession
) -> None:
    for _ in range(3):
        send(db)
    again = new_session()
    worker = DrivenWorker(db)
    fences = worker.claim(3)
    with db.transaction():
        assert set(worker.finish(*map(done, fences))) == {"accepted"}
        worker.session = again
        assert set(worker.finish(*map(done, fences[::-1]))) == {"busy"}
    assert set(worker.finish(*map(done, fences[::-1]))) == {"duplicate"}
    assert scalar(db, "select count(*) from horsies.history") == 3


def test_what_is_being_finished_is_not_reaped(db: Session, other: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    with db.transaction():
        worker.finish(done(fence))
        counts = reap(other, proven_dead=worker.id)
        assert (counts.workers, counts.crashed) == (1, 0)
    assert reap(other).crashed == 0
    assert row(db, "history", fence.task_id)["status"] == "COMPLETED"


@pytest.mark.parametrize("retry", [None, AT_ONCE])
def test_what_is_being_reaped_is_not_finished(db: Session, other: Session, retry: RetryPolicy | None) -> None:
    for _ in range(3):
        send(db, request(retry=retry))
    worker = DrivenWorker(other)
    fences = worker.claim(3)
    with db.transaction():
        assert reap(db, proven_dead=worker.id).crashed == 3
        assert set(worker.finish(*map(done, fences[::-1]))) == {"busy"}
    assert set(worker.finish(*map(done, fences[::-1]))) == {"stale"}
    assert scalar(db, "select count(*) from horsies.history where status = 'COMPLETED'") == 0
    assert scalar(db, "select count(*) from horsies.tasks") == (3 if retry else 0)


def test_a_task_that_is_being_reaped_is_lost_and_returned_once(db: Session, other: Session) -> None:
    send(db)
    worker = DrivenWorker(other)
    fence = worker.claim_one()
    prefetch(other, fence)
    with db.transaction():
        assert reap(db, proven_dead=worker.id).returned == 1
        assert worker.release(fence) == {fence.task_id}
    assert not worker.release(fence)
    assert worker.reconcile(fence) == {fence.task_id}
    assert row(db, "tasks", fence.task_id)["worker_deaths"] == 1


def test_what_is_expiring_is_neither_claimed_nor_waited_for(db: Session, new_session: NewSession) -> None:
    freeze_clock(db)
    other = new_session()
    send(db, request(good_until=NOON + timedelta(seconds=1)))
    worker = DrivenWorker(other)
    move_clock(db, 1)
    with db.transaction():
        assert expire(db) == 1
        move_clock(other, -1)
        assert worker.claim() == []


def test_what_is_being_claimed_does_not_expire(db: Session, new_session: NewSession) -> None:
    freeze_clock(db)
    other = new_session()
    task_id = send(db, request(good_until=NOON + timedelta(seconds=1)))
    worker = DrivenWorker(db)
    with db.transaction():
        worker.claim_one()
        move_clock(other, 1)
        assert expire(other) == 0
    assert expire(other) == 0
    assert row(db, "tasks", task_id)["status"] == "RUNNING"


def test_a_prefetched_task_that_is_expiring_is_not_released(db: Session, new_session: NewSession) -> None:
    freeze_clock(db)
    other = new_session()
    send(db, request(good_until=NOON + timedelta(seconds=1)))
    worker = DrivenWorker(other)
    fence = worker.claim_one()
    prefetch(other, fence)
    move_clock(db, 1)
    with db.transaction():
        assert expire(db) == 1
        assert worker.release(fence) == {fence.task_id}
    assert not worker.release(fence)
    assert row(db, "history", fence.task_id)["status"] == "EXPIRED"


def test_a_task_that_is_expiring_is_not_sent_again(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    freeze_clock(db)
    other = new_session()
    wanted = request(good_until=NOON)
    send(db, wanted)
    with db.transaction():
        assert expire(db) == 1
        replay = in_background(lambda: enqueue(other, wanted, replay=True))
        wait_until_blocked(db, other)
    assert replay.result() == "known"
    assert not find(db, "tasks", wanted.task_id)


def test_two_reaps_share_the_work_and_wait_for_nobody(db: Session, other: Session) -> None:
    for _ in range(5):
        send(db)
    worker = DrivenWorker(db)
    worker.claim(5)
    worker.stop()
    with db.transaction():
        assert reap(db, most=2).crashed == 2
        assert reap(other).crashed == 3


ROUNDS = 60
BATCH = 20


def work(session: Session, seed: int) -> Callable[[], None]:
    """Return a worker that does everything in random order and is declared dead sometimes."""
    random = Random(seed)  # noqa: S311 # a test that can be repeated
    session.execute("set deadlock_timeout = '10ms'")

    def run() -> None:
        worker = DrivenWorker(session)
        for _ in range(ROUNDS):
            fences = worker.claim(BATCH)
            random.shuffle(fences)
            third = len(fences) // 3
            worker.release(*fences[:third])
            worker.finish(*(random.choice([done, failed])(fence) for fence in fences[third:]))
            worker.reconcile(*fences)
            if random.random() < 0.2:
                worker.claim(BATCH)
                reap(session, proven_dead=worker.id)
                worker = DrivenWorker(session)

    return run


def test_everything_at_once_on_the_same_rows_never_deadlocks(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    for number in range(300):
        send(db, request(retry=AT_ONCE if number % 2 else None))
    working = [in_background(work(new_session(), seed)) for seed in range(4)]
    maintenance = new_session()
    while not all(one.done() for one in working):
        reap(maintenance, most=7)
        expire(maintenance)
    for one in working:
        one.result()
    assert (
        scalar(
            db,
            "select count(distinct id) from (select id from horsies.tasks union all"
            " select id from horsies.history) as every having count(*) = 300",
        )
        == 300
    )
