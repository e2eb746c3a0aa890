"""`throughput`: reads the samples of a time, and says how much is known."""

from datetime import timedelta

import pytest

from horsies.db.queries import monitoring as monitoring_queries
from tests.support.sessions import NOON, Session, call, freeze_clock, scalar

HOUR = timedelta(hours=1)
ASK = "select * from horsies.throughput(60, %s, %s, %s, %s, %s)"


@pytest.fixture
def sampled(db: Session) -> Session:
    """Return a session of a database with a sample for each of the last 5,000 minutes."""
    freeze_clock(db)
    assert all(iter(lambda: call(db, monitoring_queries.sample(None)), 0))
    db.execute(
        "insert into horsies.samples select 60, %s::timestamptz - n * interval '1 minute', 'default', 'add',"
        " 1, 0, 0, 0, 0, 0, '{}', '{}', '{}', '{}' from generate_series(1, 5000) as n",
        (NOON,),
    )
    return db


def test_without_maintenance_there_is_no_row(db: Session) -> None:
    assert db.execute(ASK, (NOON - HOUR, NOON, None, None, 10)).fetchall() == []


def test_the_end_is_excluded_and_the_earliest_come_first(sampled: Session) -> None:
    rows = sampled.execute(ASK, (NOON - HOUR, NOON - 55 * timedelta(minutes=1), None, None, 3)).fetchall()
    assert [row[3] for row in rows] == [NOON - HOUR + minute * timedelta(minutes=1) for minute in range(3)]
    assert {row[:3] for row in rows} == {(NOON - HOUR, NOON, NOON)}


@pytest.mark.parametrize(("queue", "task"), [("mail", None), (None, "greet"), ("mail", "greet")])
def test_without_samples_one_row_says_how_much_is_known(sampled: Session, queue: str | None, task: str | None) -> None:
    [row] = sampled.execute(ASK, (NOON - HOUR, NOON, queue, task, 10)).fetchall()
    assert row[:4] == (NOON - HOUR, NOON, NOON, None)


def test_only_the_wanted_samples_are_read(sampled: Session) -> None:
    """An hour is found through the primary key, however many samples there are."""
    reads = "select pg_stat_get_xact_tuples_fetched(c.oid) + pg_stat_get_xact_tuples_returned(c.oid) from pg_class c"
    reads += " where c.oid = 'horsies.samples_pkey'::regclass"
    with sampled.transaction(force_rollback=True):
        before = scalar(sampled, reads)
        rows = sampled.execute(ASK, (NOON - HOUR, NOON, None, None, 1000)).fetchall()
        after = scalar(sampled, reads)
    assert len(rows) == 60
    assert 0 < after - before < 200
