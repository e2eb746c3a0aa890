"""`announce_wake`: records that workers are to look for work."""

from tests.support.sessions import Session, scalar


def test_it_is_recorded_for_the_session(db: Session, other: Session) -> None:
    db.execute("select horsies.announce_wake()")
    assert scalar(db, "select current_setting('horsies_notices.wake')") == "1"
    assert scalar(other, "select current_setting('horsies_notices.wake', true)") is None
