"""``horsies db``: the schema of the database."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer

from horsies.cli.locate import locate
from horsies.db import migrate as migrations
from horsies.db.connect import Database
from horsies.db.failures import call_failed
from horsies.errors import ConfigurationError, ErrorCode
from horsies.postgres import DEFAULT_SCHEMA, PostgresConfig, schema_name_problem
from horsies.urls import parse_url

db = typer.Typer(
    no_args_is_help=True, help="Create, migrate and inspect the schema.\n\nExample: horsies db migrate instance:app"
)

_LOCATOR = typer.Argument(metavar="MODULE:APP", help="The app whose database is meant.")
_URL = typer.Option(metavar="URL", help="The database, instead of an app's; else the environment's.")
_SCHEMA = typer.Option(help="The schema in that database, if it has another name.")


@db.command()
def migrate(
    locator: Annotated[str | None, _LOCATOR] = None,
    *,
    database_url: Annotated[str | None, _URL] = None,
    schema: Annotated[str | None, _SCHEMA] = None,
) -> None:
    """Create the schema, or bring it up to date.

    Example: horsies db migrate instance:app
    """
    applied = _ask(_config(locator, database_url, schema), migrations.migrate)
    typer.echo(f"applied: {', '.join(applied)}" if applied else "the schema is up to date")


@db.command()
def status(
    locator: Annotated[str | None, _LOCATOR] = None,
    *,
    database_url: Annotated[str | None, _URL] = None,
    schema: Annotated[str | None, _SCHEMA] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the version of the schema and what is left to migrate. Exits with 1 if something is.

    Example: horsies db status instance:app
    """
    config = _config(locator, database_url, schema)
    found = _ask(config, migrations.status)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"is_current": found.is_current}))
    else:
        typer.echo(f"schema {config.schema_name!r} at {config.masked_url()}: {found.describe()}")
    raise typer.Exit(0 if found.is_current else 1)


@db.command()
def sql(
    locator: Annotated[str | None, _LOCATOR] = None,
    *,
    schema: Annotated[str | None, _SCHEMA] = None,
) -> None:
    """Print the whole schema as one SQL script. Needs no database.

    Example: horsies db sql --schema jobs
    """
    config = _config(locator, None, schema)
    typer.echo(migrations.plain_sql(config.schema_name), nl=False)


def _config(locator: str | None, database_url: str | None, schema: str | None) -> PostgresConfig:
    if locator is None:
        _check_options(database_url, schema)
        return PostgresConfig(database_url=database_url, schema=schema or DEFAULT_SCHEMA)
    if database_url is not None or schema is not None:
        message = "give an app, or --database-url and --schema, not both"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text="the app knows its database")
    return locate(locator).config.broker


def _check_options(database_url: str | None, schema: str | None) -> None:
    """Refuse what `PostgresConfig` would refuse, in terms of the command line."""
    if database_url is not None:
        parse_url(database_url, "--database-url")
    problem = None if schema is None else schema_name_problem(schema)
    if problem is not None:
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, f"--schema {problem}")


def _ask[T](config: PostgresConfig, question: Callable[[psycopg.Connection[Any], str], T]) -> T:
    try:
        with Database(config).connect() as connection:
            return question(connection, config.schema_name)
    except (psycopg.Error, migrations.SchemaTooNewError) as error:
        raise config.unusable(call_failed(error).message) from error
