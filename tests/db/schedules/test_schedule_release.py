"""`schedule_release`: releases the leases of one scheduler."""

from uuid import uuid4

from tests.db.schedules.test_schedule_lead import ONE, OTHER, lead, release
from tests.support.sessions import Session


def test_released_leases_are_free_at_once_and_only_those_of_the_holder(db: Session) -> None:
    lead(db, ONE, ["a", "b"])
    lead(db, OTHER, ["c"])
    assert release(db, ONE) == 2
    assert lead(db, OTHER, ["a"]) == ["a"]
    assert lead(db, ONE, ["a", "b", "c"]) == ["b"]


def test_a_scheduler_without_leases_releases_nothing(db: Session) -> None:
    assert release(db, uuid4()) == 0
