"""`public_part`: the document of a stored text without its secrets."""

import psycopg
import pytest

from horsies.codec.secrets import seal
from tests.support.sessions import Session, scalar

PART = "select horsies.public_part(%s)::text"


@pytest.mark.parametrize("document", ['{"a": 1.0}', '"\\u0000"', "[ 1,\n2 ]", '"\\u001e"', "null"])
def test_a_text_without_secrets_is_its_own_public_part(db: Session, document: str) -> None:
    assert scalar(db, PART, document) == document


def test_the_first_of_two_texts_is_public(db: Session) -> None:
    stored = seal({"card": "[redacted]"}, b'{"card":"4111"}').decode()
    assert scalar(db, PART, stored) == '{"card":"[redacted]"}'


def test_null_stays_null(db: Session) -> None:
    assert scalar(db, PART, None) is None


def test_a_text_with_secrets_is_not_json_unless_it_is_split(db: Session) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        db.execute("select %s::text::json", (seal("[redacted]", b'"4111"').decode(),))
