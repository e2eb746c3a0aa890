"""`claim`: selects the tasks of a worker, in order of priority."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from horsies.config.rates import RateLimit
from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, done, numbered_id, request, send, send_many
from tests.support.sessions import (
    NOON,
    InBackground,
    NewSession,
    Session,
    call,
    column,
    freeze_clock,
    move_clock,
    row,
    scalar,
    wait_until_blocked,
)

PARALLEL = 8
MANY = 2000


def send_numbered(db: Session, number: int, queue: str = "default", *, priority: int = 100, delay: float = 0) -> UUID:
    return send(db, request(numbered_id(number), queue=queue, priority=priority, delay=delay))


def claimed_ids(worker: DrivenWorker, wanted: int = 1) -> list[UUID]:
    return [task.id for task in worker.ask(wanted).tasks]


def numbers(ids: Sequence[UUID]) -> list[int]:
    return [task_id.int & 0xFFFF for task_id in ids]


def test_a_claimed_task_runs_under_the_fence_of_its_claim(db: Session) -> None:
    freeze_clock(db)
    task_id = send(db, request(args=b'{"a":1}', timeout_ms=500))
    move_clock(db, 5)
    worker = DrivenWorker(db)
    (given,) = worker.ask().tasks
    assert given[:9] == (task_id, "add", b'{"a":1}', 1, 500, "default", False, None, None)
    task = row(db, "tasks", task_id)
    assert (task["status"], task["worker_id"], task["exchange_no"]) == ("RUNNING", worker.id, worker.exchange_no)
    assert task["claimed_at"] == task["started_at"] == NOON + timedelta(seconds=5)
    assert (task["attempt"], task["run_at"]) == (1, NOON)


def test_priority_comes_before_due_time_and_due_time_before_id(db: Session) -> None:
    freeze_clock(db)
    send_numbered(db, 1, priority=2)
    send_numbered(db, 2, priority=1, delay=2)
    send_numbered(db, 5, priority=1, delay=1)
    send_numbered(db, 4, priority=1, delay=1)
    send_numbered(db, 3, priority=100)
    move_clock(db, 10)
    worker = DrivenWorker(db)
    assert numbers([claimed_ids(worker)[0] for _ in range(5)]) == [4, 5, 2, 1, 3]


def test_tasks_of_one_claim_come_in_the_order_in_which_they_are_due(db: Session) -> None:
    freeze_clock(db)
    for number, delay in ((1, 5), (2, 1), (3, 4), (4, 2), (5, 3)):
        send_numbered(db, number, delay=delay)
    send_numbered(db, 6, priority=1)
    move_clock(db, 10)
    assert numbers(claimed_ids(DrivenWorker(db), 10)) == [6, 2, 4, 5, 3, 1]


def test_the_order_holds_across_queues_of_one_priority(db: Session) -> None:
    freeze_clock(db)
    for number, (queue, delay) in enumerate([("b", 1), ("a", 2), ("b", 3), ("c", 4), ("a", 5), ("b", 6)]):
        send_numbered(db, number, queue, priority=1, delay=delay)
    move_clock(db, 10)
    worker = DrivenWorker(db, queues=["a", "b", "c"])
    assert numbers(claimed_ids(worker, 4)) == [0, 1, 2, 3]
    assert numbers(claimed_ids(worker, 4)) == [4, 5]


def test_the_more_urgent_queue_is_emptied_first(db: Session) -> None:
    for number in range(3):
        send_numbered(db, number, "slow", priority=2)
        send_numbered(db, number + 10, "fast", priority=1)
    worker = DrivenWorker(db, queues=["slow", "fast"])
    assert numbers(claimed_ids(worker, 4)) == [10, 11, 12, 0]


def test_one_queue_may_hold_several_priorities(db: Session) -> None:
    for number, priority in enumerate([3, 1, 2, 1]):
        send_numbered(db, number, priority=priority)
    assert numbers(claimed_ids(DrivenWorker(db, queues=["default", "empty"]), 3)) == [1, 3, 2]


def test_only_the_worker_s_own_queues_are_served(db: Session) -> None:
    send_numbered(db, 1, "a")
    assert claimed_ids(DrivenWorker(db, queues=["b"])) == []
    assert claimed_ids(DrivenWorker(db, queues=[])) == []
    assert numbers(claimed_ids(DrivenWorker(db, queues=["b", "a"]))) == [1]


def test_a_queue_that_is_named_twice_is_served_once(db: Session) -> None:
    for number in range(5):
        send_numbered(db, number)
    assert numbers(claimed_ids(DrivenWorker(db, queues=["default", "default"]), 3)) == [0, 1, 2]


@pytest.mark.parametrize("queues", [["default"], ["default", "empty"]])
def test_tasks_whose_name_the_worker_does_not_know_are_left_to_others(db: Session, queues: list[str]) -> None:
    send(db, request(numbered_id(1), name="unknown"))
    send(db, request(numbered_id(2), name="mul"))
    assert numbers(claimed_ids(DrivenWorker(db, queues=queues, names=["add", "mul"]), 5)) == [2]


@pytest.mark.parametrize("queues", [["default"], ["default", "empty"]])
def test_held_scheduled_and_overdue_tasks_are_not_taken(db: Session, queues: list[str]) -> None:
    freeze_clock(db)
    held = send_numbered(db, 1)
    db.execute("update horsies.tasks set held = true where id = %s", (held,))
    send_numbered(db, 2, delay=0.001)
    send(db, request(numbered_id(3), good_until=NOON))
    send(db, request(numbered_id(4), good_until=NOON + timedelta(microseconds=1)))
    assert numbers(claimed_ids(DrivenWorker(db, queues=queues), 5)) == [4]


@pytest.mark.parametrize("queues", [["default"], ["default", "empty"]])
def test_tasks_that_others_are_claiming_are_skipped_and_not_waited_for(
    db: Session, other: Session, queues: list[str]
) -> None:
    for number in range(4):
        send_numbered(db, number)
    first, second = DrivenWorker(db, queues=queues), DrivenWorker(other, queues=queues)
    with db.transaction():
        assert numbers(claimed_ids(first, 2)) == [0, 1]
        assert numbers(claimed_ids(second, 5)) == [2, 3]


def test_the_oldest_that_are_free_are_taken_from_all_queues_when_others_hold_some(db: Session, other: Session) -> None:
    for number in range(6):
        send_numbered(db, number, "a" if number < 3 else "b")
    first, second = DrivenWorker(db, queues=["a"]), DrivenWorker(other, queues=["a", "b"])
    with db.transaction():
        assert numbers(claimed_ids(first, 2)) == [0, 1]
        assert numbers(claimed_ids(second, 4)) == [2, 3, 4, 5]


def test_a_claim_that_is_rolled_back_leaves_its_tasks(db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)
    with db.transaction(force_rollback=True):
        assert claimed_ids(worker) == [task_id]
    assert row(db, "tasks", task_id)["attempt"] == 0
    assert claimed_ids(worker) == [task_id]


def test_a_worker_that_was_declared_dead_gets_nothing(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    worker.stop()
    claim = worker.ask(5)
    assert (claim.tasks, claim.is_filled, claim.due_in) == ([], False, None)


def test_nothing_wanted_is_nothing_given(db: Session) -> None:
    send(db)
    assert DrivenWorker(db).ask(0).tasks == []


def test_a_filled_claim_says_that_there_may_be_more(db: Session) -> None:
    freeze_clock(db)
    send_numbered(db, 1)
    send_numbered(db, 2, delay=60)
    claim = DrivenWorker(db).ask(1)
    assert (len(claim.tasks), claim.is_filled, claim.due_in) == (1, True, None)


def test_a_claim_that_is_not_filled_says_when_the_next_task_falls_due(db: Session) -> None:
    freeze_clock(db)
    send_numbered(db, 1)
    send_numbered(db, 2, "a", priority=2, delay=90.5)
    send_numbered(db, 3, "b", priority=1, delay=120)
    send_numbered(db, 4, "not ours", delay=5)
    db.execute("update horsies.tasks set held = true where id = %s", (send_numbered(db, 5, "a", delay=1),))
    worker = DrivenWorker(db, queues=["default", "a", "b"])
    claim = worker.ask(2)
    assert (len(claim.tasks), claim.is_filled, claim.due_in) == (1, False, 90.5)
    move_clock(db, 90.5)
    claim = worker.ask(2)
    assert (len(claim.tasks), claim.due_in) == (1, 29.5)


def test_nothing_is_due_when_nothing_is_scheduled(db: Session) -> None:
    claim = DrivenWorker(db).ask(2)
    assert (claim.tasks, claim.is_filled, claim.due_in) == ([], False, None)


def test_due_work_that_may_not_be_taken_does_not_make_a_worker_spin(db: Session) -> None:
    send(db, request(name="unknown"))
    assert DrivenWorker(db).ask(2).due_in is None


def test_each_claim_of_a_retried_task_counts_an_attempt_up(db: Session) -> None:
    task_id = send(db)
    for attempt in (1, 2, 3):
        worker = DrivenWorker(db)
        (task,) = worker.ask().tasks
        assert (task.id, task.attempt) == (task_id, attempt)
        db.execute(
            "update horsies.tasks set status = 'PENDING', worker_id = null, exchange_no = null, started_at = null,"
            " claimed_at = null"
        )


def claim_until_empty(new_session: NewSession, queues: Sequence[str]) -> Callable[[], list[UUID]]:
    worker = DrivenWorker(new_session(), queues=queues)

    def claim_all() -> list[UUID]:
        taken: list[UUID] = []
        while batch := claimed_ids(worker, 7):
            taken += batch
        return taken

    return claim_all


@pytest.mark.parametrize("queues", [["default"], ["a", "b", "c"]])
def test_many_workers_at_once_take_each_task_exactly_once(
    db: Session, new_session: NewSession, in_background: InBackground, queues: list[str]
) -> None:
    for place, queue in enumerate(queues):
        first, count = place * MANY // len(queues), (place + 1) * MANY // len(queues)
        send_many(db, count - first, queue=queue, first=first)
    claimers = [claim_until_empty(new_session, queues) for _ in range(PARALLEL)]
    claiming = [in_background(claimer) for claimer in claimers]
    taken = [task_id for one in claiming for task_id in one.result()]
    assert len(taken) == MANY
    assert sorted(taken) == column(db, "select id from horsies.tasks where status = 'RUNNING' order by id")
    assert scalar(db, "select count(distinct id) from horsies.tasks where attempt = 1") == MANY


@pytest.mark.parametrize("column_and_value", ["max_concurrency, 5", "declared_rate, {rate}"])
def test_a_claim_that_waits_for_a_limit_starts_nothing_past_its_deadline(
    db: Session, new_session: NewSession, in_background: InBackground, column_and_value: str
) -> None:
    freeze_clock(db)
    name, value = column_and_value.split(", ")
    limit = RateLimit(limit=100, per_seconds=1).to_json() if value == "{rate}" else int(value)
    db.execute(f"insert into horsies.queues (name, {name}) values ('default', %s)".encode(), (limit,))
    send(db, request(good_until=NOON + timedelta(seconds=10)))
    holder, claiming = new_session(), new_session()
    worker = DrivenWorker(claiming)
    with holder.transaction():
        holder.execute("select horsies.lock_limits(array['queue default'], true)")
        claim = in_background(worker.claim)
        wait_until_blocked(db, claiming)
        move_clock(db, 10)
    assert claim.result() == []
    assert scalar(db, "select status from horsies.tasks") == "PENDING"


def test_claims_and_outcomes_go_on_while_tasks_are_sent(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    worker = DrivenWorker(new_session())
    sending = in_background(lambda: [send(db) for _ in range(300)])
    finished: list[UUID] = []
    while len(finished) < 300:
        fences = worker.claim(20)
        assert set(worker.finish(*map(done, fences))) <= {"accepted"}
        finished += [fence.task_id for fence in fences]
    assert finished == sending.result()


def test_the_call_names_no_task_twice_and_passes_lists_of_any_length(db: Session) -> None:
    send_many(db, 1000)
    worker = DrivenWorker(db, names=[f"task {number}" for number in range(500)] + ["add"])
    claim = call(db, worker_queries.claim(worker.id, 1, 5000, ["default"], worker.names, free=5000))
    assert len({task.id for task in claim.tasks}) == 1000
