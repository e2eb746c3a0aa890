"""The rows that server functions return, with their columns in the same order."""

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
    postponed: bytes | None
    task_key: str | None


class SampleRow(NamedTuple):
    """A row of `horsies.throughput`. Without samples, all columns after ``clock`` are None."""

    first_minute: datetime
    sampled_until: datetime
    clock: datetime
    started_at: datetime
    queue: str | None
    task_name: str | None
    completed: int
    failed: int
    cancelled: int
    expired: int
    retried: int
    crashed: int
    wait_buckets: list[int]
    wait_counts: list[int]
    run_buckets: list[int]
    run_counts: list[int]


class CurrentSampleRow(NamedTuple):
    """A row of `horsies.current_throughput`."""

    started_at: datetime
    queue: str
    task_name: str
    completed: int
    failed: int
    retried: int


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
    """A task in a reply of `horsies.claim`.

    Attributes:
        id: of the task.
        task_name: its name.
        args: the encoded arguments.
        attempt: the number of this attempt, from 1.
        timeout_ms: the time-out of an attempt; None: it has none.
        queue: its queue.
        queue_limited: whether the queue has a cap.
        root_id: the root run of a task in a workflow, else None.
        inputs: JSON inputs of a task in a workflow, else None.
        trace_context: JSON with the spans to which the span of the attempt is linked; None: there are none.
        due_at: when it fell due, by the monotonic clock of this process.
    """

    id: UUID
    task_name: str
    args: bytes
    attempt: int
    timeout_ms: int | None
    queue: str
    queue_limited: bool
    root_id: UUID | None
    inputs: bytes | None
    trace_context: bytes | None = None
    due_at: float = 0.0


class RunRow(NamedTuple):
    """A row of `horsies.workflow_state`. Only a COMPLETED run has an output."""

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
    """A row of `horsies.workflow_tasks`. ``result_kind`` and ``result_task`` determine how the result is decoded."""

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
    """One registered worker. Times are aware, in UTC, by the clock of the database.

    Attributes:
        worker_id: assigned at each start.
        hostname: the name of its machine.
        pid: the process id of its supervisor.
        process_name: ``hostname:pid``.
        library_version: its version of horsies.
        processes: the number of its children.
        concurrency: the number of tasks that each child runs at the same time.
        queues: the queues it works on.
        task_names: the tasks it can run.
        started_at: when it registered.
        heartbeat_at: the time of its last heartbeat.
        is_stale: whether the last heartbeat is older than the worker's threshold, so that its tasks are about to be
            recovered.
        claimed: the number of tasks that it has claimed and not started.
        running: the number of tasks that it runs.
        clock_skew_s: how many seconds its clock is ahead of the database's; negative: behind; None: unknown.
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
    """The row of `horsies.rerunnable`; ``reruns`` has one number for each item of ``ids``."""

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
    """One queue, without the details of `horsies.monitoring.queue_status`.

    Attributes:
        name: the name of the queue.
        waiting: the number of tasks that are due and not claimed. More than 100,000 are counted by maintenance.
        scheduled: likewise the number of tasks that are not due yet, including retries.
        claimed: the number of tasks that workers have prefetched.
        running: the number of running tasks.
        paused: whether the queue is paused, so that no task starts.
        max_concurrency: the cap in effect; None: there is none, or no worker has registered one.
        workers: the number of live workers that work on the queue.
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
    """Why a task is waiting: a ``reason`` for programs, in one word, and a ``sentence`` for people."""

    reason: str
    sentence: str
