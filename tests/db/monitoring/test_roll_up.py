"""`roll_up`: the samples of a longer period are the sums of those of a shorter one."""

from datetime import timedelta

from tests.support.sessions import NOON, Session

MINUTE = timedelta(minutes=1)


def insert(db: Session, minute: int, name: str, completed: int, waits: tuple[str, str] = ("{}", "{}")) -> None:
    """Insert the sample of a minute; ``waits``: the buckets of the histogram, and how many tasks each has."""
    db.execute(
        "insert into horsies.samples values (60, %s, 'default', %s, %s, 1, 2, 3, 4, 5, %s, %s, '{7}', '{1}')",
        (NOON + minute * MINUTE, name, completed, *waits),
    )


def roll_up(db: Session, first: int, end: int) -> None:
    db.execute("select horsies.roll_up(60, 600, %s, %s)", (NOON + first * MINUTE, NOON + end * MINUTE))


def test_counts_and_histograms_are_added_by_period_queue_and_task(db: Session) -> None:
    insert(db, 0, "add", 10, ("{0,5}", "{1,2}"))
    insert(db, 9, "add", 20, ("{5,6}", "{40,80}"))
    insert(db, 9, "greet", 1)
    insert(db, 10, "add", 100, ("{9}", "{9}"))
    roll_up(db, 5, 6)
    rows = db.execute("select * from horsies.samples where period_s = 600 order by task_name").fetchall()
    assert rows == [
        (600, NOON, "default", "add", 30, 2, 4, 6, 8, 10, [0, 5, 6], [1, 42, 80], [7], [2]),
        (600, NOON, "default", "greet", 1, 1, 2, 3, 4, 5, [], [], [7], [1]),
    ]


def test_it_replaces_the_periods_that_contain_the_times_and_no_others(db: Session) -> None:
    for minute in (0, 10, 20):
        insert(db, minute, "add", 1)
    roll_up(db, 0, 30)
    db.execute("update horsies.samples set completed = 50")
    db.execute("delete from horsies.samples where period_s = 60 and started_at = %s", (NOON + 20 * MINUTE,))
    insert(db, 11, "add", 1)
    roll_up(db, 12, 21)
    rows = db.execute("select started_at, completed from horsies.samples where period_s = 600 order by 1").fetchall()
    assert rows == [(NOON, 50), (NOON + 10 * MINUTE, 51)]
