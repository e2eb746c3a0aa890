"""Sending: from a call's arguments to an accepted task, with replays that never make a second one."""

import hashlib
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.codec.adapters import CodecError
from horsies.codec.wire import encode_json
from horsies.codes import TaskSendErrorCode
from horsies.db import calls_tasks
from horsies.db.calls_tasks import EnqueueRequest
from horsies.db.operations import CallFailedError, Operation, Pause, Runner
from horsies.registry import TaskDefinition
from horsies.result import Err, Ok, Result

RESEND_PAUSES_S = (0.2, 0.4, 0.8)

type SendKind = Literal["send", "schedule"]


@dataclass(frozen=True, slots=True)
class TaskSendOptions:
    """What `with_options` sets for one send.

    Attributes:
        good_until: aware; not started by then, the task ends EXPIRED.
        delay: seconds until the task may be claimed.
        priority: 1 (first) to 100; None: the queue's.
    """

    good_until: datetime | None = None
    delay: float = 0.0
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class TaskSendPayload:
    """A send as it goes to the database; `retry_send` replays it.

    Attributes:
        kind: which of `send` and `schedule` made it.
        request: the task.
        enqueue_sha: SHA-256, in hex, over name, queue, arguments and options: two sends with one id must agree in it.
    """

    kind: SendKind
    request: EnqueueRequest
    enqueue_sha: str


@dataclass(frozen=True, slots=True)
class TaskSendError:
    """Why a task was not accepted.

    Attributes:
        code: what went wrong.
        message: the same in words, naming the parameter or the database's reason.
        retryable: `retry_send` may succeed; it never makes a second task, also if the first send did get through.
        task_id: the id made for the task, if it came so far.
        payload: what `retry_send` replays, if it came so far.
        exception: the cause, if there was one.
    """

    code: TaskSendErrorCode
    message: str
    retryable: bool = False
    task_id: str | None = None
    payload: TaskSendPayload | None = None
    exception: BaseException | None = None


type TaskSendResult[T] = Result[T, TaskSendError]


@dataclass(frozen=True, slots=True)
class Producer:
    """What a task needs of its app to be sent."""

    runner: Runner
    queue_priorities: Mapping[str, int]
    resend_on_transient_err: bool


class _Suppression(threading.local):
    """Whether this thread imports task modules for a worker or a check, where a send would be a side effect."""

    depth = 0


_suppression = _Suppression()


@contextmanager
def sends_suppressed() -> Generator[None]:
    """Within this block every send of this thread answers SEND_SUPPRESSED."""
    _suppression.depth += 1
    try:
        yield
    finally:
        _suppression.depth -= 1


def _invalid(message: str, exception: BaseException | None = None) -> Err[TaskSendError]:
    return Err(TaskSendError(TaskSendErrorCode.VALIDATION_FAILED, message, exception=exception))


def prepare(
    producer: Producer,
    definition: TaskDefinition,
    kind: SendKind,
    options: TaskSendOptions,
    args: Sequence[object],
    kwargs: Mapping[str, object],
) -> TaskSendResult[TaskSendPayload]:
    """Check and encode a send; nothing leaves the process."""
    if _suppression.depth:
        message = f"{definition.name} was sent while task modules are imported: move the send out of the module's top level"
        return Err(TaskSendError(TaskSendErrorCode.SEND_SUPPRESSED, message))
    wrong = _wrong_options(options)
    if wrong is not None:
        return _invalid(wrong)
    try:
        encoded = definition.signature.encode_call(tuple(args), dict(kwargs))
    except CodecError as error:
        return _invalid(str(error), error)
    priority = producer.queue_priorities[definition.queue_name] if options.priority is None else options.priority
    request = EnqueueRequest(
        task_id=uuid7(),
        task_name=definition.name,
        queue=definition.queue_name,
        priority=priority,
        args=encoded,
        fingerprint=b"",
        delay=float(options.delay),
        good_until=options.good_until,
        retry_policy=None if definition.retry_policy is None else definition.retry_policy.to_json(),
        timeout_ms=definition.timeout_ms,
    )
    fingerprint = _fingerprint(request)
    return Ok(TaskSendPayload(kind, replace(request, fingerprint=fingerprint), fingerprint.hex()))


