"""`error_digest`: equal for equal properties only."""

from tests.support.sessions import Session, scalar

DIGEST = "select horsies.error_digest(%s, %s, %s, %s)"


def test_the_digest_differs_if_any_property_does(db: Session) -> None:
    given = [
        (False, "BOOM", "f", "m"),
        (True, "BOOM", "f", "m"),
        (False, "BOO", "Mf", "m"),
        (False, "BOOM", "fm", ""),
        (False, "BOOM", "f", "m\x1b€" * 300),
    ]
    assert len({scalar(db, DIGEST, *each) for each in given}) == len(given)
    assert scalar(db, DIGEST, *given[0]) == scalar(db, DIGEST, *given[0])
