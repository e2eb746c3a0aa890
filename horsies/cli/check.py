"""``horsies check``."""

import json
import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from horsies.cli.locate import locate
from horsies.errors import HorsiesError, flatten
from horsies.render import render_errors, use_color
from horsies.telemetry import configure_logging


def check(
    locator: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")],
    *,
    live: Annotated[bool, typer.Option("--live", help="Ask the database, too; changes nothing there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the errors as a JSON list.")] = False,
) -> None:
    """Look for mistakes in an app, its tasks, workflows and schedules.

    Prints nothing and exits with 0 if there are none, else prints all with their place in the source and exits with 1.
    Sends nothing, and needs no database unless --live is given.

    Example: horsies check instance:app --live
    """
    configure_logging("WARNING", "text")
    try:
        with redirect_stdout(sys.stderr):  # modules that print must not spoil the JSON
            problems = flatten(locate(locator).check(live=live))
    except HorsiesError as error:
        problems = flatten([error])
    if as_json:
        typer.echo(json.dumps([_plain(problem) for problem in problems], ensure_ascii=False))
    elif problems:
        sys.stderr.write(render_errors(problems, color=use_color(sys.stderr)))
    raise typer.Exit(1 if problems else 0)


def _plain(error: HorsiesError) -> dict[str, object]:
    return {
        "code": error.code,
        "name": error.code.name,
        "message": error.message,
        "file": error.location and error.location.file,
        "line": error.location and error.location.line,
        "notes": error.notes,
        "help": error.help_text,
    }
