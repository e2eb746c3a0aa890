"""The console script ``horsies``: its commands, and how it ends."""

import sys
from typing import Annotated

import typer

from horsies.cli.db import db
from horsies.cli.send import send
from horsies.cli.worker import worker
from horsies.errors import HorsiesError
from horsies.render import render_error, use_color
from horsies.version import __version__

app = typer.Typer(
    name="horsies",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(worker)
app.command()(send)
app.add_typer(db, name="db")


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer's calling convention
    if asked:
        typer.echo(f"horsies {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Horsies: a task queue on PostgreSQL.

    Example: horsies worker instance:app --processes=8
    """


def main() -> None:
    """Run the command line.

    Exit codes: 0 success; 1 a `HorsiesError`, which is printed, or what the command says; 2 wrong usage; 130 Ctrl-C.
    """
    try:
        app(prog_name="horsies")
    except HorsiesError as error:
        sys.stderr.write(render_error(error, color=use_color(sys.stderr)))
        sys.exit(1)
