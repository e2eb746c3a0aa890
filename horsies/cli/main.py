"""The console script ``horsies``: its commands, and how it ends."""

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from horsies.cli.celery import translate_celery
from horsies.errors import HorsiesError
from horsies.process import leave_on_stop_signals, open_standard_files
from horsies.rendering import render_error, use_color
from horsies.version import __version__

COMMANDS = {
    "worker": ("worker:worker", "Run tasks until told to stop."),
    "scheduler": ("scheduler:scheduler", "Send the tasks of the app's schedules when they are due."),
    "dev": ("dev:dev", "Run an app for development, with a database of its own, in one terminal."),
    "check": ("check:check", "Look for mistakes in an app, its tasks, workflows and schedules."),
    "send": ("send:send", "Send a task; print its id or, with --wait, its result."),
    "tasks": ("tasks:tasks", "Look at tasks, cancel them, send them again."),
    "why": (
        "why:why",
        "Say in a sentence what tasks are waiting for: their time, a cap, a worker; or runs, for which nodes.",
    ),
    "queues": ("queues:queues", "Look at queues, pause and resume them."),
    "schedules": ("schedules:schedules", "Look at schedules, pause and resume them, run one now."),
    "workflows": ("workflows:workflows", "Look at runs of workflows, pause, resume and cancel them."),
    "workers": ("workers:workers", "List the workers that the database knows, and what each has in hand."),
    "doctor": ("doctor:doctor", "Look for what is wrong with the database, and say what to do."),
    "db": ("db:db", "Create, migrate and inspect the schema."),
}
"""Each command, where below `horsies.cli` it stands, and the first line of its help."""

_STYLE: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


class _Commands(TyperGroup):
    """Imports a command when it is used: ``horsies --help`` and completion need no database driver."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.add_command(load_command(args[0]))
        return super().resolve_command(ctx, args)


def load_command(name: str) -> Any:
    """Import a command, be it a function or a group."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"horsies.cli.{module}"), attribute)
    around = typer.Typer(**_STYLE)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    return typer.main.get_group(around).commands[name]


def _not_loaded() -> None:
    """Stands in the list of commands for one that is not used."""


app = typer.Typer(
    name="horsies",
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **_STYLE,
)
for _name, (_place, _help) in COMMANDS.items():
    app.command(_name, help=_help)(_not_loaded)


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
    open_standard_files()
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # no character that the encoding lacks ends a command
    if os.getpid() == 1:  # without handlers the kernel ignores signals to the first process of a container
        leave_on_stop_signals()
    meant = translate_celery(sys.argv[1:])
    if meant is not None:
        sys.stderr.write(f"Error: the app is the first argument of a command, not an option -A. Write:\n\n  {meant}\n")
        sys.exit(2)
    try:
        app(prog_name="horsies")
    except HorsiesError as error:
        sys.stderr.write(render_error(error, color=use_color(sys.stderr)))
        sys.exit(1)
