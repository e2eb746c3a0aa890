"""Calls for monitoring and operation: stale and expired tasks, workers, queues, bulk commands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from horsies.db.operations import Call, Notice, Rows, column, many, nothing, scalar
from horsies.db.queries.rows import (
    CurrentSampleRow,
    HealthRow,
    RerunnableRow,
    RerunVerdict,
    SampleRow,
    TaskInfoRow,
    WaitingNameRow,
    Why,
    WorkerStats,
)
from horsies.db.queries.worker import announce, notify_wake

_ALL = 2**31 - 1
_NOTIFY_CANCEL = "select horsies.notify_cancel_many(%s::uuid[])"
_TASKS = "select info.* from FOUND as found (id) cross join lateral horsies.task_info(found.id, %s) as info"


def _tasks(found: str, *params: object, with_args: bool = False) -> Call[list[TaskInfoRow]]:
    """Return the tasks whose ids the SQL expression ``found`` returns."""
    return Call(_TASKS.replace("FOUND", found), (*params, with_args), many(TaskInfoRow))


def stale_tasks(stale_after_s: float, limit: int) -> Call[list[TaskInfoRow]]:
    """Return the claimed and running tasks of workers without a heartbeat for ``stale_after_s``, oldest claim first."""
    return _tasks("horsies.stale_tasks(%s::float8, %s)", stale_after_s, limit)


def expired_tasks(limit: int) -> Call[list[TaskInfoRow]]:
    """Return tasks of the last day that were not started by their deadline, latest deadline first."""
    return _tasks("horsies.expired_tasks(%s)", limit)


def health() -> Call[HealthRow]:
    """Return measurements of the health of a server in use."""
    return Call("select * from horsies.health()", (), lambda rows: HealthRow(*rows[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Conditions that select tasks; None: any.

    Attributes:
        statuses: the statuses.
        queue: the queue.
        name: the name of the task.
        codes: the error codes.
        since: ended at this time or later; selects ended tasks only.
        until: ended before this time; selects ended tasks only.
    """

    statuses: Sequence[str] | None = None
    queue: str | None = None
    name: str | None = None
    codes: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None

    def params(self) -> tuple[object, ...]:
        """Return the conditions in the order of the parameters of the server functions."""
        statuses = None if self.statuses is None else list(self.statuses)
        codes = None if self.codes is None else list(self.codes)
        return statuses, self.queue, self.name, codes, self.since, self.until


_LIST = "horsies.list_tasks(%s::text[], %s, %s, %s::text[], %s::timestamptz, %s::timestamptz, %s)"
_RERUNNABLE = (
    "select * from horsies.rerunnable(%s::text[], %s, %s, %s::text[], %s::timestamptz, %s::timestamptz, %s, %s)"
)


def list_tasks(wanted: TaskFilter, limit: int, *, with_args: bool = False) -> Call[list[TaskInfoRow]]:
    """Return the tasks that match, latest sent first."""
    return _tasks(_LIST, *wanted.params(), limit, with_args=with_args)


def find_tasks(
    document: str, before: UUID | None, limit: int, *, with_args: bool = False
) -> Call[tuple[list[TaskInfoRow], UUID | None, bool]]:
    """Return the tasks that match a filter, latest sent first, where the search continues, and whether it was cut."""
    sql = (
        "select found.next_before, found.is_cut, info.*"
        " from horsies.find_tasks(%s::json, %s, %s) as found"
        " left join lateral unnest(found.ids) with ordinality as each (id, place) on true"
        " left join lateral horsies.task_info(each.id, %s) as info on true order by each.place"
    )
    return Call(sql, (document, before, limit, with_args), _page)


def _page(rows: Rows) -> tuple[list[TaskInfoRow], UUID | None, bool]:
    next_before, is_cut = rows[0][:2]
    return [TaskInfoRow(*row[2:]) for row in rows if row[2] is not None], next_before, is_cut


def live_ids(queue: str | None, name: str | None) -> Call[list[UUID]]:
    """Return the ids of all live tasks by queue and name (None: any), latest sent first."""
    wanted = TaskFilter(statuses=["PENDING", "CLAIMED", "RUNNING"], queue=queue, name=name)
    sql = "select * from horsies.list_tasks(%s::text[], %s, %s, %s::text[], %s::timestamptz, %s::timestamptz, %s, %s)"
    return Call(sql, (*wanted.params(), _ALL, 0), column)


def ended_codes() -> Call[list[str]]:
    """Return the distinct error codes of the latest ended tasks."""
    return Call("select * from horsies.ended_codes()", (), column)


def cancel_many(task_ids: Sequence[UUID], *, who: str | None = None) -> Call[list[UUID]]:
    """Cancel those of the tasks that have not ended; returns their ids."""
    hint = Notice(_NOTIFY_CANCEL, (list(task_ids),), nothing)
    return Call("select * from horsies.cancel_many(%s::uuid[], %s)", (list(task_ids), who), column, hint=hint)


def notify_cancel_many(task_ids: Sequence[UUID]) -> Call[None]:
    """Notify workers and waiters that tasks were cancelled."""
    return Call(_NOTIFY_CANCEL, (list(task_ids),), nothing)


def rerunnable(wanted: TaskFilter, limit: int, *, again: bool = False) -> Call[RerunnableRow]:
    """Select the tasks of a bulk rerun, earliest end first; ``again`` includes tasks that were rerun before."""
    return Call(_RERUNNABLE, (*wanted.params(), again, limit), lambda rows: RerunnableRow(*rows[0]))


def _verdicts(rows: Rows) -> dict[UUID, RerunVerdict]:
    return {row[0]: row[1] for row in rows}


