"""`error_counts`: the failures of a group by hour and version, whatever the time zone of the session."""

from datetime import timedelta

from horsies.db.queries import errors as error_queries
from horsies.db.queries.errors import ErrorCountRow
from tests.support.sessions import NOON, Session, call

HOUR = timedelta(hours=1)


def test_hours_and_versions_of_one_group(db: Session) -> None:
    db.execute(
        "insert into horsies.error_counts select p, %s::timestamptz + h * interval '1 hour', g, '1', v, 10 * h + g"
        " from generate_series(0, 4) as h, generate_series(1, 2) as g, unnest(array['a', 'b']) as v,"
        " unnest(array[60, 3600]) as p", (NOON,)
    )  # fmt: skip
    ask = error_queries.error_counts(2, NOON + 1.5 * HOUR, NOON + 3 * HOUR, 10)
    db.execute("set timezone = 'Asia/Kolkata'")
    assert call(db, ask) == [
        ErrorCountRow(NOON + h * HOUR, "1", version, 10 * h + 2) for h in (1, 2) for version in "ab"
    ]
    assert len(call(db, error_queries.error_counts(2, NOON, NOON + 9 * HOUR, 3))) == 3
    assert call(db, error_queries.error_counts(3, NOON, NOON + 9 * HOUR, 3)) == []
