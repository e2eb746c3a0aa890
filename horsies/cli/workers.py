"""``horsies workers``."""

from typing import Annotated

import typer

from horsies.cli.database import AS_JSON, LOCATOR, ask, viewer
from horsies.cli.output import print_json, print_table

_COLUMNS = "process_name library_version queues processes concurrency running claimed heartbeat_at is_stale"


def workers(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List the workers that the database knows, and what each has in hand.

    Example: horsies workers instance:app
    """
    found = ask(viewer(locator), lambda broker: broker.get_worker_stats())
    if as_json:
        print_json(found)
    elif found:
        print_table(found, _COLUMNS)
    else:
        typer.echo("no workers", err=True)
