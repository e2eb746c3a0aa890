"""Calls for actions on many tasks: their preview, their batches, and what is known about them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from horsies.db.operations import Call, Notice, first, many, nothing, scalar


class BulkActionRow(NamedTuple):
    """A row of `horsies.list_bulk_actions`; see `horsies.monitoring.bulk.BulkAction`."""

    id: UUID
    action: str
    state: str
    filter: str
    statuses: list[str]
    total: int
    is_cut: bool
    left_out: int
    processed: int
    changed: int
    created_at: datetime
    created_by: str
    acted_by: str | None
    started_at: datetime | None
    ended_at: datetime | None
    idle_s: float | None
    failure: str | None
    sample: list[UUID]


class BulkStepRow(NamedTuple):
    """A row of `horsies.bulk_step`."""

    state: str
    processed: int
    cancelled: list[UUID]


def bulk_preview(  # noqa: PLR0913, PLR0917 - those of the server function
    new_id: UUID, action: str, text: str, document: str, statuses: Sequence[str], who: str | None
) -> Call[None]:
    """Store the tasks that a filter selects, for an action on them.

    Args:
        new_id: the id of the action.
        action: ``cancel`` or ``rerun``.
        text: the filter, as the user wrote it.
        document: the filter for `horsies.find_tasks`, which selects tasks of ``statuses`` only.
        statuses: the statuses of tasks to which the action applies.
        who: the person or program that operates the queue.
    """
    params = (new_id, action, text, document, list(statuses), who)
    return Call("select horsies.bulk_preview(%s, %s, %s, %s::json, %s::text[], %s)", params, nothing)


def bulk_control(action_id: UUID, action: str, change: str, who: str | None, reason: str | None) -> Call[str | None]:
    """``start``, ``stop`` or ``resume`` an action; returns its state, or None if there is none of this kind."""
    params = (action_id, action, change, who, reason)
    return Call("select horsies.bulk_control(%s, %s, %s, %s, %s)", params, scalar)


def bulk_step(action_id: UUID, hint: Notice | None = None) -> Call[BulkStepRow | None]:
    """Process the next batch of an action; None: there is no such action."""
    return Call("select * from horsies.bulk_step(%s)", (action_id,), first(BulkStepRow), hint=hint)


def list_bulk_actions(action_id: UUID | None, limit: int) -> Call[list[BulkActionRow]]:
    """Return the actions, the latest first, or the one with an id."""
    return Call("select * from horsies.list_bulk_actions(%s::uuid, %s::int)", (action_id, limit), many(BulkActionRow))
