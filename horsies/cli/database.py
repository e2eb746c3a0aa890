"""Finding and querying the database of a command. An app, options or the environment name it."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterable

import typer

from horsies.app import Horsies
from horsies.cli.locate import locate
from horsies.cli.main import WHO_VARIABLE
from horsies.codes import BrokerErrorCode
from horsies.config.app import AppConfig
from horsies.config.postgres import DEFAULT_SCHEMA, DEV_URL_VARIABLE, PostgresConfig, schema_name_problem
from horsies.config.urls import parse_url
from horsies.errors import ConfigurationError, ErrorCode
from horsies.monitoring import queue_status_async
from horsies.monitoring.audit import current_user
from horsies.monitoring.broker import Broker
from horsies.producer.handle import BrokerResult, parse_id
from horsies.result import Err
from horsies.suggestions import suggest

_KEYED = "give the queue max_concurrency_per_key, rate_limit_per_key or takes_turns, and start a worker"
_LIKE_AN_APP = re.compile(r"[A-Za-z_./][\w./ ]*(:\w+)?")

LOCATOR = typer.Argument(metavar="MODULE:APP", help="The app whose database is used.")
URL = typer.Option(metavar="URL", help="Use this database instead of that of an app. Default: the environment's.")
SCHEMA = typer.Option(help="The schema in that database, if it is not 'horsies'.")
AS_JSON = typer.Option("--json", help="Print JSON.")
IDS = typer.Argument(metavar="[MODULE:APP] TASK_ID", help="The app whose database is used, and ids of tasks.")


def database_config(locator: str | None, database_url: str | None, schema: str | None) -> PostgresConfig:
    """Return the configuration of the database that an app, the options or the environment name.

    Raises:
        ConfigurationError: HRS-206, both an app and options are given; other codes if the app or an option is invalid.
    """
    if locator is None:
        _check_options(database_url, schema)
        if database_url is not None:  # the option overrides the variable for `horsies dev`
            os.environ.pop(DEV_URL_VARIABLE, None)
        return PostgresConfig(database_url=database_url, schema=schema or DEFAULT_SCHEMA)
    if database_url is not None or schema is not None:
        message = "give an app, or --database-url and --schema, not both"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text="the app knows its database")
    return locate(locator).config.broker


def _check_options(database_url: str | None, schema: str | None) -> None:
    """Refuse values that `PostgresConfig` would refuse, with messages that name the options of the command line."""
    if database_url is not None:
        parse_url(database_url, "--database-url")
    problem = None if schema is None else schema_name_problem(schema)
    if problem is not None:
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, f"--schema {problem}")


def viewer(locator: str | None) -> Horsies:
    """Return an app without tasks, for reading a database. It creates no schema and imports no modules of the user."""
    config = database_config(locator, None, None)
    return Horsies(AppConfig(broker=config.model_copy(update={"auto_migrate": False})))


def operator() -> str:
    """Return who runs the command, for the records of actions: as the environment says, or ``user@host``."""
    return os.environ.get(WHO_VARIABLE) or current_user()


def ask[R](app: Horsies, question: Callable[[Broker], Awaitable[BrokerResult[R]]]) -> R:
    """Run an operation of an app's broker.

    Raises:
        ConfigurationError: HRS-211, the operation failed.
    """

    async def answer() -> BrokerResult[R]:
        try:
            return await question(app.get_broker(who=operator()))
        finally:
            await app.close_async()

    return granted(app, asyncio.run(answer()))


def check_readable(app: Horsies) -> Horsies:
    """Return the app if its database can be read, or does not answer now and may come back.

    Raises:
        ConfigurationError: HRS-211, the schema is missing or outdated, or the role lacks rights.
    """

    async def answer() -> BrokerResult[object]:
        try:
            return await queue_status_async(app.get_broker(who=operator()))
        finally:
            await app.close_async()

    found = asyncio.run(answer())
    if isinstance(found, Err) and not found.err_value.retryable:
        granted(app, found)
    return app


def granted[R](app: Horsies, answer: BrokerResult[R]) -> R:
    """Return the value of a result, or raise its error as an error about the database."""
    if isinstance(answer, Err):
        if answer.error.code is BrokerErrorCode.QUEUE_NOT_KEYED:
            raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, answer.error.message, help_text=_KEYED)
        raise app.config.broker.unusable(answer.err_value.message)
    return answer.ok_value


def split_ids(arguments: Iterable[str], *, needed: str = "") -> tuple[str | None, list[str]]:
    """Separate the app from the ids in arguments that may be in any order.

    Raises:
        ConfigurationError: HRS-206, an argument is neither an id nor the only app.
        BadParameter: there are no ids, but ``needed`` says that at least one is required.
    """
    given = list(arguments)
    ids = [each for each in given if parse_id(each) is not None]
    locator = next((each for each in given if parse_id(each) is None and _LIKE_AN_APP.fullmatch(each)), None)
    unknown = [each for each in given if parse_id(each) is None and each is not locator]
    if unknown:
        message = f"there is no {needed or 'task'} {unknown[0]!r}: the id of a {needed or 'task'} is a UUID"
        if locator is None:
            message = f"{unknown[0]!r} is neither the id of a {needed or 'task'}, which is a UUID, nor an app"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text="write [MODULE:APP] ID")
    if needed and not ids:
        message = f"name a {needed} by its id, a UUID" + (f"; {locator!r} is taken for an app" if locator else "")
        raise typer.BadParameter(message)
    return locator, ids


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'mail'?``, or an empty string if the text is known or no known one is similar."""
    names = sorted(set(known))
    question = None if given in names else suggest(given, names)
    return "" if question is None else f"; {question}"
