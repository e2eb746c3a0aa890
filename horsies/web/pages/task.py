"""One task: why it waits, what has happened to it, and what it carries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, cast

from starlette.exceptions import HTTPException

from horsies.db.queries.rows import Why
from horsies.monitoring import RunOfTask, retry_forecast_async, run_of_task_async, total
from horsies.monitoring.broker import Broker
from horsies.monitoring.reasons import Reason, reason_of
from horsies.producer.handle import BrokerResult, parse_id
from horsies.producer.info import TaskAttemptInfo, TaskInfo
from horsies.result import Ok
from horsies.task_result import added_fields
from horsies.web.access import Right
from horsies.web.formats import duration, line
from horsies.web.pages import common
from horsies.web.senders import sender
from horsies.web.visit import Visit

_PERCENTILES = (0.5, 0.95, 0.99)
_LEAST_WIDTH = 0.7
_MOST_ATTEMPTS = 200
_MOST_LEFT_S = 365 * 86_400.0
_RUN_AGE_S = 60.0


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the life of a task.

    Attributes:
        kind: The kind of the part; templates use it as a class.
        title: What happened, in words.
        started_at: Its begin.
        ended_at: Its end; None: it lasts.
        lasted_s: How long it lasted, or has lasted, in seconds.
        x: Its left edge in the time line, in percent.
        width: Its width.
    """

    kind: str
    title: str
    started_at: datetime
    ended_at: datetime | None
    lasted_s: float
    x: float = 0.0
    width: float = 0.0


