"""The rows that server functions return, column by column in the functions' own order."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID


class TaskInfoRow(NamedTuple):
    """A row of `horsies.task_info`."""

    id: UUID
    task_name: str
    status: str
    queue: str
    priority: int
    attempt: int
    max_retries: int
    waits_for_retry: bool
    sent_at: datetime
    run_at: datetime
    claimed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    good_until: datetime | None
    worker_hostname: str | None
    worker_pid: int | None
    worker_process_name: str | None
    error_code: str | None
    progress: bytes | None
    rerun_of: UUID | None
    reruns: list[UUID]
    args: bytes | None
    result: bytes | None


class AttemptRow(NamedTuple):
    """A row of `horsies.task_attempts`."""

    attempt: int
    outcome: str
    will_retry: bool
    started_at: datetime
    finished_at: datetime
    error_code: str | None
    error: bytes | None
    worker_hostname: str | None
    worker_pid: int | None
    worker_process_name: str | None


class StoredResult(NamedTuple):
    """A row of `horsies.task_result`. ``result`` is None until the task has ended."""

    task_name: str
    status: str
    result: bytes | None


class ClaimedTask(NamedTuple):
    """A row of `horsies.claim` that is a task; ``root_id`` and ``inputs`` are of one that is on a node of a run."""

    id: UUID
    task_name: str
    args: bytes
    attempt: int
    timeout_ms: int | None
    queue: str
    capped: bool
    root_id: UUID | None
    inputs: bytes | None


class RunRow(NamedTuple):
    """A row of `horsies.workflow_state`. The output is that of a COMPLETED run."""

    workflow_id: UUID
    name: str
    status: str
    error: bytes | None
    output_index: int | None
    output_status: str | None
    output_result: bytes | None
    output_kind: str | None
    output_task: str | None
    total: int
    completed: int
    failed: int
    skipped: int
    started_at: datetime
    finished_at: datetime | None


class RunTaskRow(NamedTuple):
    """A row of `horsies.workflow_tasks`. ``result_kind`` and ``result_task`` say what reads the result."""

    node_index: int
    node_id: str
    kind: str
    task_name: str
    status: str
    result: bytes | None
    error_code: str | None
    result_kind: str
    result_task: str
    waits_for: list[int]
    is_leaf: bool
    child_id: UUID | None
    summary: bytes | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker that the database knows. Times are aware, in UTC and by the database's clock.

    Attributes:
        worker_id: new at each start.
        hostname: of its machine.
        pid: of its supervisor.
        process_name: host and pid.
        library_version: of horsies.
        processes: its children.
        concurrency: tasks at a time in each child.
        queues: those it works on.
        task_names: what it can run.
        started_at: when it made itself known.
        heartbeat_at: when it last said that it lives.
        is_stale: that is longer ago than it allows itself; its work is about to be handed on.
        claimed: tasks it has claimed and not begun.
        running: tasks it runs.
        clock_skew_s: seconds by which its machine's clock is ahead of the database's; negative: behind; None: unknown.
    """

    worker_id: str
    hostname: str
    pid: int
    process_name: str
    library_version: str
    processes: int
    concurrency: int
    queues: tuple[str, ...]
    task_names: tuple[str, ...]
    started_at: datetime
    heartbeat_at: datetime
    is_stale: bool
    claimed: int
    running: int
    clock_skew_s: float | None


type RerunVerdict = Literal["sent", "changed", "live", "unknown"]


class RerunnableRow(NamedTuple):
    """The row of `horsies.rerunnable`; ``reruns`` has an item for each of ``ids``."""

    matching: int
    left_out: int
    cut_off: datetime
    ids: list[UUID]
    reruns: list[int]


class WaitingNameRow(NamedTuple):
    """A row of `horsies.waiting_names`."""

    task_name: str
    queue: str
    waiting: int
    is_served: bool


class HealthRow(NamedTuple):
    """The row of `horsies.health`."""

    clock: datetime
    oldest_seconds: float | None
    oldest: str | None
    live_rows: int
    dead_rows: int
    days_ahead: int
    default_has_rows: bool
    sender_skew_seconds: float | None


class ScheduleState(NamedTuple):
    """A row of `horsies.schedule_states`, without the clock; times are in UTC."""

    name: str
    config_hash: str
    fingerprint: bytes
    pattern: str
    timezone: str
    task_name: str
    queue: str
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_task_id: UUID | None
    run_count: int
    paused: bool
    resumed_at: datetime | None


class QueueStats(NamedTuple):
    """One queue, a row of `horsies.queue_stats`.

    Attributes:
        name: of the queue.
        waiting: tasks that are due and not claimed.
        scheduled: tasks that are not due yet, retries among them.
        claimed: tasks that wait in workers which have prefetched them.
        running: tasks that run.
        paused: nothing new starts.
        max_concurrency: the cap that counts; None: there is none, or no worker has told its own.
        workers: how many live ones work on it.
    """

    name: str
    waiting: int
    scheduled: int
    claimed: int
    running: int
    paused: bool
    max_concurrency: int | None
    workers: int


class Why(NamedTuple):
    """What a task is waiting for: the ``reason`` in a word, for programs, and in a ``sentence``."""

    reason: str
    sentence: str
