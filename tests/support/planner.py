"""What the planner of PostgreSQL believes about the tables."""

from tests.support.sessions import Session

_TAKE_FOR_EMPTY = """
    update pg_class set relpages = greatest(1, pg_relation_size(oid) / 8192), reltuples = 0
    where relnamespace = 'horsies'::regnamespace and relkind in ('r', 'i')
"""


def take_for_empty(session: Session) -> None:
    """Let the planner believe that each table has many pages, but no rows.

    It believes this after autovacuum has looked at a queue that was empty for a moment, or while the transaction that
    sends many tasks had not committed, until it looks again.
    """
    session.execute(_TAKE_FOR_EMPTY)
