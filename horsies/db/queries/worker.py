"""The calls a worker makes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from horsies.db.operations import Call, Rows, many, nothing, scalar
from horsies.db.queries.rows import ClaimedTask

_CLAIM = "select * from horsies.claim(%s, %s::bigint, %s::int, %s::int, %s::float8, %s::text[], %s::text[])"
_FINISH = (
    "select * from horsies.finish(%s, %s::uuid[], %s::bigint[], %s::boolean[], %s::text[], %s::text[],"
    " %s::float8[], %s, %s::int[], %s::text[])"
)
_WORKER_START = (
    "select horsies.worker_start(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::text[], %s::int[],"
    " %s::int, %s::text[], %s::float8), extract(epoch from clock_timestamp())::float8"
)
_DUTY = (
    "select done.* from (select horsies.maintenance_lock() as is_mine offset 0) as lock"
    " cross join lateral (CALL where lock.is_mine) as done"
)


class Fence(NamedTuple):
    """What a claim is known by: the task and the number of the exchange in which its worker claimed it."""

    task_id: UUID
    exchange_no: int


class Outcome(NamedTuple):
    """How an attempt ended, ready for the database. ``result`` is encoded JSON: the value, or the TaskError.

    ``seconds``, for the log only, is how long it ran; 0: that is not known.
    """

    fence: Fence
    ok: bool
    result: bytes
    error_code: str | None
    retry_after: float | None
    worker_pid: int | None
    process_name: str | None
    seconds: float = 0.0


class Verdict(NamedTuple):
    """What `finish` made of an outcome.

    ``verdict`` is ``accepted``, ``duplicate`` or ``stale``. ``error_code`` is what was stored, which differs from the
    outcome's if the database refused that. ``due_again`` is when the task is tried again; None: it is not.
    """

    verdict: str
    error_code: str | None
    due_again: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim.

    Attributes:
        tasks: to be begun, in this order.
        is_filled: there were as many as wanted, so there may be more.
        limits_active: caps or pauses of queues applied; not said by a filled claim.
        due_in: unless filled, in how many seconds the next task falls due; None: none is scheduled.
    """

    tasks: list[ClaimedTask]
    is_filled: bool
    limits_active: bool
    due_in: float | None


class WorkerFacts(NamedTuple):
    """What a worker says of itself when it starts, as in the table `workers`. ``queues`` maps names to caps."""

    hostname: str
    pid: int
    process_name: str
    boot_id: str
    pid_namespace: str
    process_start: str
    library_version: str
    processes: int
    concurrency: int
    queues: Mapping[str, int | None]
    cluster_cap: int | None
    task_names: tuple[str, ...]
    stale_after_s: float


@dataclass(frozen=True, slots=True)
class LocalWorker:
    """A worker of the same host; ``process_start`` is its `WorkerFacts.process_start`."""

    worker_id: UUID
    pid: int
    process_start: str


@dataclass(frozen=True, slots=True)
class ReapCounts:
    """What a reap did; as a number, with how many tasks."""

    workers: int
    returned: int
    crashed: int

    def __int__(self) -> int:
        """How many tasks were recovered."""
        return self.returned + self.crashed


def _fences(fences: Sequence[Fence]) -> tuple[list[UUID], list[int]]:
    return [fence.task_id for fence in fences], [fence.exchange_no for fence in fences]


def _claim(rows: Rows) -> Claim:
    tasks = [ClaimedTask(*row[:9]) for row in rows if row[0] is not None]
    *_, limits_active, _, _, due_in = rows[-1] if len(tasks) < len(rows) else (False, None, None, None)
    return Claim(tasks, bool(tasks) and len(tasks) == len(rows), limits_active, due_in)


def claim(  # noqa: PLR0913 - the server function's own parameters
    worker_id: UUID,
    exchange_no: int,
    wanted: int,
    queues: Iterable[str],
    names: Iterable[str],
    *,
    free: int,
    lease_s: float | None = None,
) -> Call[Claim]:
    """Take up to ``wanted`` due tasks, of capped queues no more than can begin at once; with a lease, prefetch them."""
    return Call(_CLAIM, (worker_id, exchange_no, wanted, free, lease_s, list(queues), list(names)), _claim)


def start(worker_id: UUID, fences: Sequence[Fence]) -> Call[dict[UUID, int]]:
    """Let prefetched tasks begin; answers the number of the attempt for each that may."""
    return Call("select * from horsies.start(%s, %s::uuid[], %s::bigint[])", (worker_id, *_fences(fences)), dict)


def renew(worker_id: UUID, fences: Sequence[Fence], lease_s: float, most_s: float) -> Call[set[UUID]]:
    """Keep prefetched tasks for another lease; answers which are kept: none that was claimed ``most_s`` ago."""
    sql = "select * from horsies.renew(%s, %s::uuid[], %s::bigint[], %s::float8, %s::float8)"
    return Call(sql, (worker_id, *_fences(fences), lease_s, most_s), lambda rows: {row[0] for row in rows})


