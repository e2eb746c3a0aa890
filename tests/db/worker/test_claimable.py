"""`claimable`: the queues from which a worker may claim, and the room below their caps."""

from collections.abc import Mapping, Sequence

import pytest

from tests.support.factories import DrivenWorker, cap_queue, done, pause_queue, request, send
from tests.support.sessions import Session

type Rooms = dict[str, tuple[int | None, int | None]]


def claimable(db: Session, worker: DrivenWorker, names: Sequence[str], free: int = 1) -> Rooms:
    rows = db.execute("select * from horsies.claimable(%s, %s::text[], %s)", (worker.id, list(names), free))
    return {name: (room, cluster_room) for name, room, cluster_room, _limit in rows}


def worker_with_tasks(db: Session, **counts: int) -> DrivenWorker:
    """Create a worker that has claimed these numbers of tasks from the queues."""
    worker = DrivenWorker(db, queues=list(counts))
    for queue, count in counts.items():
        for _ in range(count):
            send(db, request(queue=queue))
    assert len(worker.claim(sum(counts.values()))) == sum(counts.values())
    return worker


def test_a_queue_without_a_cap_is_open(db: Session) -> None:
    worker = DrivenWorker(db, queues=["a", "b"])
    assert claimable(db, worker, ["a", "b"]) == {"a": (None, None), "b": (None, None)}
    assert claimable(db, worker, ["a", "a"], free=0) == {"a": (None, None)}
    assert claimable(db, worker, []) == {}


@pytest.mark.parametrize(
    ("caps", "rooms"),
    [
        ({"a": 5, "b": None}, {"a": (3, None), "b": (None, None)}),
        ({"a": 2, "b": 1}, {"b": (1, None)}),
        ({"a": 1, "b": 0}, {}),
    ],
)
def test_a_cap_counts_the_tasks_of_all_workers(db: Session, caps: Mapping[str, int | None], rooms: Rooms) -> None:
    worker_with_tasks(db, a=1, c=4)
    prefetching = DrivenWorker(db, queues=["a"])
    send(db, request(queue="a"))
    assert prefetching.prefetch()
    assert claimable(db, DrivenWorker(db, caps=caps), list(caps)) == rooms


def test_an_outcome_makes_room_and_a_dead_worker_does_not(db: Session) -> None:
    holder = worker_with_tasks(db, a=1)
    capped = DrivenWorker(db, caps={"a": 1})
    send(db, request(queue="a"))
    assert claimable(db, capped, ["a"]) == {}
    holder.stop()
    assert claimable(db, capped, ["a"]) == {}  # its tasks may still be running
    db.execute("delete from horsies.tasks where status = 'RUNNING'")
    assert claimable(db, capped, ["a"]) == {"a": (1, None)}
    assert capped.finish(done(capped.claim_one())) == ["accepted"]
    assert claimable(db, capped, ["a"]) == {"a": (1, None)}


def test_a_capped_queue_is_only_for_who_can_begin_at_once(db: Session) -> None:
    worker = DrivenWorker(db, caps={"a": 3, "b": None})
    assert claimable(db, worker, ["a", "b"], free=0) == {"b": (None, None)}


def test_the_cluster_s_cap_bounds_every_queue(db: Session) -> None:
    worker_with_tasks(db, a=1, elsewhere=2)
    worker = DrivenWorker(db, caps={"a": 2, "b": None}, cluster_cap=5)
    assert claimable(db, worker, ["a", "b"]) == {"a": (1, 2), "b": (2, 2)}
    full = DrivenWorker(db, caps={"a": 2, "b": None}, cluster_cap=3)
    assert claimable(db, full, ["a", "b"]) == {}


def test_what_is_said_at_run_time_counts_before_what_is_declared(db: Session) -> None:
    worker = DrivenWorker(db, caps={"a": 1, "b": None})
    cap_queue(db, "a", 7)
    cap_queue(db, "b", 2)
    assert claimable(db, worker, ["a", "b"]) == {"a": (7, None), "b": (2, None)}
    cap_queue(db, "b", 0)
    assert claimable(db, worker, ["a", "b"]) == {"a": (7, None)}
    cap_queue(db, "a", None)
    cap_queue(db, "b", None)
    assert claimable(db, worker, ["a", "b"]) == {"a": (1, None), "b": (None, None)}


def test_a_paused_queue_is_closed(db: Session) -> None:
    worker = DrivenWorker(db, caps={"a": 1, "b": None})
    pause_queue(db, "a")
    pause_queue(db, "b")
    assert claimable(db, worker, ["a", "b", "c"]) == {"c": (None, None)}
