"""`waiting_figures`: how many tasks wait by queue and name, exactly or with a sign that they are too many."""

from typing import Any

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.queries import status as status_queries
from tests.db.test_plans import fill, reading
from tests.support.factories import DrivenWorker, failed, request, send, send_many
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock

ASK = (
    "select queue, task_name, waiting, waiting_accuracy, scheduled, scheduled_accuracy, counted_at, first_due_at"
    " from horsies.waiting_figures(horsies.now(), %s, %s, %s) order by queue, task_name"
)
COUNTED = "counted"


@pytest.fixture(autouse=True)
def _clock(db: Session) -> None:
    freeze_clock(db)


def figures(db: Session, most: int = 1000, in_all: int = 10_000, groups: int = 100) -> list[tuple[Any, ...]]:
    return db.execute(ASK, (most, in_all, groups)).fetchall()


def test_due_and_scheduled_tasks_are_counted_over_all_priorities(db: Session) -> None:
    for priority in (1, 50, 100):
        send(db, request(priority=priority))
        move_clock(db, 1)
        send(db, request(priority=priority, delay=60))
    send(db, request(queue="mail", name="greet", delay=60))
    retried = request(queue="other", retry=RetryPolicy.fixed([600], auto_retry_for=["BOOM"], jitter=False))
    send(db, retried)
    worker = DrivenWorker(db, queues=["other"])
    worker.finish(failed(worker.claim_one()))
    assert figures(db) == [
        ("default", "add", 3, "exact", 3, "exact", None, NOON),
        ("mail", "greet", 0, "exact", 1, "exact", None, None),
        ("other", "add", 0, "exact", 1, "exact", None, None),
    ]


def test_claimed_and_held_tasks_do_not_wait(db: Session) -> None:
    for _ in range(3):
        send(db)
    DrivenWorker(db).claim_one()
    db.execute("update horsies.tasks set held = true where id = (select min(id::text)::uuid from horsies.tasks"
               " where status = 'PENDING')")  # fmt: skip
    assert [row[2] for row in figures(db)] == [1]


def test_too_many_tasks_are_never_reported_as_fewer(db: Session) -> None:
    send_many(db, 500)
    send_many(db, 300, delay=60, first=500)
    assert figures(db, 200) == [("default", "add", 200, "at_least", 200, "at_least", None, NOON)]
    db.execute("insert into horsies.waiting_counts values ('default', 'add', 500, 300, horsies.now(), 0.1)")
    move_clock(db, 5)
    send_many(db, 1, first=800)
    assert figures(db, 400) == [("default", "add", 500, COUNTED, 300, "exact", NOON, NOON)]
    assert figures(db, 200) == [("default", "add", 500, COUNTED, 300, COUNTED, NOON, NOON)]
    assert figures(db) == [("default", "add", 501, "exact", 300, "exact", None, NOON)]
    db.execute("update horsies.waiting_counts set waiting = 7")
    assert figures(db, 400)[0][2:4] == (400, "at_least"), "an old count that is certainly too small is not used"


def test_a_long_queue_leaves_the_others_exact(db: Session) -> None:
    send_many(db, 900, queue="a long one")
    send_many(db, 150, queue="short", first=900)
    before = figures(db, 800, 800)
    assert [row[2:4] for row in before] == [(800, "at_least"), (100, "at_least")]
    call(db, status_queries.count_waiting())
    db.execute("insert into horsies.waiting_counts select queue, task_name, count(*), 0, horsies.now(), 0"
               " from horsies.tasks group by 1, 2")  # fmt: skip
    assert [row[2:4] for row in figures(db, 800, 800)] == [(900, COUNTED), (150, "exact")]


def test_a_kind_that_was_just_counted_is_not_counted_again(db: Session) -> None:
    send_many(db, 9_000)
    send_many(db, 50, delay=60, first=9_000)
    send(db, request(name="few"))
    db.execute("insert into horsies.waiting_counts select queue, task_name, count(*) filter (where run_at <= horsies.now()),"
               " count(*) filter (where run_at > horsies.now()), horsies.now(), 0 from horsies.tasks group by 1, 2")  # fmt: skip
    db.execute("vacuum analyze horsies.tasks")
    exact = ("default", "few", 1, "exact", 0, "exact", None, NOON)
    with reading(db) as reads:
        assert figures(db, 4_000) == [("default", "add", 9_000, COUNTED, 50, "exact", NOON, NOON), exact]
    assert reads.rows < 1_000
    with reading(db) as reads:
        assert figures(db, 5_000)[0][2:4] == (9_000, COUNTED)
    assert reads.rows > 5_000, "less than twice the bound is counted"
    move_clock(db, 61)
    with reading(db) as reads:
        assert figures(db, 4_000)[0][2:4] == (9_000, COUNTED)
    assert reads.rows > 4_000, "an older count is checked"


def test_after_the_largest_number_of_groups_counts_of_maintenance_follow(db: Session) -> None:
    for name in ("a", "b", "c"):
        send(db, request(name=name))
    db.execute("insert into horsies.waiting_counts select queue, task_name, 1, 0, horsies.now(), 0 from horsies.tasks")
    assert figures(db, groups=2) == [
        ("default", "a", 1, "exact", 0, "exact", None, NOON),
        ("default", "b", 1, "exact", 0, "exact", None, NOON),
        ("default", "c", 1, COUNTED, 0, COUNTED, NOON, None),
    ]


@pytest.mark.parametrize("has_statistics", [False, True])
def test_the_number_of_rows_that_are_read_is_bounded(db: Session, *, has_statistics: bool) -> None:
    fill(db, 1_000_000, due_in=-100_000, count=20_000)
    fill(db, 2_000_000, due_in=3600, count=20_000)
    if has_statistics:
        db.execute("vacuum analyze horsies.tasks")
    with reading(db) as reads:
        assert [row[2:6] for row in figures(db, 1000, 1500)] == [(1000, "at_least", 499, "at_least")]
    assert reads.whole_tables <= {"clock"}
    assert reads.indexes.keys() <= {"tasks_by_name", "waiting_counts_pkey"}
    assert reads.rows < 2000