def finish(worker_id: UUID, hostname: str, outcomes: Sequence[Outcome]) -> Call[dict[UUID, Verdict]]:
    """Write outcomes; answers what was made of each."""
    columns: list[list[Any]] = [[outcome[field] for outcome in outcomes] for field in range(len(Outcome._fields))]
    fences, oks, results, codes, retries, pids, names, _ = columns
    texts = [result.decode() for result in results]
    params = (worker_id, *_fences(fences), oks, texts, codes, retries, hostname, pids, names)
    return Call(_FINISH, params, lambda rows: {row[0]: Verdict(*row[1:]) for row in rows})


def notify_done(task_ids: Sequence[UUID]) -> Call[None]:
    """Tell waiters that these tasks may have ended; in a transaction of its own."""
    return Call("select horsies.notify_done(%s::uuid[])", (list(task_ids),), nothing)


def notify_wake() -> Call[None]:
    """Tell workers that there may be work; in a transaction of its own."""
    return Call("select horsies.notify_wake()", (), nothing)


def notify_room(worker_id: UUID, queues: Iterable[str]) -> Call[None]:
    """Tell workers, if there is work for it, that queues have a task less in hand; in a transaction of its own."""
    return Call("select horsies.notify_room(%s, %s::text[])", (worker_id, list(queues)), nothing)


def release(worker_id: UUID, fences: Sequence[Fence]) -> Call[int]:
    """Hand back claims that have not begun; answers how many went back."""
    return Call("select horsies.release(%s, %s::uuid[], %s::bigint[])", (worker_id, *_fences(fences)), scalar)


def reconcile(worker_id: UUID, held: Sequence[Fence]) -> Call[set[UUID]]:
    """Say what is in hand; answers which of it is not this worker's any more."""
    sql = "select * from horsies.reconcile(%s, %s::uuid[], %s::bigint[])"
    return Call(sql, (worker_id, *_fences(held)), lambda rows: {row[0] for row in rows})


def heartbeat(worker_id: UUID, ahead_s: float | None = None) -> Call[tuple[bool, float]]:
    """Say that it lives, and how far its clock is ahead; answers False if it was declared dead, and the Unix time."""
    sql = "select horsies.heartbeat(%s, %s::float8), extract(epoch from clock_timestamp())::float8"
    return Call(sql, (worker_id, ahead_s), lambda rows: rows[0])


def worker_start(worker_id: UUID, facts: WorkerFacts) -> Call[tuple[None, float]]:
    """Make a worker known; answers the server's Unix time."""
    *identity, queues, cluster_cap, task_names, stale_after_s = facts
    caps = list(queues.values()) if any(cap is not None for cap in queues.values()) else None
    params = (worker_id, *identity, list(queues), caps, cluster_cap, list(task_names), stale_after_s)
    return Call(_WORKER_START, params, lambda rows: (None, rows[0][1]))


def worker_stop(worker_id: UUID) -> Call[None]:
    """A worker leaves."""
    return Call("select horsies.worker_stop(%s)", (worker_id,), nothing)


def reap(proven_dead: UUID | None, most: int) -> Call[ReapCounts]:
    """Hand on the work of dead workers."""
    return Call("select * from horsies.reap(%s::uuid, %s::int)", (proven_dead, most), lambda rows: ReapCounts(*rows[0]))


def expire(most: int) -> Call[int]:
    """End tasks that were not started in time; answers how many."""
    return Call("select horsies.expire(%s::int)", (most,), scalar)


def add_partitions(days: int) -> Call[int]:
    """Make the history partitions of the next days; answers how many were made."""
    return Call("select horsies.add_partitions(%s::int)", (days,), scalar)


def prune(keep_hours: float) -> Call[int]:
    """Drop days of history that are older than that; answers how many."""
    return Call("select horsies.prune(%s::float8)", (keep_hours,), scalar)


def forget_workers(keep_hours: float) -> Call[int]:
    """Forget workers that have been dead for so long; answers how many."""
    return Call("select horsies.forget_workers(%s::float8)", (keep_hours,), scalar)


def local_workers(boot_id: str, pid_namespace: str) -> Call[list[LocalWorker]]:
    """List the workers of this host whose processes can be seen from here, the caller's own too."""
    return Call("select * from horsies.local_workers(%s, %s)", (boot_id, pid_namespace), many(LocalWorker))


def duty[R](call: Call[R]) -> Call[R | None]:
    """Make a call under the lock of the duties, in one statement; None: it is not made, for another worker is at them.

    The lock is asked for first: what comes behind it refers to its answer.
    """
    return Call(_DUTY.replace("CALL", call.sql), call.params, lambda rows: call.decode(rows) if rows else None)
