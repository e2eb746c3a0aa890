"""`check_key`: a key has 1 to 200 characters."""

import pytest
from psycopg import errors

from tests.support.sessions import Session


def test_the_length_is_counted_in_characters(db: Session) -> None:
    for key in (None, "k", "ö" * 200):
        db.execute("select horsies.check_key(%s, 'add')", (key,))
    for key in ("", "ö" * 201):
        with pytest.raises(errors.InvalidParameterValue, match="must have 1 to 200 characters"):
            db.execute("select horsies.check_key(%s, 'add')", (key,))
