"""`Broker`: the queue as whoever watches over it sees it; and `rerun`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.codes import BrokerErrorCode, TaskStatus
from horsies.config.urls import with_driver
from horsies.db.operations import Call, CallFailedError, Operation, Runner
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import (
    QueueStats,
    RerunnableRow,
    RerunVerdict,
    ScheduleState,
    TaskInfoRow,
    WaitingNameRow,
    Why,
    WorkerStats,
)
from horsies.producer.handle import (
    BrokerOperationError,
    BrokerResult,
    CodecFor,
    TaskHandle,
    no_such_task,
    parse_id,
    unanswered,
)
from horsies.producer.info import ArgsFor, InfoOptions, TaskInfo, task_info
from horsies.producer.send import Producer, with_resend
from horsies.result import Err, Ok
from horsies.task_result import TaskError, TaskResult

_MOST = 1000


@dataclass(frozen=True, slots=True)
class RerunCandidate:
    """A task that a bulk rerun is about to send again.

    Attributes:
        task_id: the ended task.
        reruns: how many reruns it has; it is sent only while that is so.
    """

    task_id: str
    reruns: int


@dataclass(frozen=True, slots=True)
class RerunPreview:
    """The tasks that a bulk rerun is about to send; see `Broker.preview_rerun`.

    Attributes:
        matching: how many tasks fit the conditions, and have no rerun unless those were asked for.
        left_out: how many tasks fit the conditions and are left out because they have a rerun.
        cut_off: tasks that ended later are not among them; by the database's clock.
        candidates: the tasks to be sent, the first ended first; a limit makes them fewer than ``matching``.
    """

    matching: int
    left_out: int
    cut_off: datetime
    candidates: tuple[RerunCandidate, ...]

    @classmethod
    def of(cls, row: RerunnableRow) -> "RerunPreview":
        """Read the database's answer."""
        found = zip(row.ids, row.reruns, strict=True)
        candidates = tuple(RerunCandidate(str(task_id), reruns) for task_id, reruns in found)
        return cls(row.matching, row.left_out, row.cut_off, candidates)


@dataclass(frozen=True, slots=True)
class RerunOutcome:
    """What became of one task of a bulk rerun.

    Attributes:
        task_id: the ended task.
        new_task_id: the task as which it was sent again; None: it was left out.
        verdict: ``sent``; or why it was left out: ``changed`` (it was sent again since the preview), ``live`` (it has
            not ended) or ``unknown`` (its record was pruned).
    """

    task_id: str
    new_task_id: str | None
    verdict: RerunVerdict


