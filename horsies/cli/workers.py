"""``horsies workers``."""

from typing import Annotated

from horsies.cli.database import AS_JSON, LOCATOR, ask, viewer
from horsies.cli.output import print_rows

_COLUMNS = (
    "process_name library_version queues processes concurrency running claimed heartbeat_at is_stale clock_skew_s"
)


def workers(
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List the workers that the database knows, with their claimed tasks.

    Example: horsies workers instance:app
    """
    found = ask(viewer(locator), lambda broker: broker.get_worker_stats())
    print_rows(found, _COLUMNS, lambda: "no workers", found if as_json else None)
