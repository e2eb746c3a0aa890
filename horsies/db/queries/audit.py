"""The call that reads the records of actions by people and programs that operate the queue."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from horsies.db.operations import Call, many


class AuditRow(NamedTuple):
    """A row of `horsies.list_audit`; see `horsies.monitoring.audit.AuditRecord`."""

    id: UUID
    acted_at: datetime
    who: str
    database_user: str
    action: str
    subjects: list[str]
    details: bytes | None


def list_audit(  # noqa: PLR0913, PLR0917 - those of the server function
    who: str | None,
    actions: Sequence[str] | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
    before: UUID | None,
    limit: int,
) -> Call[list[AuditRow]]:
    """Return the records that match, the latest first; a condition that is None matches all."""
    sql = "select * from horsies.list_audit(%s, %s::text[], %s, %s::timestamptz, %s::timestamptz, %s::uuid, %s::int)"
    given = None if actions is None else list(actions)
    return Call(sql, (who, given, subject, since, until, before, limit), many(AuditRow))
