"""``horsies workers``."""

from typing import Annotated

import typer

from horsies.cli.database import AS_JSON, LOCATOR, ask, viewer
from horsies.cli.output import print_rows, say

_COLUMNS = (
    "process_name library_version queues processes concurrency running claimed heartbeat_at is_stale clock_skew_s"
)
_MIN_RESPONSES = typer.Option(min=1, metavar="NUMBER", help="With --ping: how many workers have to answer.")
_TIMEOUT = typer.Option(min=0, max=86400, metavar="SECONDS", help="With --ping: how long to wait for the answers.")


def workers(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    ping: Annotated[bool, typer.Option("--ping", help="Show the workers that answer now, with a heartbeat.")] = False,
    min_responses: Annotated[int, _MIN_RESPONSES] = 1,
    timeout: Annotated[float, _TIMEOUT] = 3.0,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List the workers that the database knows, with their claimed tasks.

    With --ping, the exit code is 1 if fewer workers answer than necessary.

    Example: horsies workers instance:app --ping --min-responses=2
    """
    if not ping:
        found = ask(viewer(locator), lambda broker: broker.get_worker_stats())
        print_rows(found, _COLUMNS, lambda: "no workers", found if as_json else None)
        return
    answered = ask(viewer(locator), lambda broker: broker.ping_workers_async(min_responses, round(timeout * 1000)))
    print_rows(answered, _COLUMNS, lambda: "no worker answers", answered if as_json else None)
    if len(answered) < min_responses:
        say(f"{len(answered)} of at least {min_responses} workers answered within {timeout:g} s", err=True)
        raise typer.Exit(1)
