"""Actions on many tasks, made by the server functions."""

from collections.abc import Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.db.queries import bulk as bulk_queries
from horsies.db.queries.bulk import BulkActionRow, BulkStepRow
from horsies.monitoring.filters import parse_filter
from tests.support.sessions import Session, call

LIVE = ("PENDING", "CLAIMED", "RUNNING")


def preview(
    session: Session,
    kind: str = "cancel",
    wanted: str = "queue:*",
    statuses: Sequence[str] = LIVE,
    who: str = "ada",
) -> UUID:
    """Preview an action on the tasks of a filter, which must select tasks of ``statuses`` only."""
    new_id = uuid7()
    named = " ".join(f"status:{each}" for each in statuses)
    document = parse_filter(f"{wanted} {named}").unwrap().document()
    call(session, bulk_queries.bulk_preview(new_id, kind, wanted, document, statuses, who))
    return new_id


def control(session: Session, bulk_id: UUID, change: str, kind: str = "cancel", who: str = "ada") -> str | None:
    """Start, stop or resume an action; return its state."""
    return call(session, bulk_queries.bulk_control(bulk_id, kind, change, who, None))


def step(session: Session, bulk_id: UUID, most: int = 1000) -> BulkStepRow | None:
    """Process the next tasks of an action."""
    rows = session.execute("select * from horsies.bulk_step(%s, %s)", (bulk_id, most)).fetchall()
    return BulkStepRow(*rows[0]) if rows else None


def found(session: Session, bulk_id: UUID) -> BulkActionRow:
    """Return what is known about an action."""
    [row] = call(session, bulk_queries.list_bulk_actions(bulk_id, 1))
    return row


def previewed(session: Session, bulk_id: UUID) -> list[UUID]:
    """Return the ids of all tasks of an action."""
    [(ids,)] = session.execute("select task_ids from horsies.bulk_actions where id = %s", (bulk_id,)).fetchall()
    return ids
