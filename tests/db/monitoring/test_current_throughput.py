"""`current_throughput`: sums the counts of the workers for minutes that have no samples yet."""

from datetime import timedelta

import pytest

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.rows import CurrentSampleRow
from tests.db.test_plans import reading
from tests.support.sessions import NOON, Session, call

MINUTE = timedelta(minutes=1)
ALL = (NOON - 100 * MINUTE, NOON + 100 * MINUTE)
COUNTS = """
    insert into horsies.current_counts
    select ('00000000-0000-0000-0000-' || lpad(w::text, 12, '0'))::uuid, %s::timestamptz + m * interval '1 minute',
           q, t, 1, 2, 3
    from generate_series(1, %s::int) as w, generate_series(0, %s::int) as m, unnest(array['mail', 'shop']) as q,
         unnest(array['add', 'greet']) as t
"""


def test_workers_are_added_up_by_minute_queue_and_task(db: Session) -> None:
    db.execute(COUNTS, (NOON, 3, 1))
    found = call(db, monitoring_queries.current_throughput(*ALL, None, None, 100))
    assert found == [
        CurrentSampleRow(NOON + m * MINUTE, queue, name, 3, 6, 9)
        for m in range(2)
        for queue in ("mail", "shop")
        for name in ("add", "greet")
    ]
    assert call(db, monitoring_queries.current_throughput(*ALL, None, None, 3)) == found[:3]
    assert call(db, monitoring_queries.current_throughput(NOON, NOON + MINUTE, "shop", "greet", 9)) == [found[3]]


@pytest.mark.parametrize(("sampled", "minutes"), [(-5, 2), (0, 2), (1, 1), (2, 0)])
def test_minutes_with_samples_are_left_out(db: Session, sampled: int, minutes: int) -> None:
    db.execute(COUNTS, (NOON, 1, 1))
    db.execute(
        "insert into horsies.sampling (first_minute, sampled_until) values (%s, %s)",
        (NOON - 10 * MINUTE, NOON + sampled * MINUTE),
    )
    assert len(call(db, monitoring_queries.current_throughput(*ALL, None, None, 100))) == 4 * minutes


def test_only_the_wanted_minutes_are_read(db: Session) -> None:
    db.execute(COUNTS, (NOON - 60 * MINUTE, 20, 60))
    db.execute("analyze horsies.current_counts")
    with reading(db) as reads:
        assert len(call(db, monitoring_queries.current_throughput(NOON, ALL[1], None, None, 100))) == 4
    assert "current_counts" not in reads.whole_tables
    assert reads.rows < 200
