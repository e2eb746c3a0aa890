"""`schema_record`: what is recorded about the schema, in its table or in a comment."""

import uuid

from horsies.db import sqlfiles
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from horsies.version import __version__
from tests.support.sessions import Session

RECORD = "select version, functions_hash, library_version, identity from horsies.schema_record()"


def test_the_comment_repeats_the_row(db: Session) -> None:
    [recorded] = db.execute(RECORD).fetchall()
    assert recorded[:3] == (max(sqlfiles.migrations()), sqlfiles.functions_hash(DEFAULT_SCHEMA), __version__)
    db.execute("truncate horsies.schema_version")
    assert db.execute(RECORD).fetchall() == [recorded]


def test_the_row_takes_precedence(db: Session) -> None:
    identity = uuid.uuid4()
    db.execute("update horsies.schema_version set version = 7, identity = %s", (identity,))
    [(version, _, _, found)] = db.execute(RECORD).fetchall()
    assert (version, found) == (7, identity)


def test_a_comment_of_somebody_else_records_nothing(db: Session) -> None:
    db.execute("delete from horsies.schema_version")
    for comment in ("'version 2 of our documentation'", "''", "null"):
        db.execute(f"comment on table horsies.schema_version is {comment}".encode())
        assert db.execute(RECORD).fetchall() == []