class Broker:
    """Questions about all tasks and workers, and what to do about dead ones. No method raises for a database error.

    What only has an awaitable form is for programs that watch; they have an event loop.
    """

    def __init__(self, runner: Runner, codec_for: CodecFor, args_for: ArgsFor, resolve_url: Callable[[], str]) -> None:
        """Made by `Horsies.get_broker`."""
        self.runner = runner
        self.codec_for = codec_for
        self._args_for = args_for
        self._resolve_url = resolve_url

    def database_url(self, driver: str | None = None) -> str:
        """Return the URL of the app's database, for your own connections. The password is in it: do not log it.

        It is the database that the app uses at this moment, also under ``horsies dev`` and on the embedded server. If
        the embedded server does not run, this call starts it, which blocks for some seconds.

        Args:
            driver: the driver to name in the scheme for SQLAlchemy, such as ``psycopg`` or ``asyncpg``. None: the
                scheme is ``postgresql``, as psycopg, asyncpg and psql need it.

        Raises:
            ConfigurationError: HRS-203, no URL is configured, or it is wrong; HRS-211, the embedded server does not
                start.
        """
        return with_driver(self._resolve_url(), driver)

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """A handle of an id; see `Horsies.handle`."""
        return TaskHandle(task_id, self.runner, self.codec_for, args_for=self._args_for)

    def get_task_info(self, task_id: str, **options: Unpack[InfoOptions]) -> BrokerResult[TaskInfo | None]:
        """Ask what is known about a task; see `TaskHandle.info`."""
        return self.handle(task_id).info(**options)

    async def get_task_info_async(self, task_id: str, **options: Unpack[InfoOptions]) -> BrokerResult[TaskInfo | None]:
        """The same as `get_task_info`, awaited."""
        return await self.handle(task_id).info_async(**options)

    def get_result(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """Wait for the outcome of a task, blocking; see `TaskHandle.get`."""
        return self.handle(task_id).get(timeout_ms)

    async def get_result_async(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """The same as `get_result`, awaited."""
        return await self.handle(task_id).get_async(timeout_ms)

    async def list_tasks(  # noqa: PLR0913 - one keyword a condition
        self,
        statuses: Sequence[TaskStatus] | None = None,
        *,
        queue_name: str | None = None,
        task_name: str | None = None,
        error_codes: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        include_args: bool = False,
    ) -> BrokerResult[list[TaskInfo]]:
        """List tasks, the latest sent first. Of ended tasks the latest 100,000 are looked at.

        With ``error_codes``, ``since`` or ``until``, only ended tasks are listed.

        Args:
            statuses: of the tasks; None: any.
            queue_name: their queue; None: any.
            task_name: their name; None: any.
            error_codes: the codes of their errors; None: any.
            since: aware; they ended then or later.
            until: aware; they ended before.
            limit: how many tasks at most.
            include_args: whether each `TaskInfo` has the arguments.
        """
        wanted = monitoring_queries.TaskFilter(
            statuses=statuses, queue=queue_name, name=task_name, codes=error_codes, since=since, until=until
        )
        call = monitoring_queries.list_tasks(wanted, limit, with_args=include_args)
        return (await self._watch(call)).map(self._infos)

    async def get_ended_codes(self) -> BrokerResult[list[str]]:
        """The error codes of the latest 100,000 ended tasks, each once, in alphabetical order."""
        return await self._watch(monitoring_queries.ended_codes())

    async def get_waiting_names(self) -> BrokerResult[list[WaitingNameRow]]:
        """Names under which tasks wait, by queue: how many (a thousand at most), and whether a live worker has them."""
        return await self._watch(monitoring_queries.waiting_names(_MOST))

    async def get_live_ids(
        self, *, queue_name: str | None = None, task_name: str | None = None
    ) -> BrokerResult[list[str]]:
        """The ids of all live tasks, of a queue, of a name (None: of all), the latest sent first."""
        found = await self._watch(monitoring_queries.live_ids(queue_name, task_name))
        return found.map(lambda ids: list(map(str, ids)))

    async def cancel_tasks(self, task_ids: Sequence[str]) -> BrokerResult[list[str]]:
        """End those of the tasks that have not ended, in one transaction; see `TaskHandle.cancel`.

        Returns:
            The ids of the tasks that this call ended.
        """
        known = [found for task_id in task_ids if (found := parse_id(task_id)) is not None]
        ended = await self.runner.run_async(
            answered(monitoring_queries.cancel_many(known), BrokerErrorCode.CLEANUP_FAILED)
        )
        return ended.map(lambda ids: list(map(str, ids)))

    async def preview_rerun(  # noqa: PLR0913 - one keyword a condition
        self,
        statuses: Sequence[TaskStatus] = (TaskStatus.FAILED,),
        *,
        queue_name: str | None = None,
        task_name: str | None = None,
        error_codes: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        again: bool = False,
        limit: int = 1000,
    ) -> BrokerResult[RerunPreview]:
        """Say which ended tasks a bulk rerun would send again; `rerun_tasks` sends them. Nothing is changed.

        Args:
            statuses: in which the tasks ended.
            queue_name: the queue they were in; None: any.
            task_name: their name; None: any.
            error_codes: the codes of their errors; None: any.
            since: aware; they ended then or later.
            until: aware; they ended before.
            again: take also tasks that have a rerun, which are left out otherwise.
            limit: how many tasks at most; those that ended first come first.
        """
        wanted = monitoring_queries.TaskFilter(
            statuses=statuses, queue=queue_name, name=task_name, codes=error_codes, since=since, until=until
        )
        return (await self._watch(monitoring_queries.rerunnable(wanted, limit, again=again))).map(RerunPreview.of)

    async def rerun_tasks(self, candidates: Sequence[RerunCandidate]) -> BrokerResult[list[RerunOutcome]]:
        """Send tasks of a `RerunPreview` again, all of them in one transaction.

        A task that somebody else sent again since the preview is left out, so two callers who repair the same failures
        at the same time never send a task twice.

        Returns:
            What became of each candidate; or an error with ENQUEUE_FAILED. If it is retryable, the tasks may have been
            sent all the same: make a new preview, which leaves those out.
        """
        origins = [parse_id(each.task_id) for each in candidates]
        known = [(origin, each.reruns) for origin, each in zip(origins, candidates, strict=True) if origin is not None]
        new_ids = {origin: uuid7() for origin, _ in known}
        call = monitoring_queries.rerun_many(list(new_ids), list(dict(known).values()), list(new_ids.values()))
        verdicts = await self.runner.run_async(answered(call, BrokerErrorCode.ENQUEUE_FAILED))

        def outcome(candidate: RerunCandidate, origin: UUID | None, found: dict[UUID, RerunVerdict]) -> RerunOutcome:
            verdict = "unknown" if origin is None else found[origin]
            made = str(new_ids[origin]) if origin is not None and verdict == "sent" else None
            return RerunOutcome(candidate.task_id, made, verdict)

        return verdicts.map(lambda found: [outcome(*each, found) for each in zip(candidates, origins, strict=True)])

    async def get_stale_tasks(self, stale_threshold_minutes: float = 2) -> BrokerResult[list[TaskInfo]]:
        """Tasks in the hands of workers that have been silent for so long; a thousand at most, oldest claim first."""
        return (await self._watch(monitoring_queries.stale_tasks(stale_threshold_minutes * 60, _MOST))).map(self._infos)

    async def get_expired_tasks(self) -> BrokerResult[list[TaskInfo]]:
        """Tasks of the last day that were not started by their `good_until`; a thousand at most, latest first."""
        return (await self._watch(monitoring_queries.expired_tasks(_MOST))).map(self._infos)

    async def get_worker_stats(self) -> BrokerResult[list[WorkerStats]]:
        """All workers that are known, and how much each has in hand; oldest first."""
        return await self._watch(monitoring_queries.worker_stats())

    async def ping(self) -> BrokerResult[float]:
        """How many milliseconds the database takes to answer, with opening a connection if there is none."""
        started = time.perf_counter()
        return (await self._watch(monitoring_queries.ping())).map(lambda _: (time.perf_counter() - started) * 1000)

    async def get_schedules(self) -> BrokerResult[list[ScheduleState]]:
        """All schedules that a scheduler has made known; by name."""
        return (await self._watch(schedule_queries.schedule_states())).map(_schedules)

    async def pause_schedule(self, name: str) -> BrokerResult[bool | None]:
        """Pause a schedule; what is due while it is paused is let pass. ``Ok(None)``: it is not known.

        Returns:
            Whether this call changed it.
        """
        return await self._watch(schedule_queries.schedule_pause(name, paused=True))

    async def resume_schedule(self, name: str) -> BrokerResult[bool | None]:
        """Let a paused schedule go on, from now. The answers are those of `pause_schedule`."""
        return await self._watch(schedule_queries.schedule_pause(name, paused=False))

    async def run_schedule(self, name: str) -> BrokerResult[str | None]:
        """Send a schedule's task now, whatever is due; the task's id. ``Ok(None)``: the schedule is not known."""
        task_id = uuid7()
        ran = await self._watch(schedule_queries.schedule_run(name, task_id))
        return ran.map(lambda is_known: str(task_id) if is_known else None)

    async def why(self, task_id: str) -> BrokerResult[Why]:
        """What a task is waiting for: the conditions that workers' claims have, in words; or a run, for which nodes.

        The reason is ``unknown`` if there is no task or run of that id.
        """
        wanted = parse_id(task_id)
        if wanted is None:
            return Ok(Why("unknown", "there is no such task: the id of a task is a UUID"))
        return await self._watch(monitoring_queries.why(wanted))

    async def get_queues(self, names: Sequence[str] = ()) -> BrokerResult[list[QueueStats]]:
        """These queues, those that live workers work on, and those that are paused or capped here; by name."""
        return await self._watch(monitoring_queries.queue_stats(names))

    async def pause_queue(self, name: str) -> BrokerResult[bool]:
        """Have nothing of a queue start any more, in the whole cluster; what runs, ends. Whether it ran before."""
        return await self._watch(monitoring_queries.queue_control(name, "pause"))

    async def resume_queue(self, name: str) -> BrokerResult[bool]:
        """Let a paused queue go on, at once. Whether it was paused."""
        return await self._watch(monitoring_queries.queue_control(name, "resume"))

    async def cap_queue(self, name: str, max_concurrency: int | None) -> BrokerResult[bool]:
        """Give a queue a cap in place of what its apps declare; None: what they declare. Whether that is a change."""
        return await self._watch(monitoring_queries.queue_control(name, "cap", max_concurrency))

    async def mark_stale_tasks_as_failed(self, stale_threshold_ms: int = 300_000) -> BrokerResult[int]:
        """Declare workers dead that have been silent for so long, as any worker does by itself in time.

        Their running tasks fail with WORKER_CRASHED, or are retried if the policy names it; what they have not begun
        goes back to the queue. A worker that lives after all kills its children once it learns of it: with a threshold
        below the app's own, a retry may begin before that.

        Returns:
            How many running tasks that were.
        """
        return await self._clean(lambda: monitoring_queries.reap_stale(stale_threshold_ms / 1000, _MOST))

    async def requeue_stale_claimed(self, stale_threshold_ms: int = 120_000) -> BrokerResult[int]:
        """Return to their queues what silent workers have claimed and not begun; how many."""
        return await self._clean(lambda: monitoring_queries.return_stale_to_queue(stale_threshold_ms / 1000, _MOST))

    def _infos(self, rows: list[TaskInfoRow]) -> list[TaskInfo]:
        return [task_info(row, None, None, with_reason=False, args_for=self._args_for) for row in rows]

    async def _watch[R](self, call: Call[R]) -> BrokerResult[R]:
        return await self.runner.run_async(answered(call))

    async def _clean(self, batch: Callable[[], Call[int]]) -> BrokerResult[int]:
        return await self.runner.run_async(_clean(batch))


def answered[R](
    call: Call[R], code: BrokerErrorCode = BrokerErrorCode.MONITORING_QUERY_FAILED
) -> Operation[BrokerResult[R]]:
    """Ask the database; a call that fails becomes an error with a code."""
    try:
        return Ok((yield call))
    except CallFailedError as failure:
        return unanswered(code, failure)


def _clean(batch: Callable[[], Call[int]]) -> Operation[BrokerResult[int]]:
    total = 0
    while True:
        try:
            count: int = yield batch()
        except CallFailedError as failure:
            return unanswered(BrokerErrorCode.CLEANUP_FAILED, failure)
        total += count
        if count < _MOST:
            return Ok(total)


def _schedules(found: tuple[datetime, dict[str, ScheduleState]]) -> list[ScheduleState]:
    return list(found[1].values())


def rerun(
    producer: Producer, task_id: str, make_handle: Callable[[str], TaskHandle[Any]]
) -> Operation[BrokerResult[TaskHandle[Any]]]:
    """Send an ended task again; with ``resend_on_transient_err``, replay that up to three times."""
    origin, new_id = parse_id(task_id), uuid7()
    if origin is None:
        return no_such_task(task_id)

    def attempt() -> Operation[BrokerResult[TaskHandle[Any]]]:
        return _rerun(origin, new_id, make_handle)

    return (yield from with_resend(producer, attempt(), attempt))


def _rerun(
    origin: UUID, new_id: UUID, make_handle: Callable[[str], TaskHandle[Any]]
) -> Operation[BrokerResult[TaskHandle[Any]]]:
    try:
        verdict: str = yield task_queries.rerun(origin, new_id)
    except CallFailedError as failure:
        return unanswered(BrokerErrorCode.ENQUEUE_FAILED, failure)
    if verdict == "unknown":
        return no_such_task(str(origin))
    if verdict == "live":
        message = f"task {origin} has not ended: wait for it, or cancel it first"
        return Err(BrokerOperationError(BrokerErrorCode.ENQUEUE_FAILED, message, retryable=False))
    return Ok(make_handle(str(new_id)))
