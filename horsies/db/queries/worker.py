"""Calls of workers."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID

from horsies.db.adapt import RawJson
from horsies.db.operations import Call, Notice, Rows, first, many, nothing, scalar
from horsies.db.queries.rows import ClaimedTask
from horsies.postponement import PostponeScope

_CLAIM = (  # the columns are named, so that a newer function may return more
    "select id, task_name, args, attempt, timeout_ms, queue, capped, root_id, inputs, trace_context, due_in,"
    " cursors"
    " from horsies.claim(%s, %s::bigint, %s::int, %s::int, %s::float8, %s::text[], %s::text[], %s, %s::json)"
)
_FINISH = (
    "select id, verdict, stored_code, due_again"
    " from horsies.finish(%s, %s::uuid[], %s::bigint[], %s::boolean[], %s::text[], %s::text[],"
    " %s::float8[], %s, %s::int[], %s::text[], %s::text[], %s::text[])"
)
_WORKER_START = (
    "select horsies.worker_start(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::text[], %s::int[],"
    " %s::int, %s::text[], %s::float8), extract(epoch from pg_catalog.clock_timestamp())::float8"
)
_MAINTENANCE = (
    "select done.* from (select horsies.maintenance_lock() as is_mine offset 0) as lock"
    " cross join lateral (CALL where lock.is_mine) as done"
)


class Storage(IntEnum):
    """Who stores the outcome of an attempt."""

    WORKER = 0
    """The worker, with its next exchange."""
    TASK = 1
    """The transaction of the task itself has stored it. The worker only notifies."""


class Fence(NamedTuple):
    """Identifies a claim: the task, and the number of the exchange in which the worker has claimed it."""

    task_id: UUID
    exchange_no: int


class Outcome(NamedTuple):
    """How an attempt ended, ready for the database.

    Attributes:
        fence: identifies the claim.
        ok: whether the attempt succeeded.
        result: encoded JSON: the value, or the `TaskError`.
        error_code: the code of the error; None if it succeeded.
        retry_after: the delay before a retry or of a postponement, in seconds, if the task has set one.
        worker_pid: the process id of the child.
        process_name: the name of the child.
        seconds: how long the attempt ran, for the log only; 0: unknown.
        exception: the type of the exception that it raised, for the log only; empty: unknown.
        place: the line of the user's source where it failed, for the log only; empty: unknown.
        storage: who stores it.
        postponed: for what the task asks to run again later, so that the attempt is not counted; None: it does not.
        traceparent: of the span of the attempt; empty: it has none.
        between_ends: the time since the attempt before has ended in the same child, or since the child was idle, in
            seconds; for the worker only.
    """

    fence: Fence
    ok: bool
    result: bytes
    error_code: str | None
    retry_after: float | None
    worker_pid: int | None
    process_name: str | None
    seconds: float = 0.0
    exception: str = ""
    place: str = ""
    storage: Storage = Storage.WORKER
    postponed: PostponeScope | None = None
    traceparent: str = ""
    between_ends: float = 0.0


class Verdict(NamedTuple):
    """The reply of `finish` to one outcome.

    Attributes:
        verdict: ``accepted``, ``duplicate``, ``stale``, ``superseded``: the transaction of the task itself has
            completed the task, or ``busy``: another transaction holds the task's row or its root run, so nothing was
            written. The worker sends the outcome again.
        error_code: the stored code. It differs from the code of the outcome if the database has refused the result, and
            is None if the outcome is superseded.
        due_again: when the task is retried, or runs again after it was postponed; None: it does not.
    """

    verdict: str
    error_code: str | None
    due_again: datetime | None


class LockHolder(NamedTuple):
    """A transaction that holds rows of tasks or of their runs; a row of `horsies.lock_holders`.

    Attributes:
        task_id: one of the tasks.
        tasks: the number of tasks.
        pid: its server process; None: a prepared transaction.
        username: its user.
        application: its ``application_name``.
        state: the state of its session, or the name of the prepared transaction.
        seconds: how long it has been open, in seconds.
    """

    task_id: UUID
    tasks: int
    pid: int | None
    username: str | None
    application: str | None
    state: str
    seconds: float | None


class ClaimMode(Enum):
    """How a claim takes its tasks."""

    TOGETHER = "together"
    SINGLY = "singly"  # each in a subtransaction; a row at which the server fails ends the task as FAILED


@dataclass(frozen=True, slots=True)
class Claim:
    """The reply to a claim.

    Attributes:
        tasks: the claimed tasks, in the order in which they should start.
        is_filled: whether as many tasks as requested were claimed, so that more may be available.
        limits_active: whether caps or pauses of queues applied; False for a filled claim, which does not report it.
        due_in: seconds until the next scheduled task is due; None: none is scheduled, or the claim was filled.
        cursors: where the turns of keys go on, for the next claim; None: no queue of the worker is regulated.
    """

    tasks: list[ClaimedTask]
    is_filled: bool
    limits_active: bool
    due_in: float | None
    cursors: bytes | None = None


class _ClaimRow(NamedTuple):
    """A row of `horsies.claim`.

    Each row is a task, and its ``due_in`` is minus the number of seconds for which it was due. Only the last row of a
    claim that was not filled is no task: there, ``limits_active`` and ``due_in`` describe the claim, and all other
    columns are null.
    """

    id: UUID | None
    task_name: str
    args: bytes
    attempt: int
    timeout_ms: int | None
    queue: str
    limits_active: bool  # for a task: whether its queue has a limit
    root_id: UUID | None
    inputs: bytes | None
    trace_context: bytes | None
    due_in: float | None
    cursors: bytes | None


class WorkerFacts(NamedTuple):
    """The row that a worker writes into the table `workers` when it starts. ``queues`` maps names to caps."""

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
    """A worker on the same host; ``process_start`` is its `WorkerFacts.process_start`."""

    worker_id: UUID
    pid: int
    process_start: str


class WorkerBeats(NamedTuple):
    """The heartbeats of a worker.

    Attributes:
        worker_id: the worker.
        beats: the number of its heartbeats.
        stale_after_s: the seconds of silence after which it is dead.
    """

    worker_id: UUID
    beats: int
    stale_after_s: float


@dataclass(frozen=True, slots=True)
class ReapCounts:
    """The result of a reap; as an integer, the number of recovered tasks.

    Attributes:
        workers: the number of dead workers.
        returned: the number of tasks that had not started and were returned to the queue.
        crashed: the number of running tasks that failed with WORKER_CRASHED.
    """

    workers: int
    returned: int
    crashed: int

    def __int__(self) -> int:
        """Return the number of recovered tasks."""
        return self.returned + self.crashed


def _fences(fences: Sequence[Fence]) -> tuple[list[UUID], list[int]]:
    return [fence.task_id for fence in fences], [fence.exchange_no for fence in fences]


def _ids(rows: Rows) -> set[UUID]:
    return {row[0] for row in rows}


def _claim(rows: Rows, limit: int) -> Claim:
    if not rows:  # the worker was declared dead
        return Claim([], is_filled=False, limits_active=False, due_in=None)
    last = _ClaimRow(*rows[-1])
    now = time.monotonic()
    found = rows if last.id is not None else rows[:-1]
    tasks = [ClaimedTask._make((*row[:10], now + (row[10] or 0.0))) for row in found]
    if len(tasks) >= limit:
        return Claim(tasks, is_filled=True, limits_active=False, due_in=None, cursors=last.cursors)
    return Claim(tasks, is_filled=False, limits_active=last.limits_active, due_in=last.due_in, cursors=last.cursors)


def claim(  # noqa: PLR0913 - the server function's own parameters
    worker_id: UUID,
    exchange_no: int,
    limit: int,
    queues: Iterable[str],
    names: Iterable[str],
    *,
    free: int,
    lease_s: float | None = None,
    mode: ClaimMode = ClaimMode.TOGETHER,
    cursors: bytes | None = None,
) -> Call[Claim]:
    """Claim up to ``limit`` due tasks.

    Args:
        worker_id: the worker.
        exchange_no: the number of the exchange, which becomes part of the fences.
        limit: the largest number of tasks.
        queues: the queues to claim from.
        names: the tasks that the worker can run.
        free: the largest number of tasks from queues with a cap: as many as can start at once.
        lease_s: prefetch the tasks for this many seconds; None: they start now.
        mode: whether a row at which the server fails stops the other tasks.
        cursors: those of the last claim; None: the first key of each queue has the first turn.
    """
    given = None if cursors is None else RawJson(cursors)
    singly = mode is ClaimMode.SINGLY
    params = (worker_id, exchange_no, limit, free, lease_s, list(queues), list(names), singly, given)
    return Call(_CLAIM, params, lambda rows: _claim(rows, limit))


def start(worker_id: UUID, fences: Sequence[Fence]) -> Call[dict[UUID, int]]:
    """Start prefetched tasks; returns the number of the attempt for each task that may start."""
    sql = "select * from horsies.start(%s, %s::uuid[], %s::bigint[])"
    return Call(sql, (worker_id, *_fences(fences)), dict, hint=announce())


def renew(worker_id: UUID, fences: Sequence[Fence], lease_s: float, max_s: float) -> Call[set[UUID]]:
    """Renew the leases of prefetched tasks; returns the renewed ones. Claims older than ``max_s`` are not renewed."""
    sql = "select * from horsies.renew(%s, %s::uuid[], %s::bigint[], %s::float8, %s::float8)"
    return Call(sql, (worker_id, *_fences(fences), lease_s, max_s), _ids, hint=announce())


def finish(worker_id: UUID, hostname: str, outcomes: Sequence[Outcome]) -> Call[dict[UUID, Verdict]]:
    """Write outcomes; returns a verdict for each task."""
    columns: list[list[Any]] = [[outcome[field] for outcome in outcomes] for field in range(len(Outcome._fields))]
    fences, oks, results, codes, retries, pids, names, *_for_the_log = columns
    texts = [result.decode() for result in results]
    scopes = [None if outcome.postponed is None else str(outcome.postponed) for outcome in outcomes]
    postponed = scopes if any(scopes) else None
    spans = [outcome.traceparent or None for outcome in outcomes]
    traces = spans if any(spans) else None
    params = (worker_id, *_fences(fences), oks, texts, codes, retries, hostname, pids, names, postponed, traces)
    return Call(_FINISH, params, _verdicts)


def finish_own(  # noqa: PLR0913 - the server function's own parameters
    worker_id: UUID, fence: Fence, result: bytes, *, hostname: str, pid: int, process_name: str, traceparent: str = ""
) -> Call[None]:
    """Write the outcome of a successful attempt in the transaction of the task itself.

    The call fails if the outcome was not written, so that a commit behind it in a pipeline is skipped.
    """
    sql = "select horsies.finish_own(%s::uuid, %s::uuid, %s::bigint, %s::text, %s::text, %s::int, %s::text, %s::text)"
    return Call(sql, (worker_id, *fence, result.decode(), hostname, pid, process_name, traceparent), nothing)


def is_finish(call: Call[Any] | None) -> bool:
    """Whether a call is one of `finish`."""
    return call is not None and call.sql == _FINISH


def _verdicts(rows: Rows) -> dict[UUID, Verdict]:
    """The verdicts by task. If one outcome of a task is busy, so are all: none of them may be forgotten."""
    verdicts = {row[0]: Verdict(*row[1:]) for row in rows}
    return verdicts | {row[0]: Verdict(*row[1:]) for row in rows if row[1] == "busy"}


def lock_holders(task_ids: Sequence[UUID]) -> Call[list[LockHolder]]:
    """Return the transactions that hold the rows of these tasks, or of their root runs."""
    return Call("select * from horsies.lock_holders(%s::uuid[])", (list(task_ids),), many(LockHolder))


def announce() -> Notice:
    """Send the notifications that earlier transactions of the session have recorded."""
    return Notice("select horsies.announce()", (), nothing)


def notify_done(task_ids: Sequence[UUID], *, with_results: bool) -> Notice:
    """Notify waiters that these tasks may have ended. ``with_results`` sends small results to everybody who listens."""
    return Notice("select horsies.notify_done(%s::uuid[], %s)", (list(task_ids), with_results), nothing)


def notify_wake() -> Notice:
    """Notify workers that there may be work."""
    return Notice("select horsies.notify_wake()", (), nothing)


def notify_wake_within() -> Notice:
    """Notify workers, in the transaction that sends, unless the notification queue is nearly full."""
    return Notice("select horsies.notify_wake_within()", (), nothing)


def notify_room(worker_id: UUID, queues: Iterable[str]) -> Notice:
    """Notify workers that capped queues have room, if tasks are waiting there."""
    return Notice("select horsies.notify_room(%s, %s::text[])", (worker_id, list(queues)), nothing)


def release(worker_id: UUID, fences: Sequence[Fence]) -> Call[set[UUID]]:
    """Return claims that have not started to the queue; returns the tasks that are busy and must be released later."""
    return Call("select * from horsies.release(%s, %s::uuid[], %s::bigint[])", (worker_id, *_fences(fences)), _ids)


def reconcile(worker_id: UUID, held: Sequence[Fence], last_exchange: int) -> Call[set[UUID]]:
    """Compare the claims that a worker holds with the database; returns the tasks that it has lost.

    All other claims of the worker are returned to the queue, except those of exchanges after ``last_exchange``: the
    server may run this call late, when the worker has given it up and has claimed other tasks.
    """
    sql = "select * from horsies.reconcile(%s, %s::uuid[], %s::bigint[], %s::bigint)"
    return Call(sql, (worker_id, *_fences(held), last_exchange), _ids, hint=announce())


def lost_claims(worker_id: UUID, held: Sequence[Fence]) -> Call[set[UUID]]:
    """Return those tasks of these claims that the worker has lost, because they were cancelled for instance."""
    sql = "select * from horsies.lost_claims(%s, %s::uuid[], %s::bigint[])"
    return Call(sql, (worker_id, *_fences(held)), _ids)


def heartbeat(
    worker_id: UUID, ahead_s: float | None = None, recent_counts: str | None = None, children: str | None = None
) -> Call[tuple[bool, float]]:
    """Write a heartbeat, the clock skew, the counts of the last minutes, and the state of the children.

    The last two are JSON documents. Returns False if the worker was declared dead, and the server's Unix time.
    """
    sql = (
        "select horsies.heartbeat(%s, %s::float8, %s::json, %s::json),"
        " extract(epoch from pg_catalog.clock_timestamp())::float8"
    )
    return Call(sql, (worker_id, ahead_s, recent_counts, children), lambda rows: rows[0])


def worker_start(worker_id: UUID, facts: WorkerFacts) -> Call[tuple[None, float]]:
    """Register a worker; returns the server's Unix time."""
    *identity, queues, cluster_cap, task_names, stale_after_s = facts
    caps = list(queues.values()) if any(cap is not None for cap in queues.values()) else None
    params = (worker_id, *identity, list(queues), caps, cluster_cap, list(task_names), stale_after_s)
    return Call(_WORKER_START, params, lambda rows: (None, rows[0][1]))


