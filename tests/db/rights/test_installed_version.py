"""`installed_version`: the version of the schema, for roles that may not read the table."""

from horsies.db import sqlfiles
from horsies.db.queries import rights as rights_queries
from horsies.db.sqlfiles import DEFAULT_SCHEMA
from horsies.version import __version__
from tests.support.sessions import Session, call


def test_it_returns_what_the_migration_has_recorded(db: Session) -> None:
    expected = (max(sqlfiles.migrations()), sqlfiles.functions_hash(DEFAULT_SCHEMA), __version__)
    assert call(db, rights_queries.installed_version()) == expected


def test_an_empty_table_has_no_version(db: Session) -> None:
    db.execute("delete from horsies.schema_version")
    assert call(db, rights_queries.installed_version()) is None
