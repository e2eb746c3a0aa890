"""Records of the actions of people and programs that operate the queue, by the command line or by `Broker`."""

import getpass
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from horsies.db.operations import Operation, Runner
from horsies.db.queries import audit as audit_queries
from horsies.db.queries.audit import AuditRow
from horsies.monitoring.asking import answered, refused, wrong_limit
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult

ACTIONS = (
    "bulk.preview",
    "bulk.resume",
    "bulk.start",
    "bulk.stop",
    "key.pause",
    "key.resume",
    "queue.cap",
    "queue.limit",
    "queue.pause",
    "queue.resume",
    "run.cancel",
    "run.pause",
    "run.resume",
    "schedule.pause",
    "schedule.resume",
    "schedule.run",
    "task.cancel",
    "task.rerun",
    "task.return",
    "task.send",
    "worker.declare_dead",
)
"""The actions that are recorded."""

_MOST = 1000


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An action of a person or program that operates the queue.

    Attributes:
        id: The id of the record, a UUID as text. Ids are in the order of time.
        acted_at: The time of the action by the clock of the database.
        who: The person or program, as the caller has said.
        database_user: The database role that has logged in.
        action: The name of the action, such as ``queue.pause``; one of `ACTIONS`.
        subjects: The ids or names of what was changed, at most 1,000. An action on more has several records.
        details: The values that were set, and the reason; None: there are none.
    """

    id: str
    acted_at: datetime
    who: str
    database_user: str
    action: str
    subjects: tuple[str, ...]
    details: dict[str, Any] | None

    @classmethod
    def of(cls, row: AuditRow) -> "AuditRecord":
        """Make a record from a row of the database."""
        details = None if row.details is None else json.loads(row.details)
        return cls(str(row.id), row.acted_at, row.who, row.database_user, row.action, tuple(row.subjects), details)


def current_user() -> str:
    """Return the user of the operating system and the host that run this process: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # the user id has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


class AuditLog:
    """The part of the broker that reads the records of actions, and knows in whose name it acts itself.

    Attributes:
        who: The person or program in whose name this object acts, for the records.
    """

    def __init__(self, runner: Runner, who: str | None = None) -> None:
        self.runner = runner
        self.who = who or current_user()

    def get_audit(  # noqa: PLR0913 - one keyword a condition
        self,
        *,
        who: str | None = None,
        actions: Sequence[str] | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> BrokerResult[list[AuditRecord]]:
        """Return the records of actions, the latest first.

        An action that changed nothing has no record. Records are kept as long as ended tasks.

        Args:
            who: The person or program that acted, or its database role; None: anybody.
            actions: The actions, such as ``queue.pause``; None: all.
            subject: The id or name that was acted on; None: any.
            since: An aware datetime; actions at this time or later.
            until: An aware datetime; actions before it.
            before: The id of the last record of the page before; None: the first page.
            limit: The largest number of records, 1 to 1,000.
        """
        return self.runner.run(_get(who, actions, subject, since, until, before, limit))

    async def get_audit_async(  # noqa: PLR0913 - one keyword a condition
        self,
        *,
        who: str | None = None,
        actions: Sequence[str] | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> BrokerResult[list[AuditRecord]]:
        """Like `get_audit`, for asyncio."""
        return await self.runner.run_async(_get(who, actions, subject, since, until, before, limit))


def _get(  # noqa: PLR0913, PLR0917 - one parameter a condition
    who: str | None,
    actions: Sequence[str] | None,
    subject: str | None,
    since: datetime | None,
    until: datetime | None,
    before: str | None,
    limit: int,
) -> Operation[BrokerResult[list[AuditRecord]]]:
    unknown = [action for action in actions or () if action not in ACTIONS]
    if unknown:
        return refused(f"there is no action {short_repr(unknown[0])}; the actions are {', '.join(ACTIONS)}")
    if (wrong := wrong_limit(limit, 1, _MOST)) is not None:
        return wrong
    try:
        last = None if before is None else UUID(before)
    except ValueError:
        return refused(f"before must be the id of a record, got {short_repr(before)}")
    call = audit_queries.list_audit(who, actions, subject, since, until, last, limit)
    found: BrokerResult[list[AuditRow]] = yield from answered(call)
    return found.map(_records)


def _records(rows: list[AuditRow]) -> list[AuditRecord]:
    return [AuditRecord.of(row) for row in rows]
