"""`claim_marks`: which marks of a session belong to the claims of a worker."""

import json

import pytest

from tests.support.sessions import Session, scalar

QUERY = "select horsies.claim_marks(%s::text[], 'horsies.claim_marks')"
TABLE = "select 'horsies.tasks'::regclass::oid::text"


def keep(db: Session, **kept: object) -> None:
    db.execute("select set_config('horsies.claim_marks', %s, false)", (json.dumps(kept),))


def test_a_new_session_has_none(db: Session) -> None:
    assert scalar(db, QUERY, ["a"]) is None
    db.execute("select set_config('horsies.claim_marks', '', false)")
    assert scalar(db, QUERY, ["a"]) is None


def test_those_of_the_same_queues_are_returned(db: Session) -> None:
    kept = {"table": scalar(db, TABLE), "queues": ["a", "b"], "marks": []}
    keep(db, **kept)
    assert scalar(db, QUERY, ["a", "b"]) == kept


@pytest.mark.parametrize("queues", [["a"], ["b", "a"], ["a", "b", "c"]])
def test_those_of_other_queues_are_not(db: Session, queues: list[str]) -> None:
    keep(db, table=scalar(db, TABLE), queues=["a", "b"], marks=[])
    assert scalar(db, QUERY, queues) is None


def test_those_of_another_schema_are_not(db: Session) -> None:
    keep(db, table="1", queues=["a"], marks=[])
    assert scalar(db, QUERY, ["a"]) is None
