"""``horsies db grant`` and ``horsies db revoke``: the rights of roles in the database."""

from collections.abc import Callable, Collection
from typing import Annotated

import psycopg
import typer

from horsies.cli.database import SCHEMA, URL, database_config
from horsies.cli.output import say
from horsies.config.postgres import PostgresConfig
from horsies.db import migrate, rights
from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.db.rights import Connection, Kind
from horsies.embedded.server import EmbeddedError

_ARGUMENTS = typer.Argument(metavar="[MODULE:APP] ROLE", help="The app that uses the database, and the role.")
_PRODUCER = typer.Option("--producer", help="The role sends tasks and waits for results.")
_WORKER = typer.Option("--worker", help="The role runs workers and schedulers.")
_VIEWER = typer.Option("--viewer", help="The role looks at tasks, queues and workers.")
_OPERATOR = typer.Option("--operator", help="A viewer that also cancels, reruns, pauses and resumes.")
_WITH_ARGUMENTS = typer.Option("--with-arguments", help="A viewer or operator also sees arguments and results.")
_SQL = typer.Option("--sql", help="Print the statements instead of executing them.")


def grant(  # noqa: PLR0913 - one parameter an option
    arguments: Annotated[list[str], _ARGUMENTS],
    *,
    producer: Annotated[bool, _PRODUCER] = False,
    worker: Annotated[bool, _WORKER] = False,
    viewer: Annotated[bool, _VIEWER] = False,
    operator: Annotated[bool, _OPERATOR] = False,
    with_arguments: Annotated[bool, _WITH_ARGUMENTS] = False,
    as_sql: Annotated[bool, _SQL] = False,
    database_url: Annotated[str | None, URL] = None,
    schema: Annotated[str | None, SCHEMA] = None,
) -> None:
    """Give a role the rights that it needs, and no more.

    Run it as the owner of the schema. Running it again changes nothing. To give a role several kinds of rights, run it
    once for each kind. Migrations grant the rights again, also for functions that they add.

    Example: horsies db grant instance:app --worker worker_role
    """
    kinds = _chosen(producer=producer, worker=worker, viewer=viewer, operator=operator, arguments=with_arguments)
    if not kinds - {Kind.ARGUMENTS}:
        msg = "say what the role is for: --producer, --worker, --viewer or --operator"
        raise typer.BadParameter(msg)
    if Kind.ARGUMENTS in kinds and not kinds & {Kind.VIEWER, Kind.OPERATOR}:
        msg = "--with-arguments is for --viewer and --operator; producers and workers see arguments anyway"
        raise typer.BadParameter(msg)
    config, role = _database_and_role(arguments, database_url, schema)
    statements = rights.grant_sql(config.schema_name, role, kinds)
    if as_sql:
        typer.echo(rights.script(statements), nl=False)
        return
    _change(config, lambda connection: _grant(connection, config.schema_name, statements))
    say(f"granted to {role!r}: {_shown(kinds)}")


def revoke(  # noqa: PLR0913 - one parameter an option
    arguments: Annotated[list[str], _ARGUMENTS],
    *,
    producer: Annotated[bool, _PRODUCER] = False,
    worker: Annotated[bool, _WORKER] = False,
    viewer: Annotated[bool, _VIEWER] = False,
    operator: Annotated[bool, _OPERATOR] = False,
    with_arguments: Annotated[bool, _WITH_ARGUMENTS] = False,
    as_sql: Annotated[bool, _SQL] = False,
    database_url: Annotated[str | None, URL] = None,
    schema: Annotated[str | None, SCHEMA] = None,
) -> None:
    """Take rights away from a role: those of one kind, or all of them if no kind is given.

    Run it as the owner of the schema.

    Example: horsies db revoke instance:app worker_role
    """
    chosen = _chosen(producer=producer, worker=worker, viewer=viewer, operator=operator, arguments=with_arguments)
    config, role = _database_and_role(arguments, database_url, schema)

    def statements(connection: Connection | None) -> str:
        recorded = rights.list_grants(connection, config.schema_name) if connection is not None else []
        kept = rights.kinds_of(recorded, role) - chosen if chosen else set[Kind]()
        if not kept & {Kind.VIEWER, Kind.OPERATOR}:
            kept -= {Kind.ARGUMENTS}
        return rights.revoke_sql(config.schema_name, role, set(Kind) - kept, kept)

    if as_sql:
        # Which functions other kinds still need is known only from the recorded grants.
        found = _change(config, statements) if chosen else statements(None)
        typer.echo(rights.script(found), nl=False)
        return
    _change(config, lambda connection: connection.execute(statements(connection).encode()))
    say(f"revoked from {role!r}: {_shown(chosen) if chosen else 'all rights'}")


def _chosen(**flags: bool) -> set[Kind]:
    return {Kind(name) for name, is_chosen in flags.items() if is_chosen}


def _shown(kinds: Collection[Kind]) -> str:
    return ", ".join(sorted(kinds))


def _database_and_role(
    arguments: list[str], database_url: str | None, schema: str | None
) -> tuple[PostgresConfig, str]:
    """Tell the app from the role. The role comes last."""
    *locators, role = arguments
    if len(locators) > 1:
        msg = f"give an app and a role, not {len(arguments)} arguments"
        raise typer.BadParameter(msg)
    return database_config(locators[0] if locators else None, database_url, schema), role


def _grant(connection: Connection, schema: str, statements: str) -> None:
    if not migrate.status(connection, schema).is_current:
        msg = f"the schema {schema!r} is not up to date: run `horsies db migrate` first"
        raise rights.RightsError(msg)
    rights.check_creators(connection, schema)
    connection.execute(statements.encode())


def _change[R](config: PostgresConfig, change: Callable[[Connection], R]) -> R:
    """Make a change in one transaction, with the names of PostgreSQL.

    Raises:
        ConfigurationError: HRS-211: the database is away, the rights do not suffice, or a role does not exist.
    """
    try:
        with Database(config).connect() as connection, rights.fixed_path(connection):
            return change(connection)
    except (psycopg.Error, EmbeddedError, rights.RightsError, *migrate.MIGRATION_ERRORS) as error:
        raise config.unusable(call_failed(error).message) from error
