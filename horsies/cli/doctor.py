"""``horsies doctor``: finds present and coming problems of a database in use, and says how to fix them."""

from typing import Annotated

import psycopg
import typer

from horsies.cli.database import AS_JSON, LOCATOR, database_config
from horsies.cli.output import print_json, say
from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.embedded.server import EmbeddedError
from horsies.monitoring.diagnosis import examine
from horsies.rendering import printable_line


def doctor(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Find problems of the database, and say how to fix them.

    Exits with 1 if there is a problem.

    Example: horsies doctor instance:app
    """
    config = database_config(locator, None, None)
    try:
        findings = examine(Database(config))
    except (psycopg.Error, EmbeddedError) as error:
        raise config.unusable(call_failed(error).message) from error
    if as_json:
        print_json([finding._asdict() for finding in findings])
    for look, found, fix in [] if as_json else findings:
        mark = "ok " if fix is None else "!! "
        say(f"{mark} {look:<12} {printable_line(found)}" + (f"\n  fix: {fix}" if fix else ""))
    raise typer.Exit(1 if any(finding.fix for finding in findings) else 0)
