"""`claim_from_queue`: rates and limits of a regulated queue."""

import pytest

from tests.support.factories import DrivenWorker, request, send, send_many
from tests.support.flow import declare_queue, keys_of, rate, send_keys
from tests.support.sessions import Session, freeze_clock, scalar


def test_a_rate_of_a_queue_needs_no_keys(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, takes_turns=False, rate=rate(10, 3600, burst=3))
    send_keys(db, "aaaaabbbc")
    worker = DrivenWorker(db)
    claim = worker.ask(9)
    assert len(claim.tasks) == 3
    assert claim.due_in == pytest.approx(360, abs=0.1)
    assert claim.limits_active


def test_limited_queues_are_not_prefetched(db: Session) -> None:
    declare_queue(db, per_key=1)
    send_keys(db, "a")
    worker = DrivenWorker(db)
    assert worker.prefetch(9) == []
    assert worker.ask(9, free=0).tasks == []
    assert len(worker.claim(9)) == 1


def test_a_queue_limit_holds_beside_the_limits_of_keys(db: Session) -> None:
    declare_queue(db, per_key=2)
    send_keys(db, "aaabbb")
    worker = DrivenWorker(db, caps={"default": 3})
    assert keys_of(db, worker.claim(9)) == "aba"
    assert worker.claim(9) == []
    db.execute("select horsies.queue_control('default', 'pause', null)")
    assert worker.claim(9) == []


@pytest.mark.parametrize("known", [0, 3, 30])
def test_tasks_of_unknown_names_are_not_all_read(db: Session, known: int) -> None:
    """The claim holds the lock of the queue meanwhile."""
    declare_queue(db, takes_turns=False, rate=rate(1000, 1, burst=100))
    send_many(db, 5_000)
    db.execute("update horsies.tasks set task_name = 'unknown'")
    sent = [send(db, request()) for _ in range(known)]
    db.execute("vacuum analyze horsies.tasks")
    worker = DrivenWorker(db)
    blocks = "select pg_stat_get_xact_tuples_fetched('horsies.tasks'::regclass)"
    with db.transaction():
        before = scalar(db, blocks)
        fences = worker.claim(20)
        read = scalar(db, blocks) - before
    assert [fence.task_id for fence in fences] == sent[:20]
    assert read < 500
