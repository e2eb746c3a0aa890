"""Caps and pauses in `claim`: concurrent claims never exceed a cap, and the order of tasks is kept."""

from collections.abc import Callable
from uuid import UUID

import pytest

from horsies.db.queries.worker import Fence
from tests.support.factories import (
    DrivenWorker,
    cap_queue,
    done,
    expire,
    numbered_id,
    pause_queue,
    request,
    send,
    send_many,
)
from tests.support.sessions import (
    InBackground,
    NewSession,
    Session,
    freeze_clock,
    is_blocked,
    move_clock,
    scalar,
    wait_until_blocked,
)


def numbers(fences: list[Fence]) -> list[int]:
    return [fence.task_id.int & 0xFFFF for fence in fences]


def send_turns(db: Session, queues: str, *, priority: int = 1) -> None:
    """Send tasks that fell due in this order, one to the queue of each letter."""
    for number, queue in enumerate(queues):
        send(db, request(numbered_id(number), queue=queue, priority=priority, delay=number - len(queues)))


def test_no_more_is_taken_than_the_cap_allows_and_the_rest_when_there_is_room(db: Session) -> None:
    send_turns(db, "aaaaa")
    worker = DrivenWorker(db, caps={"a": 2})
    first = worker.claim(5)
    assert numbers(first) == [0, 1]
    assert worker.claim(5) == []
    worker.finish(done(first[0]))
    assert numbers(worker.claim(5)) == [2]


def test_the_order_holds_across_capped_queues_and_others(db: Session) -> None:
    send_turns(db, "abcabcabc")
    worker = DrivenWorker(db, caps={"a": 1, "b": None, "c": 2})
    assert numbers(worker.claim(4)) == [0, 1, 2, 4]
    assert numbers(worker.claim(9)) == [5, 7]


def test_a_full_queue_does_not_hold_up_a_later_priority(db: Session) -> None:
    send_turns(db, "aa", priority=1)
    for number in (7, 8):
        send(db, request(numbered_id(number), queue="b", priority=2))
    worker = DrivenWorker(db, caps={"a": 1, "b": 5})
    assert numbers(worker.claim(3)) == [0, 7, 8]


def test_of_capped_queues_only_what_can_begin_at_once_is_taken(db: Session) -> None:
    send_turns(db, "abababab")
    worker = DrivenWorker(db, caps={"a": 5, "b": None})
    claim = worker.ask(10, free=3)
    assert [task.id.int & 0xFFFF for task in claim.tasks] == [0, 1, 2, 3, 5, 7]
    assert [task.queue_limited for task in claim.tasks] == [True, False, True, False, False, False]
    assert (claim.is_filled, claim.limits_active) == (False, True)


def test_capped_and_paused_queues_are_not_prefetched(db: Session) -> None:
    send_turns(db, "abc")
    worker = DrivenWorker(db, caps={"a": 5, "b": None, "c": None})
    pause_queue(db, "c")
    assert numbers(worker.prefetch(5)) == [1]


def test_a_cap_of_nothing_claims_nothing(db: Session) -> None:
    send_turns(db, "ab")
    assert numbers(DrivenWorker(db, caps={"a": 0, "b": None}).claim(5)) == [1]


def test_the_cluster_s_cap_holds_over_all_queues(db: Session) -> None:
    send_turns(db, "abcabc")
    worker = DrivenWorker(db, queues="abc", cluster_cap=4)
    first = worker.claim(9)
    assert numbers(first) == [0, 1, 2, 3]
    assert DrivenWorker(db, queues="abc", cluster_cap=4).claim(9) == []
    worker.finish(done(first[1]))
    assert numbers(DrivenWorker(db, queues="abc", cluster_cap=4).claim(9)) == [4]


def test_both_caps_hold_together(db: Session) -> None:
    send_turns(db, "aaabbb")
    worker = DrivenWorker(db, caps={"a": 1, "b": None}, cluster_cap=3)
    assert numbers(worker.claim(9)) == [0, 3, 4]


def test_a_paused_queue_gives_nothing_until_it_is_resumed(db: Session) -> None:
    send_turns(db, "ab")
    pause_queue(db, "a")
    worker = DrivenWorker(db, queues="ab")
    assert numbers(worker.claim(5)) == [1]
    assert worker.ask(5).limits_active
    cap_queue(db, "a", None)
    assert numbers(worker.claim(5)) == [0]


def test_what_falls_due_in_a_queue_that_is_closed_wakes_nobody(db: Session) -> None:
    freeze_clock(db)
    send(db, request(queue="a", delay=10))
    send(db, request(queue="b", delay=20))
    worker = DrivenWorker(db, caps={"a": 0, "b": 1})
    assert worker.ask(5).due_in == 20
    pause_queue(db, "b")
    assert worker.ask(5).due_in is None


