"""``horsies db``: the schema of the database."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer

from horsies.cli import grants
from horsies.cli.database import AS_JSON, LOCATOR, SCHEMA, URL, database_config
from horsies.cli.locate import locate
from horsies.cli.output import confirm, print_json, say
from horsies.config.postgres import PostgresConfig
from horsies.config.urls import LibpqUrl, with_driver
from horsies.db import migrate as migrations
from horsies.db import repair as repairs
from horsies.db.connect import MIGRATION_LIMIT_S, Database
from horsies.db.errors import call_failed
from horsies.db.migrate import FirstInstallation
from horsies.db.operations import CallFailedError
from horsies.db.queries.declarations import register_tasks
from horsies.db.rights import Grant, kinds_of, list_grants
from horsies.embedded.server import EmbeddedError
from horsies.errors import raise_all
from horsies.monitoring.texts import counted
from horsies.tasks.declarations import declarations_of

db = typer.Typer(
    no_args_is_help=True,
    help="Create, migrate, repair and inspect the schema.\n\nExample: horsies db migrate instance:app",
)

db.command()(grants.grant)
db.command()(grants.revoke)

_APP = typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")
_INTO_EXISTING = typer.Option("--into-existing", help="Create the tables even if the schema has tables of others.")
_YES = typer.Option("--yes", help="Do not ask for confirmation.")
_SHOW_PASSWORD = typer.Option("--show-password", help="Print the password as well.")
_DRIVER = typer.Option(metavar="NAME", help="For SQLAlchemy: the driver to name in the scheme, such as psycopg.")


@db.command()
def migrate(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    database_url: Annotated[str | None, URL] = None,
    schema: Annotated[str | None, SCHEMA] = None,
    into_existing: Annotated[bool, _INTO_EXISTING] = False,
) -> None:
    """Create the schema, or migrate it to the current version.

    Tables, views and functions that horsies has not created are never changed or dropped.

    Example: horsies db migrate instance:app
    """
    where = FirstInstallation.EXISTING_SCHEMA if into_existing else FirstInstallation.OWN_SCHEMA
    config = database_config(locator, database_url, schema)
    applied = _ask(
        config, lambda connection, name: migrations.migrate(connection, name, where, wait_s=repairs.LONG_WAIT_S)
    )
    say(f"applied: {', '.join(applied)}" if applied else "the schema is up to date")


@db.command()
def status(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    database_url: Annotated[str | None, URL] = None,
    schema: Annotated[str | None, SCHEMA] = None,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Show the version of the schema, the pending migrations, and which roles have which rights.

    Exits with 1 if any migrations are pending.

    Example: horsies db status instance:app
    """
    config = database_config(locator, database_url, schema)
    found, granted = _ask(config, _status)
    if as_json:
        shown = [{"role": each.role, "kind": each.kind, "role_exists": each.exists} for each in granted]
        print_json(asdict(found) | {"is_current": found.is_current, "grants": shown})
    else:
        say(f"schema {config.schema_name!r} at {config.masked_url()}: {found.describe()}")
        for role, kinds, exists in _by_role(granted):
            say(f"  {role}: {', '.join(kinds)}" + ("" if exists else " (the role does not exist)"))
    raise typer.Exit(0 if found.is_current else 1)


@db.command()
def register(
    locator: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")],
) -> None:
    """Register the tasks of an app, so that they can be sent from SQL.

    Workers do this when they start. Run the command in a deployment if tasks are sent before a worker of the new
    version has started. The latest registration of a task applies.

    Example: horsies db register instance:app
    """
    app = locate(locator)
    raise_all(app.check())
    declared = declarations_of(app.config, app.registry)
    config = app.config.broker
    try:
        database = Database(config)
        database.prepare()
        with database.connect() as connection:
            database.ask(connection, register_tasks(None, declared))
    except (psycopg.Error, EmbeddedError, CallFailedError) as error:
        raise config.unusable(call_failed(error).message) from error
    count = counted(len(declared.tasks), "task")
    names = ", ".join(task.task_name for task in declared.tasks)
    listed = f": {names}" if names else ""
    say(f"registered in the schema {config.schema_name!r}: {count} of the app version {declared.version!r}{listed}")


@db.command()
def repair(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    database_url: Annotated[str | None, URL] = None,
    schema: Annotated[str | None, SCHEMA] = None,
    yes: Annotated[bool, _YES] = False,
) -> None:
    """Repair the schema after a dump without data, TRUNCATE, a renamed schema, or changes by hand.

    Prints what is wrong and what will be done, asks for confirmation, repairs it and brings the schema up to date. Run
    it as the owner of the schema. It never deletes tasks or results, and running it again changes nothing.

    Exits with 1 if the schema cannot be repaired, or if the answer is not yes.

    Example: horsies db repair instance:app
    """
    config = database_config(locator, database_url, schema)
    steps = _ask(config, repairs.plan)
    if not steps:
        say("nothing has to be repaired")
        return
    for step in steps:
        say(f"found:  {step.found}")
        say(f"action: {step.action}")
    if not yes:
        confirm(f"repair the schema {config.schema_name!r} at {config.masked_url()}?")
    for action in _ask(config, repairs.repair):
        say(f"done:   {action}")


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


def _status(connection: psycopg.Connection[Any], schema: str) -> tuple[migrations.SchemaStatus, list[Grant]]:
    found = migrations.status(connection, schema)
    return found, list_grants(connection, schema) if found.is_current else []


def _by_role(granted: list[Grant]) -> list[tuple[str, list[str], bool]]:
    roles = {each.role: each.exists for each in granted}
    return [(role, sorted(kinds_of(granted, role)), exists) for role, exists in roles.items()]


def _ask[T](config: PostgresConfig, question: Callable[[psycopg.Connection[Any], str], T]) -> T:
    try:
        with Database(config).connect(limit_s=MIGRATION_LIMIT_S) as connection:
            return question(connection, config.schema_name)
    except (psycopg.Error, *repairs.REPAIR_ERRORS) as error:
        raise config.unusable(call_failed(error).message) from error
