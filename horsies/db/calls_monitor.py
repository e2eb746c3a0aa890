"""The calls of who watches over the queue: what is stale or late, who works, and what to do about the dead."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from horsies.db.operations import Call, many, nothing, scalar
from horsies.db.rows import HealthRow, QueueStats, TaskInfoRow, WaitingNameRow, Why, WorkerStats

_TASKS = "select info.* from FOUND as found (id) cross join lateral horsies.task_info(found.id) as info"


def _tasks(found: str, *params: object) -> Call[list[TaskInfoRow]]:
    """The tasks whose ids a server function finds."""
    return Call(_TASKS.replace("FOUND", found), params, many(TaskInfoRow))


def stale_tasks(stale_after_s: float, most: int) -> Call[list[TaskInfoRow]]:
    """Tasks in hand of workers without a heartbeat for so many seconds, oldest claim first."""
    return _tasks("horsies.stale_tasks(%s::float8, %s)", stale_after_s, most)


def expired_tasks(most: int) -> Call[list[TaskInfoRow]]:
    """Tasks that were not started by their deadline, of a day, the latest deadline first."""
    return _tasks("horsies.expired_tasks(%s)", most)


def health() -> Call[HealthRow]:
    """What may go wrong with a server in use, in numbers."""
    return Call("select * from horsies.health()", (), lambda rows: HealthRow(*rows[0]))


def list_tasks(
    statuses: Sequence[str] | None, queue: str | None, name: str | None, most: int
) -> Call[list[TaskInfoRow]]:
    """Tasks of these statuses, of a queue, of a name (None: of all), the latest sent first."""
    wanted = None if statuses is None else list(statuses)
    return _tasks("horsies.list_tasks(%s, %s, %s, %s)", wanted, queue, name, most)


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


def hand_back_stale(stale_after_s: float, most: int) -> Call[int]:
    """Return to the queue what silent workers have claimed and not begun; answers how many."""
    return Call("select horsies.hand_back_stale(%s::float8, %s)", (stale_after_s, most), scalar)


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