def worker_stop(worker_id: UUID) -> Call[None]:
    """Deregister a worker."""
    return Call("select horsies.worker_stop(%s)", (worker_id,), nothing)


def reap(proven_dead: UUID | None, limit: int) -> Call[ReapCounts]:
    """Recover the tasks of workers that were declared dead.

    Args:
        proven_dead: a worker that is known to be dead, and is declared dead now; None: no other worker.
        limit: the largest number of tasks.
    """
    sql = "select * from horsies.reap(%s::uuid, %s::int)"
    return Call(sql, (proven_dead, limit), lambda rows: ReapCounts(*rows[0]), hint=announce())


def worker_beats() -> Call[list[WorkerBeats]]:
    """List all workers with the number of their heartbeats."""
    return Call("select * from horsies.worker_beats()", (), many(WorkerBeats))


def reap_silent(silent: WorkerBeats, limit: int) -> Call[ReapCounts | None]:
    """Declare a worker dead that was seen silent for too long, and recover its tasks; None: it has sent a heartbeat."""
    return Call(
        "select * from horsies.reap_silent(%s, %s::bigint, %s::int)",
        (silent.worker_id, silent.beats, limit),
        first(ReapCounts),
        hint=announce(),
    )


def expire(limit: int) -> Call[int]:
    """Expire tasks that were not started by their deadline; returns their number."""
    return Call("select horsies.expire(%s::int)", (limit,), scalar, hint=announce())


