"""`take`: gives a worker the tasks that still wait, in the given order."""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import ClaimMode
from tests.support.factories import DrivenWorker, numbered_id, request, send
from tests.support.flow import declare_queue, rate
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, row

TAKE = "select id, capped from horsies.{}(%s, 1, %s::uuid[], %s, horsies.now(), %s::float8, %s::text[], %s::int[])"

RATE = rate(1000, 1, burst=100)


def take(
    db: Session, ids: list[UUID], most: int = 10, *, lease_s: float | None = None, function: str = "take", **caps: int
) -> list[Any]:
    worker = DrivenWorker(db)
    queues, rooms = (list(caps), list(caps.values())) if caps else (None, None)
    return db.execute(TAKE.format(function), (worker.id, ids, most, lease_s, queues, rooms)).fetchall()


def test_they_come_in_the_given_order_and_run(db: Session) -> None:
    ids = [send(db, request(numbered_id(number))) for number in (3, 1, 2)]
    assert take(db, ids, 2) == [(ids[0], False), (ids[1], False)]
    assert [row(db, "tasks", task_id)["status"] for task_id in ids] == ["RUNNING", "RUNNING", "PENDING"]
    assert row(db, "tasks", ids[0])["attempt"] == 1


def test_with_a_lease_they_wait_in_their_worker(db: Session) -> None:
    task_id = send(db)
    assert take(db, [task_id], lease_s=60) == [(task_id, False)]
    assert (row(db, "tasks", task_id)["status"], row(db, "tasks", task_id)["attempt"]) == ("CLAIMED", 0)


def test_tasks_that_are_locked_or_no_longer_due_are_skipped(db: Session, other: Session) -> None:
    locked, later, free = (send(db, request(numbered_id(number))) for number in range(3))
    db.execute("update horsies.tasks set run_at = horsies.now() + interval '1 hour' where id = %s", (later,))
    with other.transaction():
        other.execute("select from horsies.tasks where id = %s for update", (locked,))
        assert take(db, [locked, later, free]) == [(free, False)]
    assert take(db, [free]) == []


def test_a_task_whose_deadline_has_passed_since_it_was_read_is_skipped(db: Session) -> None:
    freeze_clock(db)
    late, early = (send(db, request(numbered_id(n), good_until=NOON + timedelta(seconds=n))) for n in (5, 10))
    move_clock(db, 5)
    assert take(db, [late, early]) == [(early, False)]


def test_they_say_whether_their_queue_has_a_limit(db: Session) -> None:
    ids = [send(db, request(numbered_id(number), queue=queue)) for number, queue in enumerate("ab")]
    assert take(db, ids, a=5) == [(ids[0], True), (ids[1], False)]


@pytest.mark.parametrize("mode", list(ClaimMode))
@pytest.mark.parametrize("keys", ["none", "turns", "limited"])
@pytest.mark.parametrize("lease_s", [None, 60.0])
def test_every_claim_says_how_long_each_task_was_due(
    db: Session, mode: ClaimMode, keys: str, lease_s: float | None
) -> None:
    if keys != "none" and lease_s is not None:
        pytest.skip("tasks of regulated queues are never prefetched")
    if keys != "none":
        declare_queue(db, takes_turns=keys == "turns", rate=RATE if keys == "limited" else None)
    freeze_clock(db)
    send(db, request(numbered_id(1), task_key="a", delay=30))
    send(db, request(numbered_id(2), task_key="b"))
    move_clock(db, 40.5)
    worker = DrivenWorker(db)
    asked = worker_queries.claim(
        worker.id, 1, 5, worker.queues, worker.names, free=5, lease_s=lease_s, mode=mode, cursors=None
    )
    claim = call(db, asked)
    waited = {task.id: time.monotonic() - task.due_at for task in claim.tasks}
    assert waited == {numbered_id(1): pytest.approx(10.5, abs=1), numbered_id(2): pytest.approx(40.5, abs=1)}
    assert claim.due_in is None
