"""`list_audit`: the records of actions that match conditions, the latest first."""

from datetime import timedelta
from typing import Any

from horsies.db.queries import audit as audit_queries
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock


def record(db: Session, who: str, action: str, *subjects: str) -> None:
    db.execute("select horsies.record_action(%s, %s, %s, null)", (who, action, list(subjects)))


def found(db: Session, **conditions: Any) -> list[str]:
    names = ("who", "actions", "subject", "since", "until", "before")
    rows = call(db, audit_queries.list_audit(*(conditions.get(name) for name in names), conditions.get("limit", 10)))
    return [" ".join([row.who, *row.subjects]) for row in rows]


def test_records_by_conditions_and_page(db: Session) -> None:
    freeze_clock(db)
    for who, action, subjects in [
        ("ada", "queue.pause", ("mail",)),
        ("bob", "queue.resume", ("mail",)),
        ("ada", "task.cancel", ("1", "2")),
    ]:
        record(db, who, action, *subjects)
        move_clock(db, 1)
    assert found(db) == ["ada 1 2", "bob mail", "ada mail"]
    assert found(db, who="ada") == ["ada 1 2", "ada mail"]
    assert found(db, actions=["queue.pause", "queue.resume"]) == ["bob mail", "ada mail"]
    assert found(db, subject="2") == ["ada 1 2"]
    assert found(db, subject="mail", who="ada") == ["ada mail"]
    assert found(db, since=NOON + timedelta(seconds=1)) == ["ada 1 2", "bob mail"]
    assert found(db, until=NOON + timedelta(seconds=1)) == ["ada mail"]
    assert found(db, limit=1) == ["ada 1 2"]
    latest = call(db, audit_queries.list_audit(None, None, None, None, None, None, 1))[0]
    assert found(db, before=latest.id) == ["bob mail", "ada mail"]


def test_the_database_user_is_found_too(db: Session) -> None:
    record(db, "ada", "queue.pause", "mail")
    [[user]] = db.execute("select session_user").fetchall()
    assert found(db, who=user) == ["ada mail"]
    assert found(db, who="somebody") == []
