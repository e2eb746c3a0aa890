"""`health` and schema drift: the measurements that the doctor evaluates."""

from datetime import timedelta
from uuid import uuid4

import pytest
from uuid_utils.compat import uuid7

from horsies.db import health
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import schedules as schedule_queries
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.support.factories import numbered_id, request, send
from tests.support.roles import acting_as, new_role
from tests.support.sessions import Session, call


def test_a_new_schema_is_well(db: Session) -> None:
    found = call(db, monitoring_queries.health())
    assert (found.days_ahead, found.default_has_rows, found.sender_skew_seconds) == (15, False, None)
    assert found.dead_rows == 0
    assert health.drift(db, DEFAULT_SCHEMA) == []


def test_live_tasks_are_counted_and_not_estimated(db: Session) -> None:
    """The statistics are delayed, and count removed rows until the table is analysed again."""
    for _ in range(5):
        send(db)
    db.execute("analyze horsies.tasks")
    assert call(db, monitoring_queries.health()).live_rows == 5
    db.execute("delete from horsies.tasks")
    assert call(db, monitoring_queries.health()).live_rows == 0


def test_the_oldest_transaction(db: Session, other: Session) -> None:
    with other.transaction():
        other.execute("set local application_name = 'dreamer'")
        send(other)
        found = health.oldest_snapshot(db)
    assert found.description is not None
    assert "dreamer" in found.description
    assert found.seconds is not None
    assert found.seconds >= 0
    assert found.sees_all
    assert "dreamer" not in str(health.oldest_snapshot(db).description)


def test_a_role_that_may_not_see_all_transactions_knows_that(db: Session, other: Session) -> None:
    with new_role(db) as role, other.transaction():
        send(other)
        with acting_as(db, role):
            assert health.oldest_snapshot(db) == (None, None, False)


def test_a_scheduler_that_leads_is_no_old_transaction(db: Session, other: Session) -> None:
    call(other, schedule_queries.schedule_lead(["nightly"], uuid4(), timedelta(seconds=30)))
    assert health.oldest_snapshot(db).description is None


def test_the_clocks_of_senders_that_are_ahead(db: Session) -> None:
    send(db, request(numbered_id(1)))  # an id of long ago, like that of a replay
    assert (call(db, monitoring_queries.health()).sender_skew_seconds or 0) < 0
    late = uuid7().int + (60_000 << 80)
    db.execute("select horsies.enqueue(%s, 'add', 'default', 100, '{}', 'x', 0, null, null, null, false)", (_id(late),))
    assert call(db, monitoring_queries.health()).sender_skew_seconds == pytest.approx(60, abs=5)


def _id(number: int) -> str:
    digits = f"{number:032x}"
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("drop index horsies.tasks_to_claim", "index tasks_to_claim"),  # replaced by a later migration
        ("drop index horsies.tasks_in_flight", "index tasks_in_flight"),  # renamed by one
        ("alter table horsies.tasks drop constraint running_has_begun", "constraint running_has_begun"),
        ("drop function horsies.finish_batch", "function finish_batch"),
        (
            "create or replace function horsies.notify_wake() returns void language sql as 'select'",
            "function notify_wake",
        ),
    ],
)
def test_drift_is_named(db: Session, change: str, expected: str) -> None:
    db.execute(change.encode())
    assert health.drift(db, DEFAULT_SCHEMA) == [expected]


def test_each_index_of_a_table_is_looked_for(db: Session) -> None:
    """Also those that a later migration replaced. Only indexes of constraints have no statement of their own."""
    names = db.execute(
        "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " where c.relnamespace = 'horsies'::regnamespace and c.relkind in ('i', 'I') and not c.relispartition"
        " and not exists (select from pg_constraint k where k.conindid = i.indexrelid)"
    ).fetchall()
    expected = sorted(f"index {name}" for (name,) in names)
    for (name,) in names:
        db.execute(f"drop index horsies.{name}".encode())
    assert health.drift(db, DEFAULT_SCHEMA) == expected
