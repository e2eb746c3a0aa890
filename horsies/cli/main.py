"""The console script ``horsies``: its commands and exit codes."""

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

WHO_VARIABLE = "HORSIES_WHO"
"""The environment variable that names who runs commands, for the records of actions."""

COMMANDS = {
    "worker": ("worker:worker", "Run tasks until the worker is stopped."),
    "scheduler": ("scheduler:scheduler", "Send the tasks of the app's schedules when they are due."),
    "dev": ("dev:dev", "Run an app for development on an embedded PostgreSQL, in one terminal."),
    "check": ("check:check", "Look for mistakes in an app, its tasks, workflows and schedules."),
    "send": ("send:send", "Send a task, and print its id or, with --wait, its result."),
    "tasks": ("tasks:tasks", "Show, cancel and rerun tasks."),
    "why": (
        "why:why",
        "Explain why tasks or runs are waiting: for a time, a cap, a worker or other nodes.",
    ),
    "queues": ("queues:queues", "Show, pause and resume queues, and change their limits."),
    "keys": ("keys:keys", "Show, pause and resume the keys of a queue."),
    "schedules": ("schedules:schedules", "Show, pause, resume and run schedules."),
    "workflows": ("workflows:workflows", "Show, pause, resume and cancel runs of workflows."),
    "workers": ("workers:workers", "List the workers that the database knows, with their claimed tasks."),
    "errors": ("errors:errors", "List the most frequent errors: by task, error code, place in your code and message."),
    "metrics": ("metrics:metrics", "Serve or print metrics of queues, workers, runs and schedules for Prometheus."),
    "web": ("web:web", "Serve pages about queues, tasks and workers to a browser."),
    "top": ("top:top", "Watch queues, tasks, errors, runs and workers in a terminal."),
    "audit": ("audit:audit", "Show who has operated the queue, when, and what was changed."),
    "doctor": ("doctor:doctor", "Find problems of the database, and say how to fix them."),
    "db": ("db:db", "Create, migrate, repair and inspect the schema."),
}
"""For each command, its module and function below `horsies.cli`, and the first line of its help."""

_STYLE: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


class _Commands(TyperGroup):
    """A group that imports a command only when it is used, so that ``horsies --help`` is fast and needs no driver."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.add_command(load_command(args[0]))
        return super().resolve_command(ctx, args)


def load_command(name: str) -> Any:
    """Import a command, which is a function or a group."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(import_module(f"horsies.cli.{module}"), attribute)
    around = typer.Typer(**_STYLE)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    return typer.main.get_group(around).commands[name]


def _not_loaded() -> None:
    """Represents a command that is not used in the list of commands."""


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


def _set_who(name: str | None) -> None:
    """Pass the name on to the command by the environment."""
    if name is not None:
        os.environ[WHO_VARIABLE] = name


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    who: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=_set_who,
            expose_value=False,
            help="Who runs the command, for 'horsies audit'. Default: HORSIES_WHO, or the user and the host.",
        ),
    ] = None,
) -> None:
    """Horsies: a task queue on PostgreSQL.

    Example: horsies worker instance:app --processes=8
    """


def main() -> None:
    """Run the command line.

    Exit codes: 0 for success; 1 after a `HorsiesError`, which is printed, or as a command documents; 2 for wrong usage;
    130 for Ctrl-C.
    """
    open_standard_files()
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a character that the encoding lacks must not end a command
    if os.getpid() == 1:  # the kernel ignores signals without handlers in a container's first process
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
