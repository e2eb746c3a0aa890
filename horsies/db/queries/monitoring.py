"""The calls of who watches over the queue: what is stale or late, who works, and what to do about the dead."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from horsies.db.operations import Call, Rows, column, many, nothing, scalar
from horsies.db.queries.rows import (
    HealthRow,
    QueueStats,
    RerunnableRow,
    RerunVerdict,
    TaskInfoRow,
    WaitingNameRow,
    Why,
    WorkerStats,
)
from horsies.db.queries.worker import notify_wake

_ALL = 2**31 - 1
_TASKS = "select info.* from FOUND as found (id) cross join lateral horsies.task_info(found.id, %s) as info"


def _tasks(found: str, *params: object, with_args: bool = False) -> Call[list[TaskInfoRow]]:
    """The tasks whose ids a server function finds."""
    return Call(_TASKS.replace("FOUND", found), (*params, with_args), many(TaskInfoRow))


def stale_tasks(stale_after_s: float, most: int) -> Call[list[TaskInfoRow]]:
    """Tasks in hand of workers without a heartbeat for so many seconds, oldest claim first."""
    return _tasks("horsies.stale_tasks(%s::float8, %s)", stale_after_s, most)


def expired_tasks(most: int) -> Call[list[TaskInfoRow]]:
    """Tasks that were not started by their deadline, of a day, the latest deadline first."""
    return _tasks("horsies.expired_tasks(%s)", most)


def health() -> Call[HealthRow]:
    """What may go wrong with a server in use, in numbers."""
    return Call("select * from horsies.health()", (), lambda rows: HealthRow(*rows[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks are meant; None: any. Both times are those of a task's end, so with them only ended tasks are."""

    statuses: Sequence[str] | None = None
    queue: str | None = None
    name: str | None = None
    codes: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None

    def params(self) -> tuple[object, ...]:
        """The conditions in the order in which the server functions take them."""
        statuses = None if self.statuses is None else list(self.statuses)
        codes = None if self.codes is None else list(self.codes)
        return statuses, self.queue, self.name, codes, self.since, self.until


_LIST = "horsies.list_tasks(%s::text[], %s, %s, %s::text[], %s::timestamptz, %s::timestamptz, %s)"
_RERUNNABLE = (
    "select * from horsies.rerunnable(%s::text[], %s, %s, %s::text[], %s::timestamptz, %s::timestamptz, %s, %s)"
)


def list_tasks(wanted: TaskFilter, most: int, *, with_args: bool = False) -> Call[list[TaskInfoRow]]:
    """Tasks that fit the conditions, the latest sent first."""
    return _tasks(_LIST, *wanted.params(), most, with_args=with_args)


def live_ids(queue: str | None, name: str | None) -> Call[list[UUID]]:
    """The ids of all live tasks of a queue, of a name (None: of all), the latest sent first."""
    wanted = TaskFilter(statuses=["PENDING", "CLAIMED", "RUNNING"], queue=queue, name=name)
    sql = "select * from horsies.list_tasks(%s::text[], %s, %s, %s::text[], %s::timestamptz, %s::timestamptz, %s, %s)"
    return Call(sql, (*wanted.params(), _ALL, 0), column)


def ended_codes() -> Call[list[str]]:
    """The error codes of the latest ended tasks, each once."""
    return Call("select * from horsies.ended_codes()", (), column)


def cancel_many(task_ids: Sequence[UUID]) -> Call[list[UUID]]:
    """End those of the tasks that have not ended; answers which these were."""
    hint = Call("select horsies.notify_cancel_many(%s::uuid[])", (list(task_ids),), nothing)
    return Call("select * from horsies.cancel_many(%s::uuid[])", (list(task_ids),), column, hint=hint)


def rerunnable(wanted: TaskFilter, most: int, *, again: bool = False) -> Call[RerunnableRow]:
    """Which tasks a bulk rerun sends again, those that ended first coming first."""
    return Call(_RERUNNABLE, (*wanted.params(), again, most), lambda rows: RerunnableRow(*rows[0]))


def _verdicts(rows: Rows) -> dict[UUID, RerunVerdict]:
    return {row[0]: row[1] for row in rows}


def rerun_many(
    origins: Sequence[UUID], known: Sequence[int], new_ids: Sequence[UUID]
) -> Call[dict[UUID, RerunVerdict]]:
    """Send ended tasks again that have as many reruns as is known; answers what became of each."""
    params = (list(origins), list(known), list(new_ids))
    sql = "select * from horsies.rerun_many(%s::uuid[], %s::int[], %s::uuid[])"
    return Call(sql, params, _verdicts, hint=notify_wake())


def waiting_names(most: int) -> Call[list[WaitingNameRow]]:
    """Names under which tasks wait, by queue: how many (counted up to ``most``), and whether a worker takes them."""
    return Call("select * from horsies.waiting_names(%s)", (most,), many(WaitingNameRow))


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
    """All workers that are known."""
    return Call("select * from horsies.worker_stats()", (), many(_worker))


def reap_stale(stale_after_s: float, most: int) -> Call[int]:
    """Declare workers dead and reap their work; answers how many running tasks that were."""
    return Call("select horsies.reap_stale(%s::float8, %s)", (stale_after_s, most), scalar)


def return_stale_to_queue(stale_after_s: float, most: int) -> Call[int]:
    """Return to the queue what silent workers have claimed and not begun; answers how many."""
    return Call("select horsies.return_stale_to_queue(%s::float8, %s)", (stale_after_s, most), scalar)


def queue_stats(names: Sequence[str]) -> Call[list[QueueStats]]:
    """These queues, and all of which something is known."""
    return Call("select * from horsies.queue_stats(%s::text[])", (list(names),), many(QueueStats))


def queue_control(name: str, action: str, cap: int | None = None) -> Call[bool]:
    """``pause``, ``resume`` or ``cap`` a queue; answers whether that changed something."""
    return Call("select horsies.queue_control(%s, %s, %s::int)", (name, action, cap), scalar)


def why(task_id: UUID) -> Call[Why]:
    """What a task is waiting for."""
    return Call("select * from horsies.why(%s)", (task_id,), lambda rows: Why(*rows[0]))


def ping() -> Call[None]:
    """Have the database answer."""
    return Call("select horsies.now()", (), nothing)
