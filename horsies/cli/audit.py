"""``horsies audit``: shows who has operated the queue."""

import json
from datetime import datetime
from types import SimpleNamespace
from typing import Annotated

import typer

from horsies.cli.bulk import parse_time
from horsies.cli.database import AS_JSON, LOCATOR, ask, viewer
from horsies.cli.output import print_rows, say
from horsies.monitoring.audit import AuditRecord

audit = typer.Typer(
    no_args_is_help=True,
    help="Show who has operated the queue, when, and what was changed.\n\n"
    "Example: horsies audit list instance:app --action queue.pause",
)

_BY = typer.Option("--by", metavar="NAME", help="Only actions of this person, program or database user.")
_ACTION = typer.Option("--action", metavar="ACTION", help="Only this action, such as task.cancel; may be repeated.")
_SUBJECT = typer.Option("--subject", metavar="ID_OR_NAME", help="Only actions on this task, run, queue or schedule.")
_SINCE = typer.Option(parser=parse_time, metavar="TIME", help="Only actions at this time (UTC) or later.")
_UNTIL = typer.Option(parser=parse_time, metavar="TIME", help="Only actions before this time (UTC).")
_BEFORE = typer.Option("--before", metavar="ID", help="Continue a list: only actions before this record.")
_LIMIT = typer.Option("--limit", min=1, max=1000, help="Maximum number of records.")
_COLUMNS = "acted_at who database_user action subjects details"
_SHOWN_SUBJECTS = 3


@audit.command("list")
def list_(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    by: Annotated[str | None, _BY] = None,
    action: Annotated[list[str] | None, _ACTION] = None,
    subject: Annotated[str | None, _SUBJECT] = None,
    since: Annotated[datetime | None, _SINCE] = None,
    until: Annotated[datetime | None, _UNTIL] = None,
    before: Annotated[str | None, _BEFORE] = None,
    limit: Annotated[int, _LIMIT] = 20,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List the actions of commands and of monitoring programs that changed something, the latest first.

    The table shows the first three subjects of an action; --json shows all.

    Example: horsies audit list instance:app --action task.cancel --action task.rerun --since 2026-11-25
    """
    found = ask(
        viewer(locator),
        lambda broker: broker.get_audit_async(
            who=by, actions=action, subject=subject, since=since, until=until, before=before, limit=limit
        ),
    )
    print_rows([_row(each) for each in found], _COLUMNS, lambda: "no such actions", found if as_json else None)
    if len(found) == limit:
        say(f"there may be more records; to continue: --before {found[-1].id}", err=True)


def _row(record: AuditRecord) -> SimpleNamespace:
    """Return a record as a row of the table."""
    others = len(record.subjects) - _SHOWN_SUBJECTS
    subjects = ", ".join(each or "''" for each in record.subjects[:_SHOWN_SUBJECTS])
    return SimpleNamespace(
        acted_at=record.acted_at,
        who=record.who,
        database_user=record.database_user,
        action=record.action,
        subjects=subjects + (f" and {others:,} more" if others > 0 else ""),
        details=None if record.details is None else json.dumps(record.details, ensure_ascii=False),
    )