def add_partitions(days: int, keep_hours: float | None = 0) -> Call[int]:
    """Create the history partitions of the next days; returns the number of new ones.

    They are monthly if history is kept for more than 90 days (None: for ever), and daily otherwise.
    """
    return Call("select horsies.add_partitions(%s::int, %s::float8)", (days, keep_hours), scalar)


def prune(keep_hours: float) -> Call[int]:
    """Delete the oldest history that is older than ``keep_hours``; returns 0 if the next call can wait."""
    return Call("select horsies.prune(%s::float8)", (keep_hours,), scalar)


def forget_workers(keep_hours: float) -> Call[int]:
    """Delete the records of workers that died more than ``keep_hours`` ago; returns their number."""
    return Call("select horsies.forget_workers(%s::float8)", (keep_hours,), scalar)


def local_workers(boot_id: str, pid_namespace: str) -> Call[list[LocalWorker]]:
    """Return the workers on this host whose processes are visible here, including the calling worker."""
    return Call("select * from horsies.local_workers(%s, %s)", (boot_id, pid_namespace), many(LocalWorker))


def maintenance_call[R](call: Call[R]) -> Call[R | None]:
    """Make a call under the maintenance lock, in one statement; returns None if another worker holds the lock.

    The statement takes the lock first, because the call refers to the result of the lock.
    """
    sql = _MAINTENANCE.replace("CALL", call.sql)
    return Call(sql, call.params, lambda rows: call.decode(rows) if rows else None, hint=call.hint)
