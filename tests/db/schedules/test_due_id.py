"""`due_id`: derives the id of a schedule's task from its due time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from horsies.db.queries import schedules as schedule_queries
from tests.support.sessions import NOON, Session, scalar


def due_id(session: Session, name: str, due: datetime) -> UUID:
    return scalar(session, "select horsies.due_id(%s, %s)", name, due)


def test_it_is_the_same_in_every_session_and_zone(db: Session, other: Session) -> None:
    other.execute("set timezone = 'Asia/Kathmandu'")
    assert due_id(db, "nightly", NOON) == due_id(other, "nightly", NOON) == UUID("01c2b8c4-fa00-7aa4-876d-9cc1dd46d050")


def test_other_schedules_and_other_times_have_others(db: Session) -> None:
    times = [NOON + timedelta(microseconds=n) for n in (0, 1, 999, 1000, 10**6)]
    names = ["nightly", "nightly2", "Nightly", "né"]
    assert len({due_id(db, name, due) for name in names for due in times}) == len(names) * len(times)


@pytest.mark.parametrize("due", [NOON, datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=UTC)])
def test_it_is_shaped_like_a_uuidv7_of_the_due_time(db: Session, due: datetime) -> None:
    found = due_id(db, "nightly", due)
    assert found.version == 7
    assert found.variant == "specified in RFC 4122"
    assert scalar(db, "select horsies.uuid_time(%s)", found) == due.replace(microsecond=due.microsecond // 1000 * 1000)


@pytest.mark.parametrize("due", [NOON, datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=UTC)])
@pytest.mark.parametrize("name", ["nightly", "né\n1", "'"])
def test_programs_make_the_same_id(db: Session, name: str, due: datetime) -> None:
    assert schedule_queries.due_id(name, due) == due_id(db, name, due)
