"""A thousand answers that postpone tasks leave nothing behind: no holds, no records of attempts, no longer rows."""

from collections.abc import Sequence

from horsies.db.queries.worker import Fence
from horsies.postponement import PostponeScope
from tests.support.factories import DrivenWorker, done, postponed
from tests.support.flow import declare_queue, rate, send_keys
from tests.support.sessions import Session, column, freeze_clock, move_clock, scalar

ANSWERS, TOGETHER, KEYS = 1000, 20, 150
HELD_S = 2
SCOPES = (PostponeScope.KEY, PostponeScope.KEY, PostponeScope.QUEUE, PostponeScope.TASK)


def claim_all(worker: DrivenWorker) -> list[Fence]:
    """Claim until nothing can start."""
    found: list[Fence] = []
    while fences := worker.claim(TOGETHER):
        found += fences
    return found


def answer(worker: DrivenWorker, fences: Sequence[Fence], first: int) -> int:
    """Postpone tasks, with scopes in turn; return how many answers that were."""
    outcomes = [postponed(fence, HELD_S, SCOPES[(first + number) % len(SCOPES)]) for number, fence in enumerate(fences)]
    assert worker.finish(*outcomes) == ["accepted"] * len(fences)
    return len(fences)


def test_a_thousand_answers_leave_nothing_behind(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, per_key=2, rate_per_key=rate(1000, 1, 100))
    ids = send_keys(db, [f"k{number}" for number in range(KEYS)])
    worker = DrivenWorker(db, stale_after_s=100_000)
    answers = 0
    most_holds = 0
    while answers < ANSWERS:
        answers += answer(worker, claim_all(worker), answers)
        most_holds = max(most_holds, scalar(db, "select count(*) from horsies.holds"))
        move_clock(db, HELD_S)
    assert most_holds <= KEYS + 1
    assert scalar(db, "select count(*) from horsies.attempts") == 0
    assert scalar(db, "select max(length(postponed::text)) from horsies.tasks") < 500
    assert scalar(db, "select sum((postponed ->> 'count')::int) from horsies.tasks") == answers

    fences = claim_all(worker)
    assert {fence.task_id for fence in fences} == set(ids)
    assert worker.finish(*(done(fence) for fence in fences)) == ["accepted"] * KEYS
    assert column(db, "select distinct attempt from horsies.history") == [1]
    send_keys(db, ["last"])
    for _ in range(KEYS // 100 + 1):  # claims look at 100 keys each
        move_clock(db, HELD_S)
        worker.claim(0)
    assert scalar(db, "select count(*) from horsies.holds") == 0
    assert scalar(db, "select count(*) from horsies.buckets") == 0
    assert scalar(db, "select count(*) from horsies.attempts") == 0
    assert not scalar(db, "select has_holds from horsies.queues where name = 'default'")
