"""``horsies check``."""

import logging
import sys
from contextlib import redirect_stdout
from typing import Annotated, Literal

import typer

from horsies.app import Horsies
from horsies.cli.locate import locate
from horsies.cli.output import print_json, say
from horsies.errors import HorsiesError, flatten
from horsies.events import configure_logging
from horsies.monitoring.texts import counted
from horsies.producer.suppression import sends_suppressed
from horsies.rendering import render_errors, render_warnings, use_color

type _Role = Literal["producer", "worker", "viewer", "operator"]


def check(
    locator: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")],
    *,
    live: Annotated[bool, typer.Option("--live", help="Also check the database, without changing it.")] = False,
    role: Annotated[_Role | None, typer.Option("--for", help="With --live: the purpose of the database role.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the errors as a JSON list.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing if there are no mistakes.")] = False,
) -> None:
    """Look for mistakes in an app, its tasks, workflows and schedules.

    If there are no mistakes, the command prints what it checked and exits with 0. Otherwise it prints each mistake with
    its place in the source and exits with 1. It also prints warnings, for example about an app without tasks or a send
    at import; they do not change the exit code.
    The command sends no tasks, and it needs no database unless --live is given.

    Example: horsies check instance:app --live
    """
    configure_logging("WARNING", "text")
    summary = ""
    try:
        # The output of imported modules must not corrupt the JSON. Suppressed sends are reported as warnings, so they
        # need no log line.
        with redirect_stdout(sys.stderr), sends_suppressed(level=logging.DEBUG):
            app = locate(locator)
            problems = flatten(app.check(live=live, role=role))
            warnings = [] if problems else app.check_warnings(live=live)
            summary = _summary(app)
    except HorsiesError as error:
        problems, warnings = flatten([error]), []
    if as_json:
        found = [_plain(problem, "error") for problem in problems] + [_plain(each, "warning") for each in warnings]
        print_json(found)
    else:
        color = use_color(sys.stderr)
        sys.stderr.write(render_errors(problems, color=color) if problems else "")
        sys.stderr.write(render_warnings(warnings, color=color) if warnings else "")
        if not (problems or quiet):
            say(f"ok: {summary}")
    raise typer.Exit(1 if problems else 0)


def _summary(app: Horsies) -> str:
    schedules = () if app.config.schedule is None else app.config.schedule.schedules
    parts = (
        counted(len(app.list_tasks()), "task"),
        counted(len(app.registry.workflows), "workflow"),
        counted(len(schedules), "schedule"),
    )
    return ", ".join(parts)


def _plain(error: HorsiesError, severity: Literal["error", "warning"]) -> dict[str, object]:
    return {
        "severity": severity,
        "code": error.code,
        "name": error.code.name,
        "message": error.message,
        "file": error.location and error.location.file,
        "line": error.location and error.location.line,
        "notes": error.notes,
        "help": error.help_text,
    }