def rerun_many(
    origins: Sequence[UUID],
    known: Sequence[int],
    new_ids: Sequence[UUID],
    *,
    who: str | None = None,
    trace_context: bytes | None = None,
) -> Call[dict[UUID, RerunVerdict]]:
    """Rerun ended tasks, each only if it still has the known number of reruns; returns a verdict for each."""
    context = None if trace_context is None else trace_context.decode()
    params = (list(origins), list(known), list(new_ids), who, context)
    sql = "select * from horsies.rerun_many(%s::uuid[], %s::int[], %s::uuid[], %s, trace => %s::json)"
    return Call(sql, params, _verdicts, hint=notify_wake())


def waiting_names(limit: int) -> Call[list[WaitingNameRow]]:
    """Count waiting tasks by name and queue, up to ``limit``; also returns whether a worker can run them."""
    return Call("select * from horsies.waiting_names(%s)", (limit,), many(WaitingNameRow))


def _worker(*row: Any) -> WorkerStats:
    given = WorkerStats(*row)
    return replace(
        given,
        worker_id=str(given.worker_id),
        queues=tuple(given.queues),
        task_names=tuple(given.task_names),
        clock_skew_s=None if given.clock_skew_s is None else round(given.clock_skew_s, 3),
    )


def worker_stats() -> Call[list[WorkerStats]]:
    """Return all registered workers."""
    return Call("select * from horsies.worker_stats()", (), many(_worker))


class WorkerChildrenRow(NamedTuple):
    """A row of `horsies.worker_children`."""

    worker_id: UUID
    app_version: str | None
    children: bytes | None


class NewVersionRow(NamedTuple):
    """A row of `horsies.new_versions`."""

    app_version: str
    appeared_at: datetime


def worker_children() -> Call[list[WorkerChildrenRow]]:
    """Return what each worker has said about its children."""
    return Call("select * from horsies.worker_children()", (), many(WorkerChildrenRow))


def new_versions(since: datetime, limit: int) -> Call[list[NewVersionRow]]:
    """Return the versions of the app whose first worker was started at a time or later, the latest first."""
    return Call("select * from horsies.new_versions(%s::timestamptz, %s::int)", (since, limit), many(NewVersionRow))


def retry_forecast(task_id: UUID) -> Call[list[float]]:
    """Return the delays in seconds before the further retries of a live task, if its attempts keep failing."""
    return Call("select f.delay from horsies.retry_forecast(%s) as f where f.delay is not null", (task_id,), column)


def request_heartbeats() -> Call[datetime]:
    """Ask all workers for a heartbeat now; returns the time of the server, before all answers."""
    return Call("select horsies.request_heartbeats()", (), scalar)


def reap_stale(stale_after_s: float, limit: int, *, who: str | None = None) -> Call[int]:
    """Declare workers without a recent heartbeat dead, and reap their tasks; returns the number of running ones."""
    return Call("select horsies.reap_stale(%s::float8, %s, %s)", (stale_after_s, limit, who), scalar, hint=announce())


def return_stale_to_queue(
    stale_after_s: float, limit: int, silent: Sequence[UUID] | None = None, *, who: str | None = None
) -> Call[int]:
    """Return claimed tasks of silent workers to the queue; returns their number.

    Args:
        stale_after_s: the age of the last heartbeat by the clock of the server, in seconds.
        limit: the largest number of tasks.
        silent: the workers that the caller has seen silent, instead of those without a recent heartbeat.
        who: the person or program that operates the queue, for the record; None: a worker, without a record.
    """
    params = (stale_after_s, limit, None if silent is None else list(silent), who)
    sql = "select horsies.return_stale_to_queue(%s::float8, %s::int, %s::uuid[], %s)"
    return Call(sql, params, scalar, hint=announce())


def queue_control(name: str, action: str, cap: int | None = None, *, who: str | None = None) -> Call[bool]:
    """``pause``, ``resume`` or ``cap`` a queue; returns whether that changed anything."""
    sql = "select horsies.queue_control(%s, %s, %s::int, %s)"
    return Call(sql, (name, action, cap, who), scalar, hint=announce())


def sample(keep_hours: float | None) -> Call[int]:
    """Compute the samples of the minutes that have ended; returns their number, 10 or more if there may be more."""
    return Call("select horsies.sample(%s::float8)", (keep_hours,), scalar)


def sample_errors() -> Call[int]:
    """Count the failed attempts of a few minutes by error group; returns the number of minutes."""
    return Call("select horsies.sample_errors()", (), scalar)


def throughput(  # noqa: PLR0913, PLR0917 - those of the server function
    period_s: int, since: datetime, until: datetime, queue: str | None, name: str | None, limit: int
) -> Call[list[SampleRow]]:
    """Return samples, with the time that they cover, earliest first."""
    sql = "select * from horsies.throughput(%s, %s::timestamptz, %s::timestamptz, %s, %s, %s)"
    return Call(sql, (period_s, since, until, queue, name, limit), many(SampleRow))


def current_throughput(
    since: datetime, until: datetime, queue: str | None, name: str | None, limit: int
) -> Call[list[CurrentSampleRow]]:
    """Return the counts of minutes that are not sampled yet, earliest first."""
    sql = "select * from horsies.current_throughput(%s::timestamptz, %s::timestamptz, %s, %s, %s)"
    return Call(sql, (since, until, queue, name, limit), many(CurrentSampleRow))


def why(task_id: UUID) -> Call[Why]:
    """Return why a task is waiting."""
    return Call("select * from horsies.why(%s)", (task_id,), lambda rows: Why(*rows[0]))


def ping() -> Call[None]:
    """Check that the database answers."""
    return Call("select from horsies.database_identity()", (), nothing)
