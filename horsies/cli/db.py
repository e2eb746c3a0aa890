"""``horsies db``: the schema of the database."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer

from horsies.cli.database import AS_JSON, LOCATOR, SCHEMA, URL, database_config
from horsies.cli.output import say
from horsies.config.postgres import PostgresConfig
from horsies.config.urls import LibpqUrl, with_driver
from horsies.db import migrate as migrations
from horsies.db.connect import MIGRATION_LIMIT_S, Database
from horsies.db.errors import call_failed

db = typer.Typer(
    no_args_is_help=True, help="Create, migrate and inspect the schema.\n\nExample: horsies db migrate instance:app"
)

_SHOW_PASSWORD = typer.Option("--show-password", help="Print the password as well.")
_DRIVER = typer.Option(metavar="NAME", help="For SQLAlchemy: the driver to name in the scheme, such as psycopg.")


@db.command()
def migrate(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    database_url: Annotated[str | None, URL] = None,
    schema: Annotated[str | None, SCHEMA] = None,
) -> None:
    """Create the schema, or migrate it to the current version.

    Example: horsies db migrate instance:app
    """
    applied = _ask(database_config(locator, database_url, schema), migrations.migrate)
    say(f"applied: {', '.join(applied)}" if applied else "the schema is up to date")


@db.command()
def status(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    database_url: Annotated[str | None, URL] = None,
    schema: Annotated[str | None, SCHEMA] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Show the version of the schema and the pending migrations. Exits with 1 if any are pending.

    Example: horsies db status instance:app
    """
    config = database_config(locator, database_url, schema)
    found = _ask(config, migrations.status)
    if as_json:
        say(json.dumps(asdict(found) | {"is_current": found.is_current}))
    else:
        say(f"schema {config.schema_name!r} at {config.masked_url()}: {found.describe()}")
    raise typer.Exit(0 if found.is_current else 1)


@db.command()
def sql(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    schema: Annotated[str | None, SCHEMA] = None,
) -> None:
    """Print the whole schema as one SQL script. Needs no database.

    Example: horsies db sql --schema jobs
    """
    config = database_config(locator, None, schema)
    typer.echo(migrations.plain_sql(config.schema_name), nl=False)


@db.command()
def url(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    database_url: Annotated[str | None, URL] = None,
    show_password: Annotated[bool, _SHOW_PASSWORD] = False,
    driver: Annotated[str | None, _DRIVER] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Print the URL of the database, for psql and other programs.

    By default the password is shown as ***, so that it does not reach a log; such a URL cannot be used to connect.
    --show-password prints the password. If the app uses an embedded server, the command starts it to find its URL; the
    server stops again if no other process uses it.

    Example: horsies db url instance:app --show-password
    """
    address = database_config(locator, database_url, None).resolve_url()
    shown = address if show_password else LibpqUrl(address).masked()
    if shown != address:
        say("the password is hidden; --show-password shows it", err=True)
    printed = with_driver(shown, driver)
    say(json.dumps({"url": printed}) if as_json else printed)


def _ask[T](config: PostgresConfig, question: Callable[[psycopg.Connection[Any], str], T]) -> T:
    try:
        with Database(config).connect(limit_s=MIGRATION_LIMIT_S) as connection:
            return question(connection, config.schema_name)
    except (psycopg.Error, migrations.SchemaTooNewError) as error:
        raise config.unusable(call_failed(error).message) from error
