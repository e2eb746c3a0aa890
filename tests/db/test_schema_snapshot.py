"""The committed schema snapshot: every schema change shows in the diff of ``schema_snapshot.txt``."""

import os
from pathlib import Path

from horsies.db.sqlfiles import DEFAULT_SCHEMA
from tests.support.schema import describe
from tests.support.sessions import Session

SNAPSHOT = Path(__file__).with_name("schema_snapshot.txt")
UPDATE = "HORSIES_UPDATE_SNAPSHOT"


def test_a_migrated_database_is_as_the_snapshot_says(db: Session) -> None:
    found = describe(db, DEFAULT_SCHEMA)
    if os.environ.get(UPDATE):
        SNAPSHOT.write_text(found, encoding="utf-8")
    how = f"if the change is intended: {UPDATE}=1 python -m pytest tests/db/{Path(__file__).name}"
    assert found == SNAPSHOT.read_text(encoding="utf-8"), how
