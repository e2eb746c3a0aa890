"""The calls of who watches over the queue: what is stale or late, who works, and what to do about the dead."""

from collections.abc import Sequence
from uuid import UUID

from horsies.db.operations import Call, Rows
from horsies.db.rows import HealthRow, QueueStats, TaskInfoRow, WaitingNameRow, Why, WorkerStatsRow

_STALE_TASKS = (
    "select info.* from horsies.stale_tasks(%s::float8, %s) as found (id)"
    " cross join lateral horsies.task_info(found.id) as info"
)
_EXPIRED_TASKS = (
    "select info.* from horsies.expired_tasks(%s) as found (id) cross join lateral horsies.task_info(found.id) as info"
)
_HEALTH = "select * from horsies.health()"
_LIST_TASKS = (
    "select info.* from horsies.list_tasks(%s, %s, %s, %s) as found (id)"
    " cross join lateral horsies.task_info(found.id) as info"
)
_WAITING_NAMES = "select * from horsies.waiting_names(%s)"
_WORKER_STATS = "select * from horsies.worker_stats()"
_REAP_STALE = "select horsies.reap_stale(%s::float8, %s)"
_HAND_BACK_STALE = "select horsies.hand_back_stale(%s::float8, %s)"
_QUEUE_STATS = "select * from horsies.queue_stats(%s::text[])"
_QUEUE_CONTROL = "select horsies.queue_control(%s, %s, %s::int)"
_WHY = "select * from horsies.why(%s)"
_PING = "select horsies.now()"


def _tasks(rows: Rows) -> list[TaskInfoRow]:
    return [TaskInfoRow(*row) for row in rows]


def stale_tasks(stale_after_s: float, most: int) -> Call[list[TaskInfoRow]]:
    """Tasks in hand of workers without a heartbeat for so many seconds, oldest claim first."""
    return Call(_STALE_TASKS, (stale_after_s, most), _tasks)


def expired_tasks(most: int) -> Call[list[TaskInfoRow]]:
    """Tasks that were not started by their deadline, of a day, the latest deadline first."""
    return Call(_EXPIRED_TASKS, (most,), _tasks)


def health() -> Call[HealthRow]:
    """What may go wrong with a server in use, in numbers."""
    return Call(_HEALTH, (), lambda rows: HealthRow(*rows[0]))


def list_tasks(
    statuses: Sequence[str] | None, queue: str | None, name: str | None, most: int
) -> Call[list[TaskInfoRow]]:
    """Tasks of these statuses, of a queue, of a name (None: of all), the latest sent first."""
    return Call(_LIST_TASKS, (None if statuses is None else list(statuses), queue, name, most), _tasks)


def waiting_names(most: int) -> Call[list[WaitingNameRow]]:
    """Names under which tasks wait, by queue: how many (counted up to ``most``), and whether a worker takes them."""
    return Call(_WAITING_NAMES, (most,), lambda rows: [WaitingNameRow(*row) for row in rows])


def worker_stats() -> Call[list[WorkerStatsRow]]:
    """All workers that are known."""
    return Call(_WORKER_STATS, (), lambda rows: [WorkerStatsRow(*row) for row in rows])


def reap_stale(stale_after_s: float, most: int) -> Call[int]:
    """Declare workers dead and reap their work; answers how many running tasks that were."""
    return Call(_REAP_STALE, (stale_after_s, most), lambda rows: rows[0][0])


def hand_back_stale(stale_after_s: float, most: int) -> Call[int]:
    """Return to the queue what silent workers have claimed and not begun; answers how many."""
    return Call(_HAND_BACK_STALE, (stale_after_s, most), lambda rows: rows[0][0])


def queue_stats(names: Sequence[str]) -> Call[list[QueueStats]]:
    """These queues, and all of which something is known."""
    return Call(_QUEUE_STATS, (list(names),), lambda rows: [QueueStats(*row) for row in rows])


def queue_control(name: str, action: str, cap: int | None = None) -> Call[bool]:
    """``pause``, ``resume`` or ``cap`` a queue; answers whether that changed something."""
    return Call(_QUEUE_CONTROL, (name, action, cap), lambda rows: rows[0][0])


def why(task_id: UUID) -> Call[Why]:
    """What a task is waiting for."""
    return Call(_WHY, (task_id,), lambda rows: Why(*rows[0]))


def ping() -> Call[None]:
    """Have the database answer."""
    return Call(_PING, (), lambda _rows: None)
