"""``horsies top``."""

import asyncio
import os
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from horsies.app import Horsies
from horsies.cli.database import AS_JSON, LOCATOR, ask, check_readable, operator, viewer
from horsies.cli.filters import query_of
from horsies.cli.output import print_json, print_layout, say
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError
from horsies.monitoring.filters import TaskQuery
from horsies.rendering import use_color
from horsies.top.frame import document, frame, read_whole

INSTALL = "pip install 'textual>=8.0'"
"""Installs the package of the extra ``top``."""

_MOST_TASKS = 100
_FILTER = typer.Argument(metavar="[FILTER]", help="The tasks to show, for example 'status:failed since:2h'.")
_ONCE = typer.Option("--once", help="Print the state once, and exit.")
_ACTIONS = typer.Option("--enable-actions", help="Enable the keys that cancel, rerun, pause and resume.")


def top(
    locator: Annotated[str | None, LOCATOR] = None,
    wanted: Annotated[str, _FILTER] = "",
    *,
    once: Annotated[bool, _ONCE] = False,
    enable_actions: Annotated[bool, _ACTIONS] = False,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Watch queues, tasks, errors, runs and workers in a terminal.

    They are read again every two seconds. The view only shows, unless --enable-actions is given; each action is then
    confirmed. With --once, without a terminal, or without the package textual, the state is printed once.

    Example: horsies top instance:app 'status:failed since:2h'
    """
    query = query_of(wanted)
    is_live = not once and not as_json and _is_terminal()
    if enable_actions and not is_live:
        message = "--enable-actions is for the view in a terminal, and would have no effect here"
        fix = "leave --once and --json out, and run it in a terminal; or use horsies tasks, queues and workflows"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text=fix)
    if is_live and find_spec("textual") is not None:
        _watch(check_readable(viewer(locator)), wanted, enable_actions=enable_actions)
        return
    if is_live and enable_actions:
        raise HorsiesError(ErrorCode.CLI_INVALID_ARGS, _missing(), help_text=f"run: {INSTALL}")
    _print_once(viewer(locator), query, wanted, as_json=as_json)
    if is_live:
        say(f"{_missing()}, so this is the state at one moment; run: {INSTALL}", err=True)


def _missing() -> str:
    return "the view that is read again needs a package that is not installed: textual"


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _print_once(app: Horsies, query: TaskQuery, wanted: str, *, as_json: bool) -> None:
    whole = ask(app, lambda broker: read_whole(broker, query, _MOST_TASKS))
    if as_json:
        print_json(document(whole, wanted))
        return
    database = app.config.broker.masked_url()
    print_layout(lambda width, draws_bars: frame(whole, wanted, database, width, draws_bars=draws_bars))


def _watch(app: Horsies, wanted: str, *, enable_actions: bool) -> None:
    from horsies.top.live import Top, show  # noqa: PLC0415 - its package is optional

    async def run() -> None:
        try:
            broker = app.get_broker(who=operator())
            view = Top(
                broker,
                app.config.broker.masked_url(),
                wanted,
                enable_actions=enable_actions,
                has_colors=use_color(sys.stdout),
            )
            await show(view)
        finally:
            await app.close_async()

    asyncio.run(run())
