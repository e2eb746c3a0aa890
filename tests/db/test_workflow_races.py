"""Runs that several sessions change concurrently, with held locks and in random order."""

from collections.abc import Callable
from random import Random
from uuid import UUID

import pytest

from horsies.db.queries import workflows as workflow_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker, done, expire, failed, reap
from tests.support.runs import attach, control, fences, node, request, start, state, statuses
from tests.support.sessions import InBackground, NewSession, Session, call, scalar, wait_until_blocked

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}
NAMES = ["add", "horsies.build:child"]


def test_two_batches_that_finish_the_last_dependencies_of_a_join_start_it_once(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    run = start(db, node(), node(), node(0, 1))
    other, observing = new_session(), new_session()
    first, second = DrivenWorker(db), DrivenWorker(other)
    ours, theirs = first.claim_one(), second.claim_one()
    with db.transaction():
        first.finish(done(ours))
        late = in_background(lambda: second.finish(done(theirs)))
        wait_until_blocked(observing, other)
    assert late.result() == ["accepted"]
    assert statuses(db, run) == ["COMPLETED", "COMPLETED", "ENQUEUED"]
    assert scalar(db, "select count(*) from horsies.tasks") == 1


def test_a_finish_that_waits_for_a_cancel_is_stale(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    run = start(db, node(), node(0))
    other, observing = new_session(), new_session()
    worker = DrivenWorker(other)
    fence = worker.claim_one()
    with db.transaction():
        control(db, run, "cancel")
        late = in_background(lambda: worker.finish(done(fence)))
        wait_until_blocked(observing, other)
    assert late.result() == ["stale"]
    assert (statuses(db, run), state(db, run).status) == (["FAILED", "SKIPPED"], "CANCELLED")


MOVES: dict[str, Callable[[Session, UUID, UUID], object]] = {
    "pause parent": lambda session, run, _child: control(session, run, "pause"),
    "pause child": lambda session, _run, child: control(session, child, "pause"),
    "cancel parent": lambda session, run, _child: control(session, run, "cancel"),
    "cancel child": lambda session, _run, child: control(session, child, "cancel"),
}


@pytest.mark.parametrize("first", MOVES)
@pytest.mark.parametrize("second", [*MOVES, "finish"])
def test_parent_and_child_are_moved_in_any_order_without_a_deadlock(
    db: Session, new_session: NewSession, in_background: InBackground, first: str, second: str
) -> None:
    run = start(db, node(**BUILD), node(), node(0))
    child = attach(db, DrivenWorker(db, names=NAMES[1:]), node(), node(), node(0))
    other, observing = new_session(), new_session()
    worker = DrivenWorker(other)
    claims = fences(db, worker, child)

    def move() -> None:
        if second == "finish":
            worker.finish(*map(done, claims.values()))
        else:
            MOVES[second](other, run, child)

    with db.transaction():
        MOVES[first](db, run, child)
        moving = in_background(move)
        wait_until_blocked(observing, other)
    moving.result()
    is_cancelled = {name for name in (first, second) if name.startswith("cancel")}
    assert (state(db, child).status == "CANCELLED") == bool(is_cancelled)
    assert (state(db, run).status == "CANCELLED") == ("cancel parent" in is_cancelled)
    if "cancel parent" in is_cancelled:
        assert scalar(db, "select count(*) from horsies.tasks") == 0


def work(session: Session, seed: int, runs: list[UUID]) -> Callable[[], None]:
    """Return a worker that does everything in random order, including pausing, resuming and cancelling runs."""
    random = Random(seed)  # noqa: S311 # a test that can be repeated
    session.execute("set deadlock_timeout = '10ms'")

    def build(task_id: UUID, attempt: int) -> None:
        wanted = request([node(), node(0), node()], definition_key="child")
        if call(session, workflow_queries.workflow_attach(task_id, attempt, wanted)) == "attached":
            runs.append(wanted.run_id)

    def run() -> None:
        worker = DrivenWorker(session, names=NAMES)
        for _ in range(40):
            tasks = worker.ask(10).tasks
            for task in tasks:
                if task.task_name != "add":
                    build(task.id, task.attempt)
            batch = [Fence(task.id, worker.exchange_no) for task in tasks]
            random.shuffle(batch)
            third = len(batch) // 3
            worker.release(*batch[:third])
            worker.finish(*(random.choice([done, done, failed])(fence) for fence in batch[third:]))
            control(session, random.choice(runs), random.choice(["pause", "resume", "resume", "cancel"]))
            if random.random() < 0.1:
                reap(session, proven_dead=worker.id)
                worker = DrivenWorker(session, names=NAMES)

    return run


def test_everything_at_once_on_the_same_runs_never_deadlocks(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    runs = [start(db, node(), node(**BUILD), node(0), node(1, 2), on_error="pause") for _ in range(30)]
    working = [in_background(work(new_session(), seed, runs)) for seed in range(3)]
    while not all(one.done() for one in working):
        expire(db)
    for one in working:
        one.result()
    for run in runs:
        control(db, run, "cancel")
    assert scalar(db, "select count(*) from horsies.tasks where workflow_id is not null") == 0
    assert scalar(db, "select count(*) from horsies.workflows where finished_at is null") == 0
    wrong = "select count(*) from horsies.workflows where completed + failed + skipped <> total"
    assert scalar(db, wrong) == 0
