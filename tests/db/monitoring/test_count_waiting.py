"""`count_waiting`: maintenance counts waiting tasks that are too many for each question, and no others."""

from horsies.db.queries import status as status_queries
from tests.db.test_plans import fill
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock, scalar

STORED = "select queue, task_name, waiting, scheduled, counted_at from horsies.waiting_counts order by queue, task_name"


def count(db: Session) -> int:
    return scalar(db, "select horsies.count_waiting(1000)")


def test_few_tasks_are_not_counted(db: Session) -> None:
    fill(db, 1_000_000, due_in=-3600, count=1000)
    assert count(db) == 0
    fill(db, 2_000_000, due_in=-3600, count=1000)
    assert call(db, status_queries.count_waiting()) == 0
    assert db.execute(STORED).fetchall() == []


def test_many_tasks_are_counted_exactly_until_they_are_few(db: Session) -> None:
    freeze_clock(db)
    fill(db, 1_000_000, due_in=-3600_000, count=1_500)
    fill(db, 2_000_000, due_in=3600, count=10)
    fill(db, 3_000_000, due_in=-3600, count=5, name="greet", queue="mail")
    assert count(db) == 1_515
    expected = [("default", "add", 1_500, 10, NOON), ("mail", "greet", 5, 0, NOON)]
    assert db.execute(STORED).fetchall() == expected
    assert count(db) == 0, "a count that was slow is not repeated at once"
    move_clock(db, 3600)
    assert count(db) == 1_515
    db.execute("delete from horsies.tasks where queue = 'default'")
    move_clock(db, 3600)
    assert count(db) == 0
    assert db.execute(STORED).fetchall() == []


def test_a_count_of_the_future_does_not_stop_counting(db: Session) -> None:
    """The clock of the server may have been set back."""
    freeze_clock(db)
    fill(db, 1_000_000, due_in=-3600_000, count=1_500)
    assert count(db) > 0
    move_clock(db, -3600)
    assert count(db) > 0
