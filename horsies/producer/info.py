"""`TaskInfo` and `TaskAttemptInfo`: the record of a task and its attempts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypedDict, cast

from horsies.codec.problems import InvalidJson
from horsies.codec.signature import plain_args
from horsies.codec.wire import ResultCodec, decode_json
from horsies.codes import BUILT_IN_CODES, BuiltInTaskCode, OutcomeCode, TaskAttemptOutcome, TaskStatus
from horsies.db.queries.rows import AttemptRow, TaskInfoRow
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.registry import PLAIN_RESULTS

type ArgsFor = Callable[[str, bytes], Any]
"""Decodes the stored arguments of a task, given its name; it never raises."""


class InfoOptions(TypedDict, total=False):
    """The optional parts of `TaskInfo`. Each is False by default, because it makes the query more expensive."""

    include_result: bool
    include_failed_reason: bool
    include_attempts: bool
    include_args: bool


@dataclass(frozen=True, slots=True)
class TaskAttemptInfo:
    """One finished attempt of a task. ``attempt`` is its number, from 1."""

    task_id: str
    attempt: int
    outcome: TaskAttemptOutcome
    will_retry: bool
    started_at: datetime
    finished_at: datetime
    error_code: BuiltInTaskCode | str | None
    error_message: str | None
    failed_reason: str | None
    worker_hostname: str | None
    worker_pid: int | None
    worker_process_name: str | None


@dataclass(frozen=True, slots=True)
class TaskPostponement:
    """The last time that a task answered with `RateLimited` or `Snooze`.

    Attributes:
        code: RATE_LIMITED or SNOOZED.
        scope: "task", "key" or "queue": whether the task alone had to wait, or its key, or its queue.
        message: A description for people; None for users who may not see arguments.
        at: When the attempt ended.
        until: Until when the task had to wait. It may wait longer, for other reasons.
        count: How often the task has been postponed.
    """

    code: OutcomeCode
    scope: str
    message: str | None
    at: datetime
    until: datetime
    count: int


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """The record of a task in the database. All times are aware datetimes in UTC, by the clock of the database.

    ``enqueued_at`` is the time from which the task can be claimed. ``retry_count`` counts the retries that started or
    are due. When the task has ended, the field for its status is set: ``completed_at``, ``failed_at``,
    ``cancelled_at`` or ``expired_at``; `ended_at` returns that field. ``rerun_of`` is the id of the task of which this
    task is a rerun, and ``reruns`` are the ids of the reruns of this task, oldest first. ``postponed`` is the last time
    that the task asked to run again later. Such attempts are not counted as retries, and are not among ``attempts``.
    ``key`` is the key by which its queue limits it; None: it has none.

    ``result``, ``failed_reason``, ``attempts`` (newest first) and ``args`` are None unless they were requested.
    Secrets in ``result`` and ``args`` are shown as ``[redacted]``; a ``result`` that may have secrets is plain JSON.
    ``args`` has the arguments by parameter name. They are decoded with the annotations of the task, or as plain JSON if
    this app lacks the task or its signature no longer fits. Defaults and arguments from other nodes are not included.
    """

    task_id: str
    task_name: str
    status: TaskStatus
    queue_name: str
    priority: int
    retry_count: int
    max_retries: int
    next_retry_at: datetime | None
    sent_at: datetime
    enqueued_at: datetime
    claimed_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    cancelled_at: datetime | None
    expired_at: datetime | None
    good_until: datetime | None
    worker_hostname: str | None
    worker_pid: int | None
    worker_process_name: str | None
    error_code: BuiltInTaskCode | str | None
    progress: Any
    rerun_of: str | None
    reruns: Sequence[str] = ()
    postponed: TaskPostponement | None = None
    result: TaskResult[Any, TaskError] | None = None
    failed_reason: str | None = None
    attempts: Sequence[TaskAttemptInfo] | None = None
    args: Any = None
    key: str | None = None

    @property
    def ended_at(self) -> datetime | None:
        """When the task ended, with any status; None if it is live."""
        return self.completed_at or self.failed_at or self.cancelled_at or self.expired_at


def task_info(
    row: TaskInfoRow,
    attempts: Sequence[AttemptRow] | None,
    result_codec: ResultCodec | None,
    *,
    with_reason: bool,
    args_for: "ArgsFor | None" = None,
) -> TaskInfo:
    """Make a `TaskInfo` from a row. The result is decoded if a codec is given, the arguments if the row has them."""
    status = TaskStatus(row.status)
    read_args = args_for or plain_args
    completed = status is TaskStatus.COMPLETED
    if result_codec is not None and (result_codec.secret_paths or result_codec.secret_error_paths):
        result_codec = PLAIN_RESULTS  # "[redacted]" may not have the type of the value
    ended = None if row.result is None else (completed, row.result)
    reason = _message(row.result) if with_reason and not completed else None
    return _from_row(
        row,
        TaskInfo,
        task_id=str(row.id),
        status=status,
        queue_name=row.queue,
        retry_count=row.attempt if row.waits_for_retry else max(row.attempt - 1, 0),
        next_retry_at=row.run_at if row.waits_for_retry else None,
        enqueued_at=row.run_at,
        completed_at=row.finished_at if completed else None,
        failed_at=row.finished_at if status is TaskStatus.FAILED else None,
        cancelled_at=row.finished_at if status is TaskStatus.CANCELLED else None,
        expired_at=row.finished_at if status is TaskStatus.EXPIRED else None,
        error_code=_code(row.error_code),
        progress=_progress(row.progress),
        key=row.task_key or None,
        rerun_of=None if row.rerun_of is None else str(row.rerun_of),
        reruns=tuple(map(str, row.reruns)),
        postponed=None if row.postponed is None else _postponement(row.postponed),
        args=None if row.args is None else read_args(row.task_name, row.args),
        result=result_codec.decode(*ended) if result_codec is not None and ended is not None else None,
        failed_reason=reason,
        attempts=None if attempts is None else [_attempt_info(str(row.id), attempt) for attempt in attempts],
    )


def _progress(stored: bytes | None) -> Any:
    """Return a stored report of progress; as text if Python cannot read it, such as a number of 5,000 digits."""
    if stored is None:
        return None
    try:
        return decode_json(stored)
    except InvalidJson:
        return stored.decode()


def _postponement(stored: bytes) -> TaskPostponement:
    facts = cast("dict[str, Any]", decode_json(stored))
    at, until = (datetime.fromisoformat(facts[name]).astimezone(UTC) for name in ("at", "until"))
    code = OutcomeCode(facts["code"])
    return TaskPostponement(code, facts["scope"], facts.get("message"), at, until, facts["count"])


def _attempt_info(task_id: str, row: AttemptRow) -> TaskAttemptInfo:
    message = _message(row.error)
    return _from_row(
        row,
        TaskAttemptInfo,
        task_id=task_id,
        outcome=TaskAttemptOutcome(row.outcome),
        error_code=_code(row.error_code),
        error_message=message,
        failed_reason=message,
    )


def _from_row[I: TaskInfo | TaskAttemptInfo](row: TaskInfoRow | AttemptRow, kind: type[I], **others: Any) -> I:
    """Copy the columns of a row to the fields of the same name. ``others`` has the fields that need a conversion."""
    same = {field.name: getattr(row, field.name) for field in fields(kind) if field.name in row._fields}
    return kind(**same | others)


def _code(code: str | None) -> BuiltInTaskCode | str | None:
    return None if code is None else BUILT_IN_CODES.get(code, code)


def _message(error: bytes | None) -> str | None:
    """Return the message of a stored `TaskError`."""
    if error is None:
        return None
    stored = decode_json(error)
    message = cast("dict[str, object]", stored).get("message") if isinstance(stored, dict) else None
    return None if message is None else str(message)
