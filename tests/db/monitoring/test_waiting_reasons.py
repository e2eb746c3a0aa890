"""`waiting_reasons`: every waiting task has the reason that `why` gives for it."""

import random
from collections import Counter
from datetime import timedelta

import pytest
from uuid_utils.compat import uuid7

from horsies.config.retry import RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import status as status_queries
from tests.db.test_plans import fill, reading
from tests.support.factories import DrivenWorker, done, failed, request, send
from tests.support.flow import declare_queue, hold, rate
from tests.support.sessions import Session, call, freeze_clock, move_clock, scalar

OF_EACH = (
    "select t.queue, t.task_name, w.reason from horsies.tasks t cross join lateral horsies.why(t.id) as w"
    " where t.status = 'PENDING'"
)
NAMES = ("add", "greet", "unknown")
QUEUES = ("default", "mail", "keyed", "rated")
ANY_RETRY = RetryPolicy.fixed([5, 300], auto_retry_for=["BOOM"], jitter=False)


def reasons(db: Session) -> Counter[tuple[str, str, str]]:
    rows = call(db, status_queries.waiting_reasons())
    assert {row.accuracy for row in rows} <= {"exact"}
    return Counter({(row.queue, row.task_name, row.reason): row.tasks for row in rows})


def disturb(db: Session, dice: random.Random) -> None:
    """Change one thing that may keep tasks from starting."""
    queue = dice.choice(QUEUES)
    match dice.randrange(6):
        case 0:
            call(db, monitoring_queries.queue_control(queue, "pause"))
        case 1:
            db.execute("update horsies.queues set paused = false")
        case 2:
            call(db, monitoring_queries.queue_control(queue, "cap", dice.choice([0, 2, 5])))
        case 3:
            hold(db, "horsies.now() + interval '1 minute'", queue=queue)
        case 4:
            hold(db, "horsies.now() + interval '1 minute'", queue="keyed", key=dice.choice("abc"))
        case _:
            held = "update horsies.tasks set held = true where id in (select id from horsies.tasks where status ="
            db.execute(f"{held} 'PENDING' limit 3)")


@pytest.mark.parametrize("seed", range(6))
def test_the_numbers_are_those_of_why_for_each_task(db: Session, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    freeze_clock(db)
    declare_queue(db, "keyed", per_key=2, rate_per_key=rate(1, 60, 4))
    declare_queue(db, "rated", takes_turns=False, rate=rate(1, 60, 4))
    worker = DrivenWorker(db, queues=QUEUES, names=NAMES[:2], cluster_cap=dice.choice([None, 6, 12]))
    if dice.random() < 0.5:
        DrivenWorker(db, caps={"mail": 3}, names=["add"], stale_after_s=dice.choice([30, 3000]))
    seen: Counter[str] = Counter()
    for _ in range(12):
        clock = scalar(db, "select horsies.now()")
        for _ in range(dice.randint(3, 12)):
            queue = dice.choice(QUEUES)
            wanted = request(
                uuid7(),
                name=dice.choice(NAMES),
                queue=queue,
                priority=dice.choice([1, 100]),
                delay=dice.choice([0, 0, 0, 7200]),
                good_until=dice.choice([None, None, clock + timedelta(seconds=20)]),
                retry=ANY_RETRY,
                task_key=dice.choice([None, "a", "b", "c"]) if queue == "keyed" else None,
            )
            send(db, wanted)
        held = worker.claim(dice.randint(0, 5))
        if held:
            worker.finish(*(dice.choice([done, failed])(fence) for fence in held[:3]))
        disturb(db, dice)
        expected = Counter(tuple(row) for row in db.execute(OF_EACH).fetchall())
        assert reasons(db) == expected
        seen.update(reason for _, _, reason in expected)
        move_clock(db, dice.choice([0.5, 5, 25]))
    assert len(seen) >= 6, seen


def test_many_tasks_are_counted_up_to_a_limit(db: Session) -> None:
    fill(db, 1_000_000, due_in=-3600_000, count=100_500)
    [before] = call(db, status_queries.waiting_reasons())
    assert (before.reason, before.tasks, before.accuracy) == ("no_worker", 100_000, "at_least")
    call(db, status_queries.count_waiting())
    with reading(db) as reads:
        [after] = call(db, status_queries.waiting_reasons())
    assert (after.reason, after.tasks, after.accuracy) == ("no_worker", 100_500, "counted")
    assert "tasks" not in reads.whole_tables
    assert reads.rows < 101_000


def test_rows_that_are_counted_one_by_one_are_bounded_as_well(db: Session) -> None:
    freeze_clock(db)
    for _ in range(5):
        send(db, request(good_until=scalar(db, "select horsies.now()") + timedelta(seconds=1)))
    db.execute("update horsies.tasks set held = true where id in (select id from horsies.tasks limit 3)")
    move_clock(db, 2)
    ask = "select reason, tasks, accuracy from horsies.waiting_reasons(3, 10) order by reason"
    assert db.execute(ask).fetchall() == [("held", 3, "at_least"), ("overdue", 2, "exact")]
