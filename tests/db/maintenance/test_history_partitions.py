"""`history_partitions`: the days of the partitions that horsies has created, by their names."""

from datetime import date

from tests.support.sessions import Session


def test_days_and_months_are_listed_and_other_tables_are_not(db: Session) -> None:
    for name, since, until in [
        ("history_20250131", "2025-01-31", "2025-02-01"),
        ("history_202512", "2025-12-05", "2026-01-01"),
        ("history_old", "2020-01-01", "2020-02-01"),
    ]:
        db.execute(
            f"create table horsies.{name} partition of horsies.history for values from ('{since} 00:00+00')"
            f" to ('{until} 00:00+00')"
        )
    db.execute("create table horsies.history_20200101 (id int)")
    found = db.execute("select * from horsies.history_partitions() where first_day < '2026-01-01' order by first_day")
    assert found.fetchall() == [
        ("history_20250131", date(2025, 1, 31), date(2025, 2, 1)),
        ("history_202512", date(2025, 12, 1), date(2026, 1, 1)),
    ]
