"""`secret_part`: the complete document of a stored text with secrets."""

import pytest

from horsies.codec.secrets import seal
from tests.support.sessions import Session, scalar

PART = "select horsies.secret_part(%s)::text"


@pytest.mark.parametrize("document", ['{"a": 1.0}', '"\\u0000"', "null", None])
def test_a_text_without_secrets_has_no_secret_part(db: Session, document: str | None) -> None:
    assert scalar(db, PART, document) is None


@pytest.mark.parametrize("complete", ['{"card":"4111"}', '{"card":"\\u0000\\u001e"}', '""'])
def test_the_second_of_two_texts_is_complete(db: Session, complete: str) -> None:
    assert scalar(db, PART, seal("[redacted]", complete.encode()).decode()) == complete
