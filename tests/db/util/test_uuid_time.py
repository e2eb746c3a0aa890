"""`uuid_time`: the time inside a UUIDv7."""

from datetime import UTC, datetime
from uuid import UUID

from tests.support.sessions import Session, scalar


def test_the_first_48_bits_are_milliseconds_since_1970(db: Session) -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
    milliseconds = 1_772_600_767_089
    task_id = UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | 12345)
    assert scalar(db, "select horsies.uuid_time(%s)", task_id) == moment


def test_any_id_has_a_time_even_one_that_is_no_uuid7(db: Session) -> None:
    for task_id in (UUID(int=0), UUID(int=2**128 - 1)):
        assert scalar(db, "select isfinite(horsies.uuid_time(%s))", task_id)
