"""`marks_until`: when a session looks again at all rows of a regulated queue."""

import json
from datetime import timedelta

import pytest

from tests.support.sessions import NOON, Session, freeze_clock, scalar


def keep(db: Session, setting: str, **marks: object) -> None:
    table = scalar(db, "select 'horsies.tasks'::regclass::oid::text")
    kept = json.dumps({"table": table, "queue": "a", "queues": ["a"]} | marks)
    db.execute("select set_config(%s || md5('a'), %s, false)", (setting, kept))


def used(begin: float, end: float) -> dict[str, str]:
    return {"from": str(NOON + timedelta(seconds=begin)), "until": str(NOON + timedelta(seconds=end))}


def test_it_is_the_first_end_of_the_marks_that_are_used_now(db: Session) -> None:
    freeze_clock(db)
    query = "select extract(epoch from horsies.marks_until(%s, horsies.now()) - horsies.now())::float"
    assert scalar(db, query, "a") is None
    keep(db, "horsies.turn_marks_", **{"100": used(-1, 3), "7": used(-2, -1), "gaps": used(1, 2)})
    assert scalar(db, query, "a") == pytest.approx(3)
    keep(db, "horsies.claim_marks_", **used(-1, 2))
    assert scalar(db, query, "a") == pytest.approx(2)
    keep(db, "horsies.claim_marks_", **used(-3, -2))
    assert scalar(db, query, "a") == pytest.approx(3)
    assert scalar(db, query, "b") is None
