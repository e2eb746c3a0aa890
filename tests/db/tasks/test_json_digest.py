"""`json_digest`: documents that are equal as jsonb have the same digest."""

import pytest

from tests.support.sessions import Session, scalar


def digest(db: Session, document: str) -> bytes:
    return scalar(db, "select horsies.json_digest(%s)", document)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":[true,null]}', ' { "b" : [ true , null ], "a" : 1 } '),
        ('{"a":1}', '{"a":1.0}'),
        ("[1.50, -0.0, 1e2, 0.10]", "[1.5, 0, 100, 0.100]"),
        ('"\\u00e9"', '"é"'),
        ('{"1.0":1.0}', '{"1.0":1}'),
    ],
)
def test_equal_documents_have_one_digest(db: Session, one: str, other: str) -> None:
    assert digest(db, one) == digest(db, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":2}'),
        ('"1.0"', '"1"'),
        ('["\\"1.0"]', '["\\"1"]'),
        ('["\\\\", "1.0"]', '["\\\\", "1"]'),
        ("1.05", "1.5"),
        ("10", "1"),
        ("1.01", "1.010000001"),
        ("[1, 2]", "[2, 1]"),
        ('"1"', "1"),
        ("null", "false"),
    ],
)
def test_different_documents_have_different_digests(db: Session, one: str, other: str) -> None:
    assert digest(db, one) != digest(db, other)


@pytest.mark.parametrize("document", [r'"\u0000"', "1e999999", r'"\ud800"'])
def test_a_document_that_is_no_jsonb_is_compared_by_its_bytes(db: Session, document: str) -> None:
    assert digest(db, document) == digest(db, document)
    assert digest(db, document) != digest(db, f" {document}")


def test_strings_are_not_read_as_escapes_whatever_the_session_says(db: Session) -> None:
    before = digest(db, r'["a\"1.0", 2.0]')
    db.execute("set standard_conforming_strings = off")
    assert digest(db, r'["a\"1.0", 2.0]') == before
