"""Claims obey remote limits: nothing of a held key or queue starts until the end of the hold, and others continue."""

import pytest

from horsies.db.queries.worker import Fence
from horsies.postponement import PostponeScope
from tests.support.factories import DrivenWorker, postponed, request, send
from tests.support.sessions import Session, freeze_clock, move_clock

KEY, QUEUE = PostponeScope.KEY, PostponeScope.QUEUE


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    """A worker of the keyed queue ``default`` and of the queue ``plain``, whose keys ``a`` and ``b`` have 50 tasks."""
    freeze_clock(db)
    db.execute("insert into horsies.queues (name, turns) values ('default', 'on')")
    worker = DrivenWorker(db, queues=["default", "plain"])
    for _ in range(50):
        for key in ("a", "b"):
            send(db, request(task_key=key))
    return worker


def keys(db: Session, *fences: Fence) -> set[str]:
    ids = [fence.task_id for fence in fences]
    return {key for (key,) in db.execute("select task_key from horsies.tasks where id = any (%s)", (ids,))}


def test_a_held_key_starts_nothing_in_any_worker_until_then_and_other_keys_go_on(
    db: Session, worker: DrivenWorker, other: Session
) -> None:
    running = worker.claim(20)
    limited = next(fence for fence in running if keys(db, fence) == {"a"})
    assert worker.finish(postponed(limited, 2, KEY)) == ["accepted"]
    elsewhere = DrivenWorker(other, queues=["default"])
    for each in (worker, elsewhere):
        found = each.claim(10)
        assert len(found) == 10
        assert keys(db, *found) == {"b"}
    while found := worker.claim(20):
        assert keys(db, *found) == {"b"}
    reply = worker.ask(5)
    assert reply.tasks == []
    assert reply.due_in is not None
    assert 1.9 <= reply.due_in <= 2.5
    move_clock(db, 1.9)
    assert elsewhere.claim(5) == []
    move_clock(db, 0.2)
    assert keys(db, *elsewhere.claim(5)) == {"a"}


@pytest.mark.parametrize("queue", ["default", "plain"])
def test_a_held_queue_starts_nothing_and_other_queues_go_on(
    db: Session, worker: DrivenWorker, other: Session, queue: str
) -> None:
    for _ in range(5):
        send(db, request(queue="plain"))
    fences = worker.claim(105)
    by_queue = dict(db.execute("select queue, min(id::text) from horsies.tasks where worker_id is not null group by 1"))
    limited = next(fence for fence in fences if str(fence.task_id) == by_queue[queue])
    worker.release(*(fence for fence in fences if fence is not limited))
    assert worker.finish(postponed(limited, 2, QUEUE)) == ["accepted"]
    elsewhere = DrivenWorker(other, queues=[queue])
    assert elsewhere.claim(5) == []
    move_clock(db, 1.9)
    assert elsewhere.claim(5) == []
    move_clock(db, 0.2)
    assert elsewhere.claim(5)
