"""Calls of schedulers, and of commands that show and change schedules."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from horsies.codec.secrets import split_sealed
from horsies.db.adapt import RawJson
from horsies.db.operations import Call, Rows, column, nothing, scalar
from horsies.db.queries.rows import ScheduleState
from horsies.db.queries.tasks import EnqueueRequest
from horsies.db.queries.worker import notify_wake

_DEFINE = (
    "select horsies.schedule_define(%s, %s, %s, %s, %s, %s, %s, %s::json, %s::json, %s::int, %s, %s::timestamptz,"
    " %s::json, %s, %s, %s::float8, %s, %s::json)"
)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = "select horsies.schedule_tick(%s, %s, %s::timestamptz, %s::timestamptz[], %s::timestamptz)"


def due_id(name: str, due: datetime) -> UUID:
    """Return the id of the task that a schedule sends at a due time, as the server function ``due_id`` does."""
    micros = (due - _EPOCH) // _MICROSECOND
    digest = hashlib.sha256(f"{name}\n{micros}".encode()).hexdigest()
    return UUID(f"{micros // 1000:012x}7{digest[:3]}8{digest[3:18]}")


def schedule_lead(names: Sequence[str], holder: UUID, lease: timedelta) -> Call[list[str]]:
    """Acquire or renew the leases of schedules; returns the names of those that ``holder`` leads."""
    sql = "select * from horsies.schedule_lead(%s::text[], %s::uuid, %s::interval)"
    return Call(sql, (list(names), holder, lease), column)


def schedule_release(holder: UUID) -> Call[int]:
    """Release all leases of a scheduler; returns their number."""
    return Call("select horsies.schedule_release(%s::uuid)", (holder,), scalar)


def schedule_states() -> Call[tuple[datetime, dict[str, ScheduleState]]]:
    """Return the time of the database, and all schedules by name."""
    return Call("select * from horsies.schedule_states()", (), _states)


def schedule_define(  # noqa: PLR0913 - one parameter a column
    name: str, config_hash: str, words: str, timezone: str, request: EnqueueRequest, *, first_due: datetime | None
) -> Call[None]:
    """Create or update a schedule; ``first_due`` applies if the hash has changed."""
    retries = None if request.retry_policy is None else RawJson(request.retry_policy)
    public, complete = split_sealed(request.args)
    params = (
        name,
        config_hash,
        words,
        timezone,
        request.task_name,
        request.queue,
        request.priority,
        RawJson(public),
        retries,
        request.timeout_ms,
        request.fingerprint,
        first_due,
        None if request.unique is None else RawJson(request.unique.args),
        None if request.unique is None else request.unique.until,
        None if request.unique is None else request.unique.on_conflict,
        None if request.unique is None else request.unique.max_wait,
        request.key,
        None if complete is None else RawJson(complete),
    )
    return Call(_DEFINE, params, nothing)


def schedule_tick(
    name: str, config_hash: str, due: datetime, due_times: Sequence[datetime], following: datetime
) -> Call[int | None]:
    """Send a task for each due time, and move the schedule to ``following``; returns the number of tasks sent.

    None: another scheduler has run these due times.
    """
    params = (name, config_hash, due, list(due_times), following)
    return Call(_TICK, params, scalar, hint=notify_wake())


def schedule_pause(name: str, *, paused: bool, who: str | None = None) -> Call[bool | None]:
    """Pause or resume a schedule; returns whether that changed anything, or None if there is no such schedule."""
    return Call("select horsies.schedule_pause(%s, %s, %s)", (name, paused, who), scalar)


def schedule_run(name: str, task_id: UUID, *, who: str | None = None) -> Call[UUID | None]:
    """Send the task of a schedule now; returns the task that stands for the send, or None without such a schedule.

    This is another task than the new one if the task is unique, and a live one keeps it from being sent.
    """
    return Call("select horsies.schedule_run(%s, %s, %s)", (name, task_id, who), scalar, hint=notify_wake())


def _states(rows: Rows) -> tuple[datetime, dict[str, ScheduleState]]:
    return rows[0][0], {row[1]: ScheduleState(*row[1:]) for row in rows if row[1] is not None}
