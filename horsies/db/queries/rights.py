"""Calls about the installed schema and the rights of roles."""

from horsies.db.operations import Call, column, first

_VERSION = "select version, functions_hash, library_version from horsies.installed_version()"
_GRANTS = (
    "select given.role_name, given.kind, r.oid is not null"
    " from horsies.list_grants() as given left join pg_catalog.pg_roles r on r.rolname = given.role_name"
    " order by 1, 2"
)
_OWN_KINDS = (
    "select distinct given.kind"
    " from horsies.list_grants() as given join pg_catalog.pg_roles r on r.rolname = given.role_name"
    " where pg_catalog.pg_has_role(r.oid, 'usage')"
)


def installed_version() -> Call[tuple[int, str, str] | None]:
    """Return the version of the schema, the fingerprint of its functions and the release that migrated it."""
    return Call(_VERSION, (), first(lambda *row: row))


def list_grants() -> Call[list[tuple[str, str, bool]]]:
    """Return the recorded grants, ordered: the role, the kind of rights, and whether the role exists."""
    return Call(_GRANTS, (), lambda rows: [(row[0], row[1], row[2]) for row in rows])


def own_kinds() -> Call[list[str]]:
    """Return the kinds that are recorded for the role of the connection, or for a role that it belongs to."""
    return Call(_OWN_KINDS, (), column)
