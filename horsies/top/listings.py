"""The tables of ``horsies top``: queues, tasks, errors, runs and workers."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text

from horsies.codes import TaskStatus, WorkflowStatus
from horsies.db.queries.rows import WorkerStats
from horsies.monitoring import ErrorGroups, QueueStatus, Run, worker_state
from horsies.monitoring.answers import TaskPage
from horsies.monitoring.in_flight import InFlightTask
from horsies.monitoring.status import WorkerState
from horsies.monitoring.texts import counted, duration, line, number, relative, utc
from horsies.monitoring.trends import Trends
from horsies.producer.info import TaskInfo
from horsies.top.tables import Column, Listing, Row, Style, cell

NOTHING = "-"
"""Stands for a value that there is not."""

_WRONG_CLOCK_S = 5.0
_STYLES: dict[str, Style] = {
    "CLAIMED": Style.BUSY,
    "RUNNING": Style.BUSY,
    "ENQUEUED": Style.BUSY,
    "COMPLETED": Style.GOOD,
    "FAILED": Style.BAD,
    "EXPIRED": Style.WARNING,
    "CANCELLED": Style.WARNING,
    "PAUSED": Style.WARNING,
    "READY": Style.WARNING,
    "SKIPPED": Style.QUIET,
}


def status_cell(status: str) -> Text:
    """Return the status of a task, run or node as a cell."""
    return cell(status.lower(), _STYLES.get(status, Style.PLAIN))


def queue_listing(queues: Sequence[QueueStatus], trends: Trends | None = None) -> Listing:
    """List queues in the given order. With trends, say when each will be empty."""
    columns = (
        Column("QUEUE"),
        Column("WAITING", is_number=True),
        Column("OLDEST DUE", 1, is_number=True),
        Column("RUNNING", is_number=True),
        Column("LIMIT", 2, is_number=True),
        Column("CLAIMED", 5, is_number=True),
        Column("SCHEDULED", 4, is_number=True),
        *([Column("EMPTY", 6)] if trends is not None else []),
        Column("WORKERS", 3, is_number=True),
        Column("STATE"),
    )
    rows = tuple(Row(each.queue_name, _queue_cells(each, trends)) for each in queues)
    nothing = "There is no queue yet. A queue appears when a worker serves it, or when a task is sent to it."
    return Listing(columns, rows, nothing)


def _queue_cells(queue: QueueStatus, trends: Trends | None) -> tuple[Text, ...]:
    is_full = queue.max_concurrency is not None and queue.in_flight >= queue.max_concurrency
    return (
        cell(queue.queue_name),
        cell(number(queue.waiting)),
        cell(NOTHING if queue.oldest_due is None else duration(queue.oldest_due)),
        cell(number(queue.running), Style.BUSY if queue.running else Style.QUIET),
        cell(
            NOTHING if queue.max_concurrency is None else number(queue.max_concurrency),
            Style.WARNING if is_full else Style.PLAIN,
        ),
        cell(number(queue.claimed)),
        cell(number(queue.scheduled)),
        *([_drain_cell(trends.drain(queue.queue_name))] if trends is not None else []),
        cell(number(queue.workers), Style.PLAIN if queue.workers else Style.BAD),
        _queue_state(queue, is_full=is_full),
    )


def _drain_cell(drain: str | None) -> Text:
    if drain is None:
        return cell(NOTHING, Style.QUIET)
    if drain in {"grows", "steady"}:
        return cell(drain, Style.BAD if drain == "grows" else Style.QUIET)
    return cell(f"in {duration(float(drain))}")


def _queue_state(queue: QueueStatus, *, is_full: bool) -> Text:
    if queue.paused:
        return cell("paused", Style.WARNING)
    if queue.held_until is not None:
        return cell(f"held until {utc(queue.held_until)[11:]}", Style.WARNING)
    if not queue.workers:
        return cell("no worker", Style.BAD)
    return cell("full", Style.WARNING) if is_full else cell("open", Style.GOOD)


def task_listing(page: TaskPage, wanted: str) -> Listing:
    """List tasks that match a filter, the most recently sent first."""
    now = datetime.now(UTC)
    columns = (
        Column("TASK"),
        Column("STATUS"),
        Column("QUEUE", 2),
        Column("SENT", 1),
        Column("RAN", 3, is_number=True),
        Column("RETRIES", 6, is_number=True),
        Column("ERROR"),
        Column("WORKER", 5),
        Column("ID", 4),
    )
    rows = tuple(Row(each.task_id, _task_cells(each, now)) for each in page.tasks)
    if wanted:
        searched = " among the latest 100,000 that were searched" if page.is_cut else ""
        nothing = f"No task matches this filter{searched}."
    else:
        nothing = "No task was sent yet. Send one: horsies send MODULE:APP TASK --wait"
    more = "" if page.next_before is None else "; there are more: horsies tasks list, or a narrower filter"
    return Listing(columns, rows, nothing, f"{counted(len(rows), 'task')} shown{more}")


def _task_cells(task: TaskInfo, now: datetime) -> tuple[Text, ...]:
    ran = None if task.started_at is None else (task.ended_at or now) - task.started_at
    return (
        cell(task.task_name),
        status_cell(task.status),
        cell(task.queue_name),
        cell(relative(task.sent_at, now)),
        cell(NOTHING if ran is None else duration(ran)),
        cell(task.retry_count or NOTHING, Style.WARNING if task.retry_count else Style.QUIET),
        cell(task.error_code, Style.BAD if task.status is TaskStatus.FAILED else Style.WARNING),
        cell(task.worker_process_name),
        cell(task.task_id, Style.QUIET),
    )


def error_listing(found: ErrorGroups) -> Listing:
    """List error groups, those with the most failures first."""
    now = datetime.now(UTC)
    columns = (
        Column("FAILED", is_number=True),
        Column("TASK"),
        Column("ERROR"),
        Column("LAST", 1),
        Column("MESSAGE", 2),
        Column("FIRST", 4),
        Column("PLACE", 3),
    )
    rows = tuple(
        Row(
            str(each.group_id),
            (
                cell(number(each.number), Style.BAD),
                cell(each.task_name),
                cell(each.error_code),
                cell(relative(each.last_seen, now)),
                cell(each.message),
                cell(relative(each.first_seen, now)),
                cell(each.frame),
            ),
        )
        for each in found.groups
    )
    nothing, note = "No attempt failed.", ""
    if found.known_until is None:
        nothing = "Errors are not counted yet. A worker counts each minute after its end."
    else:
        note = f"failed attempts that are counted until {utc(found.known_until)[11:16]} UTC"
    return Listing(columns, rows, nothing, note)


def run_listing(runs: Sequence[Run]) -> Listing:
    """List workflow runs, the most recently started first."""
    now = datetime.now(UTC)
    columns = (
        Column("WORKFLOW"),
        Column("STATUS"),
        Column("DONE", is_number=True),
        Column("FAILED", 3, is_number=True),
        Column("STARTED", 1),
        Column("RAN", 2, is_number=True),
        Column("ID", 4),
    )
    rows = tuple(
        Row(
            each.run_id,
            (
                cell(each.name),
                status_cell(each.status),
                cell(f"{each.completed + each.failed + each.skipped:,}/{each.nodes:,}"),
                cell(each.failed or NOTHING, Style.BAD if each.failed else Style.QUIET),
                cell(relative(each.started_at, now)),
                cell(duration((each.finished_at or now) - each.started_at)),
                cell(each.run_id, Style.QUIET),
            ),
        )
        for each in runs
    )
    paused = sum(each.status is WorkflowStatus.PAUSED for each in runs)
    return Listing(columns, rows, "No workflow was started yet.", f"{counted(paused, 'run')} paused" if paused else "")


def worker_listing(workers: Sequence[WorkerStats]) -> Listing:
    """List workers, the earliest started first."""
    now = datetime.now(UTC)
    columns = (
        Column("WORKER"),
        Column("STATE"),
        Column("RUNNING", is_number=True),
        Column("CLAIMED", 3, is_number=True),
        Column("HEARTBEAT", 1),
        Column("QUEUES", 2),
        Column("VERSION", 4),
        Column("STARTED", 5),
        Column("CLOCK", 6),
    )
    rows = tuple(Row(each.worker_id, _worker_cells(each, now)) for each in workers)
    versions = sorted({each.library_version for each in workers})
    note = f"workers have different versions of horsies: {line(', '.join(versions))}" if len(versions) > 1 else ""
    return Listing(columns, rows, "No worker is registered. Start one: horsies worker MODULE:APP", note)


def _worker_cells(worker: WorkerStats, now: datetime) -> tuple[Text, ...]:
    state = worker_state(worker)
    return (
        cell(worker.process_name),
        cell(state.value, Style.GOOD if state is WorkerState.LIVE else Style.BAD),
        cell(f"{worker.running:,}/{worker.processes * worker.concurrency:,}"),
        cell(number(worker.claimed)),
        cell(relative(worker.heartbeat_at, now)),
        cell(", ".join(worker.queues)),
        cell(worker.library_version),
        cell(relative(worker.started_at, now)),
        clock_cell(worker),
    )


def clock_cell(worker: WorkerStats) -> Text:
    """Return whether the clock of a worker is that of the database."""
    skew = worker.clock_skew_s
    if skew is None:
        return cell(NOTHING, Style.QUIET)
    if abs(skew) <= _WRONG_CLOCK_S:
        return cell("right", Style.QUIET)
    return cell(f"{duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}", Style.BAD)


def in_flight_listing(tasks: Sequence[InFlightTask]) -> Listing:
    """List tasks that workers hold, those that they have held for the longest time first."""
    columns = (
        Column("TASK"),
        Column("STATUS"),
        Column("FOR", is_number=True),
        Column("QUEUE", 1),
        Column("ATTEMPT", 3, is_number=True),
        Column("WORKER", 2),
        Column("ID", 4),
    )
    rows = tuple(
        Row(
            each.task_id,
            (
                cell(each.task_name),
                status_cell(each.status),
                cell(NOTHING if each.since is None else duration(each.as_of - each.since)),
                cell(each.queue_name),
                cell(each.attempt),
                cell(each.worker_process_name),
                cell(each.task_id, Style.QUIET),
            ),
        )
        for each in tasks
    )
    return Listing(columns, rows, "No worker holds a task.")
