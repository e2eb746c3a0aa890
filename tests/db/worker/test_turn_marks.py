"""`turn_marks`: which marks of a session belong to the keys of a queue."""

import json

from tests.support.sessions import Session, scalar


def keep(db: Session, queue: str, kept: object) -> None:
    db.execute("select set_config('horsies.turn_marks_' || md5(%s), %s, false)", (queue, json.dumps(kept)))


def test_marks_are_those_of_the_table_and_of_the_queue(db: Session) -> None:
    table = scalar(db, "select 'horsies.tasks'::regclass::oid::text")
    kept = {"table": table, "queue": "a", "100": {"uppers": [None]}}
    assert scalar(db, "select horsies.turn_marks('a')") is None
    keep(db, "a", kept)
    assert scalar(db, "select horsies.turn_marks('a')") == kept
    assert scalar(db, "select horsies.turn_marks('b')") is None
    keep(db, "a", kept | {"table": "1"})
    assert scalar(db, "select horsies.turn_marks('a')") is None
    keep(db, "a", kept | {"queue": "b"})
    assert scalar(db, "select horsies.turn_marks('a')") is None
    db.execute("select set_config('horsies.turn_marks_' || md5('a'), '', false)")
    assert scalar(db, "select horsies.turn_marks('a')") is None
