"""The search for secrets in all tables."""

from tests.support.sessions import Session, scalar

SECRET_COLUMNS = {"secret_args", "secret_result", "secret_summary", "secret_unique_args", "secret_value"}
_COLUMNS = """
    select c.relname::text, a.attname::text, a.atttypid = 'bytea'::regtype
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind in ('r', 'p')
      and c.relnamespace = (select t.relnamespace from pg_class t where t.oid = '{horsies}.tasks'::regclass)
    order by 1, a.attnum
"""


def leaks(session: Session, mark: str) -> list[str]:
    """Return what contains a mark in the tables, except in the columns for secrets: table, column and content."""
    found: list[str] = []
    for table, column, is_bytes in session.execute(_COLUMNS).fetchall():
        if column not in SECRET_COLUMNS:
            text = f"encode(\"{column}\", 'escape')" if is_bytes else f'"{column}"::text'
            query = f'select {text} from horsies."{table}" where strpos({text}, %s) > 0'
            rows = session.execute(query.encode(), (mark,)).fetchall()
            found += [f"{table}.{column}: {value}" for [value] in rows]
    return found


def secrets_in(session: Session, table: str, column: str, mark: str) -> int:
    """Count the rows that have a mark in a column for secrets."""
    return scalar(session, f"select count(*) from horsies.{table} where strpos({column}::text, %s) > 0", mark)