def _wrong_options(options: TaskSendOptions) -> str | None:
    delay, deadline, priority = options.delay, options.good_until, options.priority
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < float("inf"):
        return f"delay must be a number of seconds from 0 up, got {delay!r}"
    if deadline is not None and (not isinstance(deadline, datetime) or deadline.utcoffset() is None):
        return f"good_until must be an aware datetime, got {deadline!r}: give it a tzinfo, as in datetime.now(UTC)"
    if priority is not None and (not isinstance(priority, int) or not 1 <= priority <= 100):
        return f"priority must be a whole number from 1 (first) to 100, got {priority!r}"
    return None


def _fingerprint(request: EnqueueRequest) -> bytes:
    options = {
        "name": request.task_name,
        "queue": request.queue,
        "priority": request.priority,
        "delay": request.delay,
        "good_until": None if request.good_until is None else request.good_until.timestamp(),
        "timeout_ms": request.timeout_ms,
    }
    return hashlib.sha256(b"\n".join((encode_json(options), request.retry_policy or b"", request.args))).digest()


def send[H](
    producer: Producer, prepared: TaskSendResult[TaskSendPayload], make_handle: Callable[[UUID], H]
) -> Operation[TaskSendResult[H]]:
    """Enqueue a prepared send; with ``resend_on_transient_err``, replay it up to three times."""
    if isinstance(prepared, Err):
        return prepared
    answer = yield from _enqueue(prepared.value, make_handle, replay=False)
    for pause in RESEND_PAUSES_S if producer.resend_on_transient_err else ():
        if not (isinstance(answer, Err) and answer.err_value.retryable):
            break
        yield Pause(pause)
        answer = yield from _enqueue(prepared.value, make_handle, replay=True)
    return answer


def resend[H](
    error: TaskSendError, kind: SendKind, definition: TaskDefinition, make_handle: Callable[[UUID], H]
) -> Operation[TaskSendResult[H]]:
    """Replay the payload of a failed send of the same task and kind."""
    payload = error.payload
    if error.code is not TaskSendErrorCode.ENQUEUE_FAILED or payload is None:
        return _invalid(f"only a send that failed with ENQUEUE_FAILED can be replayed, this one has {error.code}")
    if payload.kind != kind:
        return _invalid(f"this error comes from {payload.kind}: use retry_{payload.kind}")
    if payload.request.task_name != definition.name:
        return _invalid(f"this error comes from {payload.request.task_name}, not from {definition.name}")
    if _fingerprint(payload.request).hex() != payload.enqueue_sha:
        message = f"the payload of {payload.request.task_id} was changed since its first send"
        return Err(TaskSendError(TaskSendErrorCode.PAYLOAD_MISMATCH, message, task_id=str(payload.request.task_id)))
    return (yield from _enqueue(payload, make_handle, replay=True))


def _enqueue[H](
    payload: TaskSendPayload, make_handle: Callable[[UUID], H], *, replay: bool
) -> Operation[TaskSendResult[H]]:
    task_id = payload.request.task_id
    try:
        verdict: Any = yield calls_tasks.enqueue(payload.request, replay=replay)
    except CallFailedError as failure:
        code = TaskSendErrorCode.ENQUEUE_FAILED
        return Err(TaskSendError(code, failure.message, failure.retryable, str(task_id), payload, failure.__cause__))
    if verdict == "mismatch":
        message = f"the id {task_id} belongs to another request"
        return Err(TaskSendError(TaskSendErrorCode.PAYLOAD_MISMATCH, message, task_id=str(task_id), payload=payload))
    return Ok(make_handle(task_id))
