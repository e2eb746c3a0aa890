"""Describes a schema as text that is the same on every supported version of PostgreSQL."""

from typing import Any

import psycopg

from horsies.db.sqlfiles import qualifier

# Partitions of single days are created and dropped all the time.
_TABLES = """
    with kept as (
        select c.oid, c.relname::text as name, c.relkind, c.reloptions from pg_class c
        where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p', 'v')
          and c.relname !~ '^history_[0-9]{8}$'
    )
"""
_PARTS = {
    "tables": _TABLES
    + """
        select name || coalesce(' partition by ' || pg_get_partkeydef(oid), '')
               || coalesce(' ' || (select pg_get_expr(c.relpartbound, c.oid) from pg_class c where c.oid = kept.oid
                                   and c.relispartition), '')
               || coalesce(' with (' || array_to_string(reloptions, ', ') || ')', '')
        from kept
    """,
    "columns": _TABLES
    + """
        select name || '.' || attname || ' ' || format_type(atttypid, atttypmod)
               || case when attnotnull then ' not null' else '' end
               || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
        from kept join pg_attribute a on a.attrelid = kept.oid and attnum > 0 and not attisdropped
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    """,
    # Since PostgreSQL 18, NOT NULL is also a constraint in the catalog; it is already listed with the columns above.
    "constraints": _TABLES
    + """
        select name || '.' || conname || ' ' || pg_get_constraintdef(c.oid)
        from kept join pg_constraint c on c.conrelid = kept.oid and contype <> 'n'
    """,
    "indexes": _TABLES
    + """
        select pg_get_indexdef(i.indexrelid) from kept join pg_index i on i.indrelid = kept.oid
    """,
    "views": """
        select c.relname || ' ' || coalesce(substring(obj_description(c.oid, 'pg_class') from 'Version [0-9]+'), '')
        from pg_class c where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind = 'v'
    """,
    "functions": """
        select p.proname || '(' || pg_get_function_arguments(p.oid) || ') returns ' || pg_get_function_result(p.oid)
               || ' language ' || l.lanname
               || case p.provolatile when 'i' then ' immutable' when 's' then ' stable' else '' end
               || case when p.prosecdef then ' security definer' else '' end
               || coalesce(' set ' || array_to_string(p.proconfig, ', '), '')
        from pg_proc p join pg_language l on l.oid = p.prolang
        where p.pronamespace = to_regnamespace(%(schema)s)
    """,
}


def describe(session: psycopg.Connection[Any], schema: str) -> str:
    """Return the tables, columns, constraints, indexes, views and functions of a schema, sorted and without its name."""
    name = qualifier(schema)
    (shown,) = session.execute("select to_regnamespace(%s)::text", (name,)).fetchone() or ("",)
    lines: list[str] = []
    for title, sql in _PARTS.items():
        with session.transaction():
            session.execute("set local timezone = 'UTC'")  # constraints are shown in the time zone of the session
            found = sorted(line for (line,) in session.execute(sql.encode(), {"schema": name}))
        lines += [f"== {title}", *(line.replace(f"{shown}.", "") for line in found), ""]
    return "\n".join(lines)
