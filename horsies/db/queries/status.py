"""Calls for figures about the present: queues, waiting tasks and workflow runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from horsies.db.operations import Call, many, scalar


class QueueStatusRow(NamedTuple):
    """A row of `horsies.queue_status`."""

    name: str
    waiting: int
    waiting_accuracy: str
    scheduled: int
    scheduled_accuracy: str
    counted_at: datetime | None
    held: int
    claimed: int
    running: int
    oldest_due_at: datetime | None
    paused: bool
    held_until: datetime | None
    max_concurrency: int | None
    workers: int
    clock: datetime


class WaitingReasonRow(NamedTuple):
    """A row of `horsies.waiting_reasons`."""

    queue: str
    task_name: str
    reason: str
    tasks: int
    accuracy: str
    counted_at: datetime | None
    clock: datetime


class RunCountRow(NamedTuple):
    """A row of `horsies.run_counts`."""

    status: str
    runs: int
    is_exact: bool
    clock: datetime


class InFlightRow(NamedTuple):
    """A row of `horsies.in_flight_tasks`."""

    id: UUID
    queue: str
    task_name: str
    status: str
    worker_id: UUID | None
    process_name: str | None
    attempt: int
    claimed_at: datetime | None
    started_at: datetime | None
    clock: datetime


def in_flight_tasks(queue: str | None, limit: int) -> Call[list[InFlightRow]]:
    """List the claimed and running tasks, of a queue or of all, those that are held for the longest time first."""
    return Call("select * from horsies.in_flight_tasks(%s, %s)", (queue, limit), many(InFlightRow))


def queue_status(names: Sequence[str]) -> Call[list[QueueStatusRow]]:
    """Return the state of the queues with these names, and of all others that the database knows."""
    return Call("select * from horsies.queue_status(%s::text[])", (list(names),), many(QueueStatusRow))


def waiting_reasons() -> Call[list[WaitingReasonRow]]:
    """Count waiting tasks by queue, name and reason."""
    return Call("select * from horsies.waiting_reasons()", (), many(WaitingReasonRow))


def run_counts(ended_within_s: float) -> Call[list[RunCountRow]]:
    """Count workflow runs by status: live ones, and those that ended in the last seconds."""
    return Call("select * from horsies.run_counts(%s::float8)", (ended_within_s,), many(RunCountRow))


def backlog(queue: str) -> Call[int]:
    """Return how many tasks of a queue occupy or need a place in a worker."""
    return Call("select horsies.backlog(%s)", (queue,), scalar)


def count_waiting() -> Call[int]:
    """Count all waiting tasks if there are more than `waiting_figures` counts; returns how many were counted."""
    return Call("select horsies.count_waiting()", (), scalar)