@dataclass(frozen=True, slots=True)
class Usual:
    """How long tasks of the same name ran in the last day.

    Attributes:
        number: How many attempts were counted.
        p50: Half of them ran within this number of seconds.
        p95: 95 % of them.
        p99: 99 % of them.
    """

    number: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """The error of a failed task.

    Attributes:
        message: Its message.
        traceback: Its traceback; None: it has none, or the user may not see it.
        data: Its data; None: likewise.
    """

    message: str | None
    traceback: str | None
    data: Any


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is.

    Attributes:
        value: The progress that it has reported.
        share: The part that is done, in percent; None: the value does not say it.
        left_s: How many seconds remain at the same speed; None: unknown, or more than a year.
    """

    value: Any
    share: float | None
    left_s: float | None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """The data of the page.

    Attributes:
        task: The record of the task. Its arguments and its result are separate.
        why: Why it waits; None: it has ended.
        words: The reason in words; None: it has ended.
        spans: The parts of its life, in order.
        runs_for_s: For how long it has run, or its last attempt ran, in seconds; None: it has not started.
        usual: How long such tasks run; None: unknown.
        progress: How far it is; None: it has reported no progress.
        retries: When it is retried if its attempts keep failing, about, and as far as its deadline allows.
        failure: The error of a failed task.
        shows_arguments: Whether the user may see arguments and the result.
        args: The arguments.
        output: The result of a completed task.
        run: The workflow run to which it belongs; None: it belongs to none.
        schedule: The schedule that sent it; None: none that is known did.
    """

    task: TaskInfo
    why: Why | None
    words: Reason | None
    spans: tuple[Span, ...]
    runs_for_s: float | None
    usual: Usual | None
    progress: Progress | None
    retries: tuple[datetime, ...]
    failure: Failure | None
    shows_arguments: bool
    args: Any
    output: Any
    run: RunOfTask | None
    schedule: str | None


async def load(visit: Visit) -> TaskPage:
    """Read the page."""
    known_id = parse_id(visit.path["task_id"])
    if known_id is None:
        raise _unknown()
    found = await read_task(visit, str(known_id))
    if found is None:
        raise _unknown()
    info, why = found
    sees = visit.user.may(Right.SEE_ARGUMENTS)
    usual = await _usual(visit, info.task_name)
    run = await visit.ask(
        "run of task", lambda broker: run_of_task_async(broker, info.task_id), info.task_id, max_age_s=_RUN_AGE_S
    )
    page = _page(info, why, usual, sees=sees)
    return replace(page, run=run, schedule=await sender(visit, info), retries=await _retries(visit, page))


async def _retries(visit: Visit, page: TaskPage) -> tuple[datetime, ...]:
    """Forecast the retries: each after an attempt that takes as long as half of such tasks, and after its delay."""
    info = page.task
    if info.ended_at is not None or not info.max_retries:
        return ()
    delays = await visit.ask("retries", lambda broker: retry_forecast_async(broker, info.task_id), info.task_id)
    takes = timedelta(seconds=(page.usual.p50 if page.usual is not None else None) or 0.0)
    found = [] if info.next_retry_at is None else [info.next_retry_at]
    at = max(info.started_at or info.enqueued_at, info.enqueued_at)
    for delay in delays:
        at += takes + timedelta(seconds=delay)
        if info.good_until is not None and at >= info.good_until:
            break
        found.append(at)
    return tuple(found)


async def read_task(visit: Visit, task_id: str) -> tuple[TaskInfo, Why | None] | None:
    """Return what is known about a task, as far as the user may see it, and why it waits; None: there is no record."""
    sees = visit.user.may(Right.SEE_ARGUMENTS)
    return await visit.ask("task", lambda broker: _ask(broker, task_id, with_args=sees), task_id, sees)


def _unknown() -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, "There is no such task, or its record was deleted.")


async def _ask(broker: Broker, task_id: str, *, with_args: bool) -> BrokerResult[tuple[TaskInfo, Why | None] | None]:
    asked = await broker.get_task_info_async(
        task_id,
        include_attempts=True,
        include_failed_reason=True,
        include_args=with_args,
        include_result=with_args,
    )
    if not asked.is_ok() or asked.ok_value is None or asked.ok_value.ended_at is not None:
        return asked.map(lambda info: None if info is None else (info, None))
    info = asked.ok_value
    return (await broker.why(task_id)).and_then(lambda why: Ok((info, why)))


async def _usual(visit: Visit, task_name: str) -> Usual | None:
    day = total((await common.past_day(visit, task_name)).samples)
    if day is None or not day.runs.total:
        return None
    return Usual(day.runs.total, *map(day.runs.percentile, _PERCENTILES))


def _page(info: TaskInfo, why: Why | None, usual: Usual | None, *, sees: bool) -> TaskPage:
    now = datetime.now(UTC)
    spans = _placed(list(_spans(info, now)))
    ran = [span for span in spans if span.kind in {"running", "completed", "failed", "retried"}]
    runs_for = ran[-1].lasted_s if ran else None
    return TaskPage(
        task=replace(info, args=None, result=None, attempts=tuple(info.attempts or ())[:_MOST_ATTEMPTS]),
        why=why,
        words=None if why is None else reason_of(why.reason),
        spans=spans,
        runs_for_s=runs_for,
        usual=usual,
        progress=_progress(info, runs_for),
        retries=(),
        failure=failure_of(info),
        shows_arguments=sees,
        args=info.args,
        output=info.result.ok_value if info.result is not None and info.result.is_ok() else None,
        run=None,
        schedule=None,
    )


def _spans(info: TaskInfo, now: datetime) -> Iterator[Span]:
    attempts = sorted(info.attempts or (), key=lambda each: each.attempt)
    at = info.sent_at
    if len(attempts) <= 1 and info.next_retry_at is None and info.enqueued_at > at + timedelta(milliseconds=10):
        until = min(info.enqueued_at, info.ended_at or now)
        yield _span("scheduled", "scheduled for later", at, until, now)
        at = until
    for each in attempts:
        if each.started_at > at:
            title = "waited" if each.attempt == 1 else "waited for the retry"
            yield _span("waiting", title, at, each.started_at, now)
        yield _attempt(each, info, now)
        at = each.finished_at
    if info.ended_at is None and info.started_at is not None:
        if info.started_at > at:
            yield _span("waiting", "waited", at, info.started_at, now)
        yield _span("running", f"attempt {len(attempts) + 1} is running", info.started_at, None, now)
    elif info.ended_at is None and at <= now:
        title = "waits for the retry" if info.next_retry_at is not None else "waits"
        yield _span("waiting", title, at, None, now)
    elif info.ended_at is not None and info.ended_at > at:
        yield _span("waiting", f"waited until it was {info.status.lower()}", at, info.ended_at, now)


def _attempt(attempt: TaskAttemptInfo, info: TaskInfo, now: datetime) -> Span:
    is_last = not attempt.will_retry
    kind = "completed" if attempt.error_code is None else "failed" if is_last else "retried"
    if is_last and attempt.error_code is not None and info.cancelled_at is not None:
        kind = "cancelled"
    code = "" if attempt.error_code is None else f", {line(attempt.error_code, 80)}"
    title = f"attempt {attempt.attempt}: {'will be retried' if attempt.will_retry else kind}{code}"
    return _span(kind, title, attempt.started_at, attempt.finished_at, now)


def _span(kind: str, title: str, started: datetime, ended: datetime | None, now: datetime) -> Span:
    return Span(kind, title, started, ended, max(((ended or now) - started).total_seconds(), 0.0))


def _placed(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Lay out the spans in the time line. Short ones get a width at which they can be seen."""
    whole = sum(each.lasted_s for each in spans) or 1.0
    widths = [max(100 * each.lasted_s / whole, _LEAST_WIDTH) for each in spans]
    scale = 100 / (sum(widths) or 1.0)
    placed: list[Span] = []
    x = 0.0
    for each, width in zip(spans, widths, strict=True):
        placed.append(replace(each, x=round(x, 3), width=round(width * scale, 3)))
        x += width * scale
    return tuple(placed)


