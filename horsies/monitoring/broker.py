"""`Broker`: monitoring and control of all tasks, queues, schedules and workers; and the operation `rerun`."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Unpack
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.codes import BrokerErrorCode, TaskStatus
from horsies.config.urls import with_driver
from horsies.db.operations import Call, CallFailedError, Operation, Runner
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries import schedules as schedule_queries
from horsies.db.queries import status as status_queries
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.rows import (
    QueueStats,
    RerunVerdict,
    ScheduleState,
    TaskInfoRow,
    WaitingNameRow,
    Why,
    WorkerStats,
)
from horsies.db.queries.status import QueueStatusRow
from horsies.monitoring.answers import RerunCandidate, RerunOutcome, RerunPreview, TaskPage
from horsies.monitoring.asking import answered, wrong_limit
from horsies.monitoring.filters import TaskQuery
from horsies.monitoring.flow import FlowControl
from horsies.monitoring.pings import ping_workers
from horsies.monitoring.task_lists import search
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
from horsies.producer.traces import begin_send, traced
from horsies.result import Err, Ok
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.registry import LARGEST_NUMBER
from horsies.tracing.policy import LINKS, TracePolicy

_MOST = 1000


class Broker(FlowControl):
    """Queries and operations for all tasks, queues, schedules and workers. `Horsies.get_broker` makes it.

    Methods do not raise for database errors; they return an `Err`. Most methods are asynchronous only, because
    monitoring programs usually have an event loop.

    Each change that a method makes is recorded in the database, with the name that `Horsies.get_broker` got; see
    `get_audit`. Changes by a `TaskHandle` are not recorded.
    """

    def __init__(  # noqa: PLR0913 - what the broker needs of the app
        self,
        runner: Runner,
        codec_for: CodecFor,
        args_for: ArgsFor,
        resolve_url: Callable[[], str],
        who: str | None = None,
        *,
        traces: TracePolicy = LINKS,
    ) -> None:
        super().__init__(runner, who)
        self._traces = traces
        self.codec_for = codec_for
        self.args_for = args_for
        self._resolve_url = resolve_url

    def database_url(self, driver: str | None = None) -> str:
        """Return the URL of the app's database, with the password: do not log it.

        It is the URL of the database that the app uses now, also under ``horsies dev`` and with the embedded server. If
        the embedded server is not running, this call starts it, which blocks for some seconds.

        Args:
            driver: The driver to name in the scheme for SQLAlchemy, such as ``psycopg`` or ``asyncpg``. None: the
                scheme is ``postgresql``, as psycopg, asyncpg and psql require.

        Raises:
            ConfigurationError: HRS-203: No URL is configured, or it is invalid. HRS-211: The embedded server does not
                start.
        """
        self.runner.database.check_use()
        return with_driver(self._resolve_url(), driver)

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """Return the handle of a task by its id; see `Horsies.handle`."""
        return TaskHandle(task_id, self.runner, self.codec_for, args_for=self.args_for)

    def get_task_info(self, task_id: str, **options: Unpack[InfoOptions]) -> BrokerResult[TaskInfo | None]:
        """Return the record of a task; see `TaskHandle.info`."""
        return self.handle(task_id).info(**options)

    async def get_task_info_async(self, task_id: str, **options: Unpack[InfoOptions]) -> BrokerResult[TaskInfo | None]:
        """Like `get_task_info`, for asyncio."""
        return await self.handle(task_id).info_async(**options)

    def get_result(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """Block until a task has ended, and return its outcome; see `TaskHandle.get`."""
        return self.handle(task_id).get(timeout_ms)

    async def get_result_async(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """Like `get_result`, for asyncio."""
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
        """Return tasks, the most recently sent first. Only the most recent 100,000 ended tasks are searched.

        With ``error_codes``, ``since`` or ``until``, only ended tasks are returned.

        Args:
            statuses: The states of the tasks; None: any state.
            queue_name: The queue of the tasks; None: any queue.
            task_name: The name of the tasks; None: any name.
            error_codes: The error codes of the tasks; None: any code.
            since: An aware datetime; tasks that ended then or later.
            until: An aware datetime; tasks that ended before it.
            limit: The largest number of tasks to return.
            include_args: Whether each `TaskInfo` has its arguments.
        """
        wanted = monitoring_queries.TaskFilter(
            statuses=statuses, queue=queue_name, name=task_name, codes=error_codes, since=since, until=until
        )
        if (wrong := wrong_limit(limit, 0, LARGEST_NUMBER)) is not None:
            return wrong
        call = monitoring_queries.list_tasks(wanted, limit, with_args=include_args)
        return (await self._query(call)).map(self._infos)

    async def search_tasks(
        self, wanted: str | TaskQuery, *, before: str | None = None, limit: int = 100, include_args: bool = False
    ) -> BrokerResult[TaskPage]:
        """Return a page of the tasks that match a filter, the most recently sent first.

        One call searches the most recent 100,000 live tasks and the most recent 100,000 ended ones at most; the next
        page continues the search.

        Args:
            wanted: A filter such as ``status:failed queue:mail since:2h``, or a parsed one; see `parse_filter`.
            before: The `next_before` of the page before; None: the first page.
            limit: The largest number of tasks to return.
            include_args: Whether each `TaskInfo` has its arguments.

        Returns:
            The page; or an error with MONITORING_QUERY_FAILED, whose message shows the place of a mistake in the
            filter.
        """
        found = search(self.args_for, wanted, before, limit, with_args=include_args)
        return await self.runner.run_async(found)

    async def get_ended_codes(self) -> BrokerResult[list[str]]:
        """The error codes of the latest 100,000 ended tasks, each once, in alphabetical order."""
        return await self._query(monitoring_queries.ended_codes())

    async def get_waiting_names(self) -> BrokerResult[list[WaitingNameRow]]:
        """Return the names of waiting tasks by queue, at most 1,000, with counts, and whether a live worker has it."""
        return await self._query(monitoring_queries.waiting_names(_MOST))

    async def get_live_ids(
        self, *, queue_name: str | None = None, task_name: str | None = None
    ) -> BrokerResult[list[str]]:
        """Return the ids of live tasks, of a queue and a name (None: all), the most recently sent first."""
        found = await self._query(monitoring_queries.live_ids(queue_name, task_name))
        return found.map(lambda ids: list(map(str, ids)))

    async def cancel_tasks(self, task_ids: Sequence[str]) -> BrokerResult[list[str]]:
        """Cancel the given tasks in one transaction, except those that have already ended; see `TaskHandle.cancel`.

        Returns:
            The ids of the tasks that this call cancelled.
        """
        known = [found for task_id in task_ids if (found := parse_id(task_id)) is not None]
        ended = await self.runner.run_async(
            answered(monitoring_queries.cancel_many(known, who=self.who), BrokerErrorCode.CLEANUP_FAILED)
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
        """Return the ended tasks that a bulk rerun would send again, without changing anything.

        Pass the candidates to `rerun_tasks` to send them.

        Args:
            statuses: The states in which the tasks ended.
            queue_name: The queue of the tasks; None: any queue.
            task_name: The name of the tasks; None: any name.
            error_codes: The error codes of the tasks; None: any code.
            since: An aware datetime; tasks that ended then or later.
            until: An aware datetime; tasks that ended before it.
            again: Whether to include tasks that already have a rerun.
            limit: The largest number of tasks; those that ended first are returned first.
        """
        wanted = monitoring_queries.TaskFilter(
            statuses=statuses, queue=queue_name, name=task_name, codes=error_codes, since=since, until=until
        )
        if (wrong := wrong_limit(limit, 0, LARGEST_NUMBER)) is not None:
            return wrong
        return (await self._query(monitoring_queries.rerunnable(wanted, limit, again=again))).map(RerunPreview.of)

    async def rerun_tasks(self, candidates: Sequence[RerunCandidate]) -> BrokerResult[list[RerunOutcome]]:
        """Send the tasks of a `RerunPreview` again, in one transaction.

        A task that was sent again since the preview is left out, so that two callers who repair the same failures at
        the same time do not send a task twice.

        Returns:
            The outcome for each candidate; or an error with ENQUEUE_FAILED. If the error is retryable, the tasks may
            have been sent nevertheless: make a new preview, which leaves those tasks out.
        """
        origins = [parse_id(each.task_id) for each in candidates]
        known = [(origin, each.reruns) for origin, each in zip(origins, candidates, strict=True) if origin is not None]
        new_ids = {origin: uuid7() for origin, _ in known}
        reruns = list(dict(known).values())
        span = begin_send(self._traces, "")
        context = None if span is None else span.context
        call = monitoring_queries.rerun_many(
            list(new_ids), reruns, list(new_ids.values()), who=self.who, trace_context=context
        )
        sending = answered(call, BrokerErrorCode.ENQUEUE_FAILED)
        verdicts = await self.runner.run_async(sending if span is None else traced(span, sending))

        def outcome(candidate: RerunCandidate, origin: UUID | None, found: dict[UUID, RerunVerdict]) -> RerunOutcome:
            verdict = "unknown" if origin is None else found[origin]
            made = str(new_ids[origin]) if origin is not None and verdict == "sent" else None
            return RerunOutcome(candidate.task_id, made, verdict)

        return verdicts.map(lambda found: [outcome(*each, found) for each in zip(candidates, origins, strict=True)])

    async def get_stale_tasks(self, stale_threshold_minutes: float = 2) -> BrokerResult[list[TaskInfo]]:
        """Return the claimed and running tasks of workers whose last heartbeat is older than the threshold.

        At most 1,000 tasks are returned, in the order in which they were claimed.
        """
        return (await self._query(monitoring_queries.stale_tasks(stale_threshold_minutes * 60, _MOST))).map(self._infos)

    async def get_expired_tasks(self) -> BrokerResult[list[TaskInfo]]:
        """Return tasks of the last day that were not started by their `good_until`: at most 1,000, latest first."""
        return (await self._query(monitoring_queries.expired_tasks(_MOST))).map(self._infos)

    async def get_worker_stats(self) -> BrokerResult[list[WorkerStats]]:
        """Return all registered workers with the number of tasks that each has claimed and runs, oldest first."""
        return await self._query(monitoring_queries.worker_stats())

    def ping_workers(self, min_responses: int = 1, timeout_ms: int = 3000) -> BrokerResult[list[WorkerStats]]:
        """Ask all workers for a heartbeat, and block until enough of them have answered.

        Workers answer within about a second, because each sends one such heartbeat a second at most. A worker that
        cannot listen for notifications, behind a pooler in transaction mode or of an older version, answers with its
        next regular heartbeat.

        Args:
            min_responses: The call returns as soon as this number of workers has answered.
            timeout_ms: It returns after this time even if fewer have answered.

        Returns:
            The workers that have answered, perhaps fewer than ``min_responses``; or an error with
            MONITORING_QUERY_FAILED.
        """
        return self.runner.run(ping_workers(min_responses, timeout_ms))

    async def ping_workers_async(
        self, min_responses: int = 1, timeout_ms: int = 3000
    ) -> BrokerResult[list[WorkerStats]]:
        """Like `ping_workers`, for asyncio."""
        return await self.runner.run_async(ping_workers(min_responses, timeout_ms))

    async def ping(self) -> BrokerResult[float]:
        """Return the response time of the database in milliseconds, including opening a connection if needed."""
        started = time.perf_counter()
        return (await self._query(monitoring_queries.ping())).map(lambda _: (time.perf_counter() - started) * 1000)

    async def get_schedules(self) -> BrokerResult[list[ScheduleState]]:
        """Return all schedules that a scheduler has registered, sorted by name."""
        return (await self._query(schedule_queries.schedule_states())).map(_schedules)

    async def pause_schedule(self, name: str) -> BrokerResult[bool | None]:
        """Pause a schedule. Runs that become due while it is paused are skipped.

        Returns:
            Whether this call paused it; ``Ok(None)`` if the schedule is not registered.
        """
        return await self._query(schedule_queries.schedule_pause(name, paused=True, who=self.who))

    async def resume_schedule(self, name: str) -> BrokerResult[bool | None]:
        """Resume a paused schedule from now on.

        Returns:
            Whether this call resumed it; ``Ok(None)`` if the schedule is not registered.
        """
        return await self._query(schedule_queries.schedule_pause(name, paused=False, who=self.who))

    async def run_schedule(self, name: str) -> BrokerResult[str | None]:
        """Send the task of a schedule now, independent of its pattern.

        Returns:
            The id of the task: the new one or, if the task is unique and another one keeps it from being sent, that
            one; ``Ok(None)`` if the schedule is not registered.
        """
        ran = await self._query(schedule_queries.schedule_run(name, uuid7(), who=self.who))
        return ran.map(lambda task_id: None if task_id is None else str(task_id))

    async def why(self, task_id: str) -> BrokerResult[Why]:
        """Explain what a task is waiting for before a worker can claim it, or for which nodes a run is waiting.

        The reason is ``unknown`` if there is no task or run with that id.
        """
        known_id = parse_id(task_id)
        if known_id is None:
            return Ok(Why("unknown", "there is no such task: the id of a task must be a UUID"))
        return await self._query(monitoring_queries.why(known_id))

    async def get_queues(self, names: Sequence[str] = ()) -> BrokerResult[list[QueueStats]]:
        """Return numbers of the named queues, and of those that have tasks or live workers, or were paused or limited.

        The cost does not grow with the number of tasks: see `horsies.monitoring.queue_status`, which also says how
        exact the numbers are. Tasks of paused workflow runs are not counted.
        """
        return (await self._query(status_queries.queue_status(names))).map(_queue_stats)

    async def pause_queue(self, name: str) -> BrokerResult[bool]:
        """Pause a queue in the whole cluster: no task starts any more, and running tasks finish normally.

        Returns:
            Whether this call paused it; False if it was already paused.
        """
        return await self._query(monitoring_queries.queue_control(name, "pause", who=self.who))

    async def resume_queue(self, name: str) -> BrokerResult[bool]:
        """Resume a paused queue immediately.

        Returns:
            Whether this call resumed it; False if it was not paused.
        """
        return await self._query(monitoring_queries.queue_control(name, "resume", who=self.who))

    async def cap_queue(self, name: str, max_concurrency: int | None) -> BrokerResult[bool]:
        """Override the ``max_concurrency`` that apps declare for a queue; None removes the override.

        Returns:
            Whether this call changed the cap.
        """
        return await self._query(monitoring_queries.queue_control(name, "cap", max_concurrency, who=self.who))

    async def mark_stale_tasks_as_failed(self, stale_threshold_ms: int = 300_000) -> BrokerResult[int]:
        """Declare workers dead whose last heartbeat is older than the threshold. Workers do the same periodically.

        The running tasks of these workers fail with WORKER_CRASHED, or are retried if their policy names that code.
        Tasks that were not started return to the queue. If such a worker is in fact alive, it kills its child
        processes when it learns that it was declared dead. With a threshold below that of the app, a retry may start
        before that.

        Unlike workers, this trusts the clock of the server. After that clock was set forward, a healthy worker looks
        silent until its next heartbeat, so wait for ``runner_heartbeat_interval_ms`` before you call this.

        Args:
            stale_threshold_ms: The age of the last heartbeat, in milliseconds.

        Returns:
            The number of running tasks that were recovered.
        """
        return await self._clean(lambda: monitoring_queries.reap_stale(stale_threshold_ms / 1000, _MOST, who=self.who))

    async def requeue_stale_claimed(self, stale_threshold_ms: int = 120_000) -> BrokerResult[int]:
        """Return the claimed but not started tasks of workers without a recent heartbeat to their queues.

        Args:
            stale_threshold_ms: The age of the last heartbeat, in milliseconds.

        Returns:
            The number of these tasks.
        """
        threshold_s = stale_threshold_ms / 1000
        return await self._clean(lambda: monitoring_queries.return_stale_to_queue(threshold_s, _MOST, who=self.who))

    def _infos(self, rows: list[TaskInfoRow]) -> list[TaskInfo]:
        return [task_info(row, None, None, with_reason=False, args_for=self.args_for) for row in rows]

    async def _query[R](self, call: Call[R]) -> BrokerResult[R]:
        return await self.runner.run_async(answered(call))

    async def _clean(self, batch: Callable[[], Call[int]]) -> BrokerResult[int]:
        return await self.runner.run_async(_clean(batch))


def _queue_stats(rows: list[QueueStatusRow]) -> list[QueueStats]:
    return [
        QueueStats(
            row.name,
            row.waiting,
            row.scheduled,
            row.claimed,
            row.running,
            paused=row.paused,
            max_concurrency=row.max_concurrency,
            workers=row.workers,
        )
        for row in rows
    ]


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
    producer: Producer, task_id: str, make_handle: Callable[[str], TaskHandle[Any]], who: str | None = None
) -> Operation[BrokerResult[TaskHandle[Any]]]:
    """Send an ended task again. With ``resend_on_transient_err``, retry that up to three times.

    With ``who``, the name of a person or program that operates the queue, the action is recorded.
    """
    origin, new_id = parse_id(task_id), uuid7()
    if origin is None:
        return no_such_task(task_id)

    span = begin_send(producer.traces, "", message_id=new_id)
    trace_context = None if span is None else span.context

    def attempt() -> Operation[BrokerResult[TaskHandle[Any]]]:
        call = task_queries.rerun(origin, new_id, who=who, trace_context=trace_context)
        return _rerun(call, origin, new_id, make_handle)

    sending = with_resend(producer, attempt(), attempt)
    return (yield from (sending if span is None else traced(span, sending)))


def _rerun(
    call: Call[str], origin: UUID, new_id: UUID, make_handle: Callable[[str], TaskHandle[Any]]
) -> Operation[BrokerResult[TaskHandle[Any]]]:
    try:
        verdict: str = yield call
    except CallFailedError as failure:
        return unanswered(BrokerErrorCode.ENQUEUE_FAILED, failure)
    if verdict == "unknown":
        return no_such_task(str(origin))
    if verdict == "live":
        message = f"task {origin} has not ended: wait for it, or cancel it first"
        return Err(BrokerOperationError(BrokerErrorCode.ENQUEUE_FAILED, message, retryable=False))
    return Ok(make_handle(str(new_id)))