def test_names_that_the_worker_does_not_know_take_no_room(db: Session) -> None:
    for number in range(3):
        send(db, request(numbered_id(number), name="unknown", queue="a", delay=-10))
    send(db, request(numbered_id(7), queue="a"))
    assert numbers(DrivenWorker(db, caps={"a": 1}).claim(5)) == [7]


def test_what_is_overdue_takes_no_room(db: Session) -> None:
    freeze_clock(db)
    move_clock(db, 0)
    send(db, request(queue="a", delay=-10, good_until=scalar(db, "select horsies.now()")))
    send(db, request(numbered_id(7), queue="a"))
    assert numbers(DrivenWorker(db, caps={"a": 1}).claim(5)) == [7]
    assert expire(db) == 1


CAPPED: list[Callable[[Session], DrivenWorker]] = [
    lambda session: DrivenWorker(session, caps={"a": 3}),
    lambda session: DrivenWorker(session, queues="a", cluster_cap=3),
]


@pytest.mark.parametrize("capped", CAPPED, ids=["queue", "cluster"])
def test_a_claim_waits_for_the_one_before_and_then_counts_it(
    db: Session, new_session: NewSession, in_background: InBackground, capped: Callable[[Session], DrivenWorker]
) -> None:
    send_turns(db, "aaaaa")
    other, observer = new_session(), new_session()
    first, second = capped(db), capped(other)
    with db.transaction():
        assert numbers(first.claim(2)) == [0, 1]
        claiming = in_background(lambda: second.claim(5))
        wait_until_blocked(observer, other)
    assert numbers(claiming.result()) == [2]


def test_who_has_no_cap_or_finds_it_full_waits_for_nobody(db: Session, other: Session) -> None:
    send_turns(db, "aaab")
    capped, full = DrivenWorker(db, caps={"a": 1, "b": None}), DrivenWorker(other, caps={"a": 0})
    uncapped = DrivenWorker(other, queues="b")
    with db.transaction():
        assert numbers(capped.claim(1)) == [0]
        assert full.claim(1) == []
        assert numbers(uncapped.claim(1)) == [3]
    assert not is_blocked(db, other)


def test_queues_are_locked_in_one_order_and_the_cluster_first(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    names = [f"queue {number}" for number in range(6)]
    working, observer = [new_session(), new_session()], new_session()
    workers = [
        DrivenWorker(session, caps=dict.fromkeys(order, 5))
        for session, order in zip(working, (names, names[::-1]), strict=True)
    ]
    for queue in names:
        send_many(db, 40, queue=queue, first=1000 * int(queue[-1]))

    def drain(worker: DrivenWorker) -> Callable[[], int]:
        def run() -> int:
            count = 0
            worker.session.execute("set deadlock_timeout = '10ms'")
            while scalar(worker.session, "select count(*) from horsies.tasks"):
                fences = worker.claim(3)
                count += worker.finish(*map(done, fences)).count("accepted")
            return count

        return run

    assert sum(one.result() for one in [in_background(drain(worker)) for worker in workers]) == 240
    assert scalar(observer, "select count(*) from horsies.history") == 240


CAP = 5


@pytest.mark.parametrize("kind", ["queue", "cluster"])
def test_many_concurrent_workers_never_exceed_a_cap(
    db: Session, new_session: NewSession, in_background: InBackground, kind: str
) -> None:
    queues = ["a"] if kind == "queue" else ["a", "b", "c"]
    for place, queue in enumerate(queues):
        send_many(db, 300 // len(queues), queue=queue, first=1000 * place)
    caps = {"a": CAP} if kind == "queue" else dict.fromkeys(queues)
    most: list[int] = []

    def work(worker: DrivenWorker) -> Callable[[], list[UUID]]:
        def run() -> list[UUID]:
            ended: list[UUID] = []
            while scalar(worker.session, "select count(*) from horsies.tasks"):
                fences = worker.claim(3)
                most.append(scalar(worker.session, "select count(*) from horsies.tasks where status <> 'PENDING'"))
                worker.finish(*map(done, fences))
                ended += [fence.task_id for fence in fences]
            return ended

        return run

    workers = [DrivenWorker(new_session(), caps=caps, cluster_cap=CAP if kind == "cluster" else None) for _ in range(6)]
    working = [in_background(work(worker)) for worker in workers]
    ended = [task_id for one in working for task_id in one.result()]
    assert len(set(ended)) == len(ended) == 300
    assert max(most) == CAP
