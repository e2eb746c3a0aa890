"""What ``horsies top`` shows about one queue, task, error group, run or worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from horsies.db.queries.limits import QueueLimits
from horsies.db.queries.rows import Why, WorkerStats
from horsies.monitoring import (
    ErrorCount,
    ErrorGroup,
    InFlightTask,
    QueueStatus,
    Run,
    RunNode,
    WaitingReason,
    error_counts_async,
    in_flight_tasks_async,
    run_nodes_async,
    waiting_reasons_async,
)
from horsies.monitoring.reasons import reason_of
from horsies.monitoring.texts import counted, duration, line, number, rate, relative, utc
from horsies.producer.info import TaskAttemptInfo, TaskInfo
from horsies.rendering import printable_block
from horsies.top.listings import NOTHING, clock_cell, in_flight_listing, status_cell
from horsies.top.overview import Figure, figures_table, heading
from horsies.top.reading import Reader, value_of
from horsies.top.tables import Column, Listing, Row, Style, cell, rich_table

_MOST_ROWS = 100
_MOST_CHARACTERS = 2000
_MOST_IN_FLIGHT = 2000


@dataclass(frozen=True, slots=True)
class QueueDetail:
    """More about a queue.

    Attributes:
        status: Its state.
        limits: Its limits that are in effect.
        reasons: Why its tasks wait.
        in_flight: The tasks that workers hold.
    """

    status: QueueStatus
    limits: QueueLimits
    reasons: tuple[WaitingReason, ...]
    in_flight: tuple[InFlightTask, ...]


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """More about a task.

    Attributes:
        info: Its record, with its attempts.
        why: Why it waits; None: it has ended.
    """

    info: TaskInfo
    why: Why | None


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """More about an error group: its failures by hour."""

    group: ErrorGroup
    counts: tuple[ErrorCount, ...]


@dataclass(frozen=True, slots=True)
class RunDetail:
    """More about a workflow run: its nodes."""

    run: Run
    nodes: tuple[RunNode, ...]


@dataclass(frozen=True, slots=True)
class WorkerDetail:
    """More about a worker: the tasks that it holds."""

    worker: WorkerStats
    in_flight: tuple[InFlightTask, ...]


type Detail = QueueDetail | TaskDetail | ErrorDetail | RunDetail | WorkerDetail


async def queue_detail(reader: Reader, name: str) -> QueueDetail | None:
    """Read more about a queue; None: there is no such queue. Raises UnansweredError."""
    found = next((each for each in await reader.queues() if each.queue_name == name), None)
    if found is None:
        return None
    reasons = await value_of(waiting_reasons_async(reader.broker))
    return QueueDetail(
        status=found,
        limits=await value_of(reader.broker.get_queue_limits_async(name)),
        reasons=tuple(each for each in reasons if each.queue_name == name),
        in_flight=await value_of(in_flight_tasks_async(reader.broker, queue_name=name, limit=_MOST_ROWS)),
    )


async def task_detail(reader: Reader, task_id: str) -> TaskDetail | None:
    """Read more about a task, without its arguments and result; None: it was deleted. Raises UnansweredError."""
    info = await value_of(reader.broker.get_task_info_async(task_id, include_attempts=True, include_failed_reason=True))
    if info is None:
        return None
    return TaskDetail(info, None if info.ended_at is not None else await value_of(reader.broker.why(task_id)))


async def error_detail(reader: Reader, group_id: int) -> ErrorDetail | None:
    """Read more about an error group of the last day; None: there is no such group. Raises UnansweredError."""
    found = await reader.errors()
    group = next((each for each in found.groups if each.group_id == group_id), None)
    if group is None:
        return None
    now = datetime.now(UTC)
    return ErrorDetail(group, await value_of(error_counts_async(reader.broker, group_id, group.first_seen, now)))


async def run_detail(reader: Reader, run_id: str) -> RunDetail | None:
    """Read more about a run; None: it is not among the latest ones. Raises UnansweredError."""
    run = next((each for each in await reader.runs() if each.run_id == run_id), None)
    return None if run is None else RunDetail(run, await value_of(run_nodes_async(reader.broker, run_id)))


async def worker_detail(reader: Reader, worker_id: str) -> WorkerDetail | None:
    """Read more about a worker; None: it has gone. Raises UnansweredError."""
    worker = next((each for each in await reader.workers() if each.worker_id == worker_id), None)
    if worker is None:
        return None
    held = await value_of(in_flight_tasks_async(reader.broker, limit=_MOST_IN_FLIGHT))
    return WorkerDetail(worker, tuple(each for each in held if each.worker_id == worker_id))


def title_of(detail: Detail) -> str:
    """Return the title of a detail, on one line."""
    match detail:
        case QueueDetail(status=status):
            return f"Queue {line(status.queue_name)}"
        case TaskDetail(info=info):
            return f"Task {line(info.task_name)}"
        case ErrorDetail(group=group):
            return f"Error {line(group.error_code)} of task {line(group.task_name)}"
        case RunDetail(run=run):
            return f"Run of workflow {line(run.name)}"
        case WorkerDetail(worker=worker):
            return f"Worker {line(worker.process_name)}"


def layout(detail: Detail, width: int) -> Group:
    """Lay out a detail for a number of cells."""
    match detail:
        case QueueDetail():
            parts = _queue_parts(detail, width)
        case TaskDetail():
            parts = _task_parts(detail, width)
        case ErrorDetail():
            parts = _error_parts(detail, width)
        case RunDetail():
            parts = _run_parts(detail, width)
        case WorkerDetail():
            parts = _worker_parts(detail, width)
    return Group(*parts)


def _queue_parts(detail: QueueDetail, width: int) -> list[RenderableType]:
    queue, limits = detail.status, detail.limits
    most = queue.max_concurrency
    figures: list[Figure] = [
        ("Waiting", cell(number(queue.waiting))),
        ("Oldest due", cell(NOTHING if queue.oldest_due is None else duration(queue.oldest_due))),
        ("Running", cell(f"{queue.running:,} of {'any number' if most is None else f'at most {most:,}'}")),
        ("Claimed", cell(number(queue.claimed))),
        ("Scheduled", cell(number(queue.scheduled))),
        ("In paused runs", cell(number(queue.held))),
        ("Workers", cell(number(queue.workers), Style.PLAIN if queue.workers else Style.BAD)),
        ("Paused", cell("yes" if queue.paused else "no", Style.WARNING if queue.paused else Style.PLAIN)),
    ]
    if queue.held_until is not None:
        figures.append(("Held until", cell(f"{utc(queue.held_until)} UTC", Style.WARNING)))
    if limits.per_key is not None:
        figures.append(("Limit of one key", cell(number(limits.per_key))))
    figures += [
        (label, cell(rate(value)))
        for label, value in (("Rate", limits.rate), ("Rate of one key", limits.rate_per_key))
        if value is not None
    ]
    return [
        figures_table(figures, width),
        heading("Why its tasks wait"),
        rich_table(_waiting_listing(detail.reasons), width),
        heading("Tasks that fill it"),
        rich_table(in_flight_listing(detail.in_flight), width),
    ]


def _waiting_listing(reasons: Sequence[WaitingReason]) -> Listing:
    columns = (Column("TASK"), Column("TASKS", is_number=True), Column("REASON"), Column("WHAT HELPS", 1))
    ordered = sorted(reasons, key=lambda each: -each.tasks.number)[:_MOST_ROWS]
    rows = tuple(
        Row(
            f"{each.task_name} {each.reason}",
            (
                cell(each.task_name),
                cell(number(each.tasks)),
                cell(reason_of(each.reason).label),
                cell(reason_of(each.reason).remedy),
            ),
        )
        for each in ordered
    )
    return Listing(columns, rows, "No task of this queue waits.")


def _task_parts(detail: TaskDetail, width: int) -> list[RenderableType]:
    info, now = detail.info, datetime.now(UTC)
    status = status_cell(info.status)
    parts: list[RenderableType] = []
    if detail.why is not None:
        sentence = detail.why.sentence
        parts += [
            Text.assemble(status, "  ", (line(sentence[:1].upper() + sentence[1:]) + ".", Style.TITLE)),
            Text(reason_of(detail.why.reason).remedy, style=Style.QUIET),
        ]
    else:
        ended = "" if info.ended_at is None else f"  It ended {relative(info.ended_at, now)}."
        parts.append(Text.assemble(status, (ended, Style.TITLE)))
    parts += [Text(), figures_table(_task_figures(info, now), width)]
    if info.failed_reason is not None:
        reason = info.failed_reason
        more = "" if len(reason) <= _MOST_CHARACTERS else " …"
        parts += [heading("Error"), Text(printable_block(reason[:_MOST_CHARACTERS]) + more)]
    if info.attempts:
        parts += [heading("Attempts"), rich_table(_attempt_listing(info.attempts), width)]
    return parts


def _task_figures(info: TaskInfo, now: datetime) -> list[Figure]:
    times = {
        "Sent": info.sent_at,
        "Due": info.enqueued_at,
        "Started": info.started_at,
        "Ended": info.ended_at,
        "Next attempt": info.next_retry_at,
        "Must start by": info.good_until,
    }
    figures: list[Figure] = [("Id", cell(info.task_id)), ("Queue", cell(info.queue_name))]
    figures += [
        (label, cell(f"{utc(time)} UTC, {relative(time, now)}")) for label, time in times.items() if time is not None
    ]
    figures += [
        ("Priority", cell(info.priority)),
        ("Retries", cell(f"{info.retry_count:,} of {info.max_retries:,}")),
    ]
    others: dict[str, object] = {
        "Error code": info.error_code,
        "Worker": info.worker_process_name,
        "Progress": info.progress,
        "Rerun of": info.rerun_of,
        "Reruns": ", ".join(info.reruns[:_MOST_ROWS]) or None,
    }
    figures += [(label, cell(value)) for label, value in others.items() if value is not None]
    if (last := info.postponed) is not None:
        words = f"{counted(last.count, 'time')}, last {relative(last.at, now)}: {last.code}"
        figures.append(("Asked to run later", cell(words)))
    return figures


def _attempt_listing(attempts: Sequence[TaskAttemptInfo]) -> Listing:
    columns = (
        Column("ATTEMPT", is_number=True),
        Column("OUTCOME"),
        Column("RAN", 1, is_number=True),
        Column("STARTED", 3),
        Column("ERROR"),
        Column("MESSAGE", 2),
        Column("WORKER", 4),
    )
    rows = tuple(
        Row(
            str(each.attempt),
            (
                cell(each.attempt),
                cell("will be retried" if each.will_retry else each.outcome.lower()),
                cell(duration(each.finished_at - each.started_at)),
                cell(utc(each.started_at)),
                cell(each.error_code, Style.BAD),
                cell(each.error_message),
                cell(each.worker_process_name),
            ),
        )
        for each in attempts[:_MOST_ROWS]
    )
    return Listing(columns, rows, "No attempt has ended.")


def _error_parts(detail: ErrorDetail, width: int) -> list[RenderableType]:
    group, now = detail.group, datetime.now(UTC)
    figures: list[Figure] = [
        ("Failed", cell(f"{counted(group.number, 'attempt')} in the last day", Style.BAD)),
        ("Place", cell(group.frame or NOTHING)),
        ("First", cell(f"{utc(group.first_seen)} UTC, {relative(group.first_seen, now)}")),
        ("Last", cell(f"{utc(group.last_seen)} UTC, {relative(group.last_seen, now)}")),
        ("Example", cell(group.example_id)),
    ]
    by_hour: dict[datetime, int] = {}
    for each in detail.counts:
        by_hour[each.hour] = by_hour.get(each.hour, 0) + each.number
    rows = tuple(
        Row(str(hour), (cell(f"{utc(hour)[:16]} UTC"), cell(number(failed))))
        for hour, failed in sorted(by_hour.items(), reverse=True)[:24]
    )
    listing = Listing((Column("HOUR"), Column("FAILED", is_number=True)), rows, "No failures are counted.")
    return [
        figures_table(figures, width),
        heading("Message"),
        Text(line(group.message)),
        heading("By hour, the latest first"),
        rich_table(listing, width),
    ]


def _run_parts(detail: RunDetail, width: int) -> list[RenderableType]:
    run, now = detail.run, datetime.now(UTC)
    figures: list[Figure] = [
        ("Id", cell(run.run_id)),
        ("Status", status_cell(run.status)),
        ("Nodes", cell(f"{run.nodes:,}: {run.completed:,} completed, {run.failed:,} failed, {run.skipped:,} skipped")),
        ("Started", cell(f"{utc(run.started_at)} UTC, {relative(run.started_at, now)}")),
    ]
    if run.finished_at is not None:
        figures.append(("Ended", cell(f"{utc(run.finished_at)} UTC, {relative(run.finished_at, now)}")))
    return [figures_table(figures, width), heading("Nodes"), rich_table(_node_listing(detail.nodes, now), width)]


def _node_listing(nodes: Sequence[RunNode], now: datetime) -> Listing:
    columns = (
        Column("NODE"),
        Column("STATUS"),
        Column("TASK", 2),
        Column("RAN", 3, is_number=True),
        Column("ERROR"),
        Column("WAITS FOR", 1),
        Column("CHILD RUN", 4),
    )
    names = {each.index: each.node_id for each in nodes}
    rows = tuple(
        Row(
            str(each.index),
            (
                cell(each.node_id),
                status_cell(each.status),
                cell(each.task_name),
                cell(NOTHING if each.started_at is None else duration((each.finished_at or now) - each.started_at)),
                cell(each.error_code, Style.BAD),
                cell(", ".join(names.get(index, NOTHING) for index in each.waits_for)),
                cell(each.child_run_id, Style.QUIET),
            ),
        )
        for each in nodes[:_MOST_ROWS]
    )
    return Listing(columns, rows, "The run has no nodes.")


def _worker_parts(detail: WorkerDetail, width: int) -> list[RenderableType]:
    worker, now = detail.worker, datetime.now(UTC)
    figures: list[Figure] = [
        ("Id", cell(worker.worker_id)),
        ("Host", cell(f"{worker.hostname}, process {worker.pid}")),
        ("Slots", cell(f"{worker.running:,} of {worker.processes * worker.concurrency:,} busy")),
        ("Heartbeat", cell(relative(worker.heartbeat_at, now), Style.BAD if worker.is_stale else Style.PLAIN)),
        ("Started", cell(f"{utc(worker.started_at)} UTC, {relative(worker.started_at, now)}")),
        ("Version", cell(worker.library_version)),
        ("Clock", clock_cell(worker)),
        ("Queues", cell(", ".join(worker.queues))),
        ("Tasks", cell(", ".join(worker.task_names))),
    ]
    return [
        figures_table(figures, width),
        heading("Tasks that it holds"),
        rich_table(in_flight_listing(detail.in_flight), width),
    ]
