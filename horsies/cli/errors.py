"""``horsies errors``: lists the most frequent errors."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from horsies.cli.bulk import parse_time
from horsies.cli.database import AS_JSON, LOCATOR, ask, viewer
from horsies.cli.output import print_rows, say, utc
from horsies.monitoring.error_groups import ErrorGroups, errors_async

_SINCE = typer.Option(parser=parse_time, metavar="TIME", help="Failures from this hour (UTC) on. Default: a day ago.")
_UNTIL = typer.Option(parser=parse_time, metavar="TIME", help="Failures of hours that begin before this time (UTC).")
_NAME = typer.Option("--name", help="Only errors of the task with this name.")
_ERROR_CODE = typer.Option("--error-code", metavar="CODE", help="Only errors with this code.")
_LIMIT = typer.Option("--limit", min=1, max=10_000, help="Maximum number of error groups.")
_COLUMNS = "number task_name error_code frame message first_seen last_seen example_id"
_DAY = timedelta(days=1)


def errors(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    since: Annotated[datetime | None, _SINCE] = None,
    until: Annotated[datetime | None, _UNTIL] = None,
    name: Annotated[str | None, _NAME] = None,
    error_code: Annotated[str | None, _ERROR_CODE] = None,
    limit: Annotated[int, _LIMIT] = 20,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List the most frequent errors: by task, error code, place in your code and message.

    Each attempt that failed counts, whether its task was retried or not. Numbers and ids in messages are replaced by #.
    EXAMPLE ID is the task that failed last. A minute is counted when it has ended.

    Example: horsies errors instance:app --name send_invoice
    """
    now = datetime.now(UTC)
    first, end = since or now - _DAY, until or now + _DAY
    found = ask(
        viewer(locator),
        lambda broker: errors_async(broker, first, end, task_name=name, error_code=error_code, limit=limit),
    )
    print_rows(found.groups, _COLUMNS, lambda: "no such errors", found if as_json else None)
    if not found.is_complete:
        say("there are more errors: give a higher --limit", err=True)
    if (unknown := _unknown(found, first)) is not None:
        say(unknown, err=True)


def _unknown(found: ErrorGroups, since: datetime) -> str | None:
    """Return which failures are not counted; None: all are."""
    if found.known_since is None or found.known_until is None or found.as_of is None:
        return "no failures are counted yet: start a worker, which counts them every minute"
    if found.as_of - found.known_until > timedelta(minutes=10):
        return f"failures after {utc(found.known_until)} are not counted yet: start a worker, which counts them"
    if found.known_since > since:
        return f"failures before {utc(found.known_since)} are not counted"
    return None