def _progress(info: TaskInfo, runs_for: float | None) -> Progress | None:
    if info.progress is None:
        return None
    share = _share(info.progress)
    is_running = info.ended_at is None and info.started_at is not None
    left = runs_for * (1 - share) / share if is_running and runs_for and share else None
    if left is not None and left > _MOST_LEFT_S:
        left = None
    return Progress(info.progress, None if share is None else round(100 * share, 1), left)


def _share(value: object) -> float | None:
    """Return the part that is done, from 0 to 1; None: the progress does not say it."""
    if isinstance(value, dict):
        given = cast("dict[str, object]", value)
        done, whole = _real(given.get("done")), _real(given.get("total"))
        found = done / whole if done is not None and whole else None
    else:
        found = _real(value)
    return found if found is not None and 0 <= found <= 1 else None


def _real(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any size
        return None


def failure_of(info: TaskInfo) -> Failure | None:
    """Return the error of a failed task; its traceback and data only if the result was asked for. None: it has none."""
    if info.failed_at is None and info.failed_reason is None:
        return None
    traceback, data = None, None
    result = info.result
    if result is not None and not result.is_ok():
        error = result.err_value
        raised = cast("object", error.exception)
        traceback = str(cast("dict[str, object]", raised).get("traceback")) if isinstance(raised, dict) else None
        data = {name: value for name, value in {"data": error.data, **added_fields(error)}.items() if value is not None}
    return Failure(info.failed_reason, traceback, data or None)


def usual_text(page: TaskPage) -> str:
    """Compare how long a task ran with other tasks of its name."""
    if page.usual is None or page.runs_for_s is None or page.usual.p50 is None:
        return ""
    limits = (
        (page.usual.p99, "longer than 99 %"),
        (page.usual.p95, "longer than 95 %"),
        (page.usual.p50, "longer than half"),
    )
    for limit, words in limits:
        if limit is not None and page.runs_for_s > limit * 1.1:
            return (
                f"{words} of {page.usual.number:,} runs in the last day; half of them took {duration(page.usual.p50)}"
            )
    return f"not longer than usual: half of {page.usual.number:,} runs in the last day took {duration(page.usual.p50)}"
