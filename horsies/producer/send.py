"""Sending tasks, with retries that never create a second task."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.codec.adapters import CodecError
from horsies.codec.wire import encode_json
from horsies.codes import TaskSendErrorCode
from horsies.config.payload import PayloadPolicy
from horsies.config.unique import Unique
from horsies.db.errors import sqlstate
from horsies.db.operations import (
    UNSET,
    CallFailedError,
    CallRefusedError,
    Operation,
    Pause,
    Runner,
    Unset,
)
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.tasks import EnqueueBatch, EnqueueRequest, SendAnswer, TaskKind
from horsies.masking import mask_secrets
from horsies.producer import keys, once, payloads
from horsies.producer.options import wrong_deadline, wrong_delay, wrong_priority
from horsies.producer.suppression import Suppression, log_failure, note_suppressed, suppression
from horsies.producer.traces import begin_send, traced
from horsies.result import Err, Ok, Result
from horsies.tasks.registry import TaskDefinition
from horsies.tracing.policy import LINKS, TracePolicy

RESEND_PAUSES_S = (0.2, 0.4, 0.8)
_LAST_DEADLINE = datetime(9999, 12, 30, tzinfo=UTC)

type SendKind = Literal["send", "schedule"]


@dataclass(frozen=True, slots=True)
class TaskSendOptions:
    """The options of one send; see `TaskFunction.with_options`.

    Attributes:
        good_until: An aware datetime. A task that was not started by then ends EXPIRED. None: no expiry.
        delay: Seconds until the task may be claimed.
        priority: 1 (highest) to 100; None: the priority of the queue.
        connection: The connection of the caller in whose transaction the task is sent; `UNSET`: a connection of the
            pool, outside of any transaction of the caller.
        idempotency_key: A key of this send. A later send of the same task with this key returns the same task.
        unique: Of which tasks at most one may be live; `UNSET`: as the task says; None: any number.
        key: The key of the task, by which its queue limits tasks and lets them take turns; `UNSET`: as the task says;
            None: no key.
        who: The person who operates the queue and sends one task, for `Broker.get_audit`. None: an application sends
            it, and the send is not recorded.
    """

    good_until: datetime | None = None
    delay: float = 0.0
    priority: int | None = None
    connection: object = UNSET
    idempotency_key: str | None = None
    unique: Unique | Unset | None = UNSET
    key: str | Unset | None = UNSET
    who: str | None = None


@dataclass(frozen=True, slots=True)
class TaskSendPayload:
    """A send in the form that goes to the database, which `retry_send` can replay.

    Attributes:
        kind: ``send`` or ``schedule``, the method that made it.
        request: The encoded task.
        enqueue_sha: The SHA-256, in hex, of name, queue, arguments and options. All sends with the same id must have
            the same hash.
    """

    kind: SendKind
    request: EnqueueRequest
    enqueue_sha: str


@dataclass(frozen=True, slots=True)
class BulkSendPayload:
    """The tasks of a ``send_many`` in the form that goes to the database, which `retry_send_many` can replay.

    Attributes:
        batches: The encoded tasks, in their order.
        enqueue_sha: The SHA-256, in hex, of all batches.
        kind: The method that made it.
    """

    batches: tuple[EnqueueBatch, ...]
    enqueue_sha: str
    kind: Literal["send_many"] = "send_many"


@dataclass(frozen=True, slots=True)
class TaskSendError:
    """Why a task was not accepted.

    Attributes:
        code: The kind of failure.
        message: A description of the failure, which names the parameter or the database's reason.
        retryable: Whether `retry_send` may succeed. It never creates a second task, even if the first send reached the
            database. For a send in a transaction of the caller: whether the whole transaction may succeed later.
        task_id: The id of the task; None if the send failed before it was sent, in a transaction of the caller, or
            together with other tasks.
        payload: The payload that `retry_send` or `retry_send_many` replays; None in the same cases as ``task_id``, and
            for a ``send_many`` of more than 16 MB.
        exception: The cause; None if there was none.
        item_index: The position of the item that cannot be sent in the input of ``send_many``, from 0; None: the
            failure does not belong to one item.
    """

    code: TaskSendErrorCode
    message: str
    retryable: bool = False
    task_id: str | None = None
    payload: TaskSendPayload | BulkSendPayload | None = field(default=None, repr=False)  # it contains the arguments
    exception: BaseException | None = field(default=None, repr=False)
    item_index: int | None = None


type TaskSendResult[T] = Result[T, TaskSendError]


class Retryable(Protocol):
    """An error with a flag that says whether it is transient."""

    @property
    def retryable(self) -> bool:
        """Whether the same operation may succeed later."""
        ...


@dataclass(frozen=True, slots=True)
class Producer:
    """The part of an app that its tasks use to send themselves.

    Attributes:
        runner: Runs the operations.
        queue_priorities: The priority of each queue by its name.
        resend_on_transient_err: Whether failed sends are retried automatically.
        payload: The limits for the sizes of arguments.
        traces: What tasks carry of the span that sends them.
    """

    runner: Runner
    queue_priorities: Mapping[str, int]
    resend_on_transient_err: bool
    payload: PayloadPolicy
    traces: TracePolicy = LINKS


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A send as the program requested it, before validation and encoding."""

    definition: TaskDefinition
    kind: SendKind
    options: TaskSendOptions
    args: tuple[object, ...]
    kwargs: Mapping[str, object]


def invalid(message: str, exception: BaseException | None = None) -> Err[TaskSendError]:
    """Make a VALIDATION_FAILED error."""
    return Err(TaskSendError(TaskSendErrorCode.VALIDATION_FAILED, message, exception=exception))


def prepare(producer: Producer, asked: SendRequest) -> TaskSendResult[TaskSendPayload]:
    """Validate and encode a send, without accessing the database."""
    definition, options = asked.definition, asked.options
    suppressed = suppressed_send(f"task {definition.name!r} is", definition.name)
    if suppressed is not None:
        return Err(suppressed)
    wrong = (
        wrong_options(options)
        or once.wrong_key(options.idempotency_key)
        or once.wrong_unique(definition, options.unique)
        or keys.wrong_task_key(options.key)
    )
    if wrong is not None:
        return invalid(wrong)
    try:
        encoded = definition.signature.encode_call(asked.args, asked.kwargs)
        unique = once.encode_unique(definition, once.unique_of(definition, options.unique), asked.args, asked.kwargs)
        key = keys.key_of(definition, options.key, asked.args, asked.kwargs)
    except CodecError as error:
        return invalid(str(error), error)
    too_large = payloads.wrong_size(producer.payload, definition.name, len(encoded))
    if too_large is not None:
        return Err(TaskSendError(TaskSendErrorCode.PAYLOAD_TOO_LARGE, too_large))
    priority = producer.queue_priorities[definition.queue_name] if options.priority is None else options.priority
    request = EnqueueRequest(
        task_id=uuid7(),
        task_name=definition.name,
        queue=definition.queue_name,
        priority=priority,
        args=encoded,
        fingerprint=b"",
        delay=float(options.delay),
        good_until=bounded_deadline(options.good_until),
        retry_policy=None if definition.retry_policy is None else definition.retry_policy.to_json(),
        timeout_ms=definition.timeout_ms,
        idempotency_key=options.idempotency_key,
        unique=unique,
        key=key,
        who=options.who,
    )
    fingerprint = _fingerprint(request)
    return Ok(TaskSendPayload(asked.kind, replace(request, fingerprint=fingerprint), fingerprint.hex()))


def suppressed_send(what: str, name: str) -> TaskSendError | None:
    """Return the error of a send while sends are suppressed, and collect a warning about it; None: they are not.

    Args:
        what: The beginning of the warning, such as ``task 'mail' is``.
        name: The name of the task, or a description of the tasks, for the error.
    """
    suppressed = suppression()
    if suppressed is None:
        return None
    note_suppressed(f"{what} sent")
    message = f"{name} was sent {suppressed.value.format('send')}"
    return TaskSendError(TaskSendErrorCode.SEND_SUPPRESSED, message)


def wrong_options(options: TaskSendOptions) -> str | None:
    """Return why the options of a send are invalid, or None if they are valid."""
    return (
        wrong_delay(options.delay)
        or wrong_deadline(options.good_until)
        or wrong_priority(options.priority)
        or wrong_connection(options.connection)
    )


def bounded_deadline(deadline: datetime | None) -> datetime | None:
    """Return a deadline that can be read in every time zone.

    ``datetime.max`` in a zone west of Greenwich, for example, is in the year 10000 of UTC, which Python cannot read.
    """
    return deadline if deadline is None or deadline < _LAST_DEADLINE else _LAST_DEADLINE


def wrong_connection(connection: object) -> str | None:
    """Return why the value of ``connection=`` is invalid: None probably means that the program lost its connection."""
    if connection is not None:
        return None
    return "connection= is None: pass an open connection, or omit connection= to send outside of your transactions"


def fingerprint_head(request: EnqueueRequest | TaskKind) -> bytes:
    """Return the first part of the text of a fingerprint, which the arguments follow: the task and its options."""
    options = {
        "name": request.task_name,
        "queue": request.queue,
        "priority": request.priority,
        "delay": request.delay,
        "good_until": None if request.good_until is None else request.good_until.timestamp(),
        "timeout_ms": request.timeout_ms,
        **(
            once.request_facts(request.idempotency_key, request.unique, request.key)
            if isinstance(request, EnqueueRequest)
            else {}
        ),
    }
    return b"\n".join((encode_json(options), request.retry_policy or b"", b""))


def _fingerprint(request: EnqueueRequest) -> bytes:
    return hashlib.sha256(fingerprint_head(request) + request.args).digest()


def send[H](producer: Producer, asked: SendRequest, make_handle: Callable[[UUID], H]) -> Operation[TaskSendResult[H]]:
    """Enqueue a task, and log a failure, because a program may ignore the result."""
    return logged((yield from _send(producer, asked, make_handle)), asked.definition.name)


def _send[H](producer: Producer, asked: SendRequest, make_handle: Callable[[UUID], H]) -> Operation[TaskSendResult[H]]:
    """Enqueue a task. With ``resend_on_transient_err``, retry it up to three times."""
    prepared = prepare(producer, asked)
    if isinstance(prepared, Err):
        return prepared
    payload = prepared.value
    payloads.warn_of_arguments(producer.payload, asked.definition.name, len(payload.request.args))
    sent = payload.request
    span = begin_send(
        producer.traces, sent.task_name, task_name=sent.task_name, message_id=sent.task_id, queue=sent.queue
    )
    if span is not None:
        payload = replace(payload, request=replace(payload.request, trace_context=span.context))
    first = _enqueue(payload, make_handle, replay=False, connection=asked.options.connection)
    if asked.options.connection is UNSET:
        first = _with_replays(first, lambda: _enqueue(payload, make_handle, replay=True))
        first = with_resend(producer, first, lambda: _enqueue(payload, make_handle, replay=True))
    return (yield from (first if span is None else traced(span, first)))


def _with_replays[H](
    first: Operation[TaskSendResult[H]], replay: Callable[[], Operation[TaskSendResult[H]]]
) -> Operation[TaskSendResult[H]]:
    """Run a send, and replay it after a deadlock, or once after it has waited too long for another transaction.

    Only sends with idempotency keys and of unique tasks wait for other transactions.
    """
    answer = yield from first
    for pause in RESEND_PAUSES_S:
        exception = answer.err_value.exception if isinstance(answer, Err) else None
        state = "" if exception is None else sqlstate(exception)
        if state == once.DEADLOCK:
            yield Pause(pause)
        elif state != once.LOCK_TIMEOUT or pause != RESEND_PAUSES_S[0]:
            break
        answer = yield from replay()
    return answer


def with_resend[T, E: Retryable](
    producer: Producer, first: Operation[Result[T, E]], replay: Callable[[], Operation[Result[T, E]]]
) -> Operation[Result[T, E]]:
    """Run an operation. With ``resend_on_transient_err``, retry it after transient failures, up to three times."""
    answer = yield from first
    for pause in RESEND_PAUSES_S if producer.resend_on_transient_err else ():
        if not (isinstance(answer, Err) and answer.err_value.retryable):
            break
        yield Pause(pause)
        answer = yield from replay()
    return answer


def resend[H](
    error: TaskSendError, kind: SendKind, definition: TaskDefinition, make_handle: Callable[[UUID], H]
) -> Operation[TaskSendResult[H]]:
    """Retry a failed send of the same task and kind, and log a failure."""
    return logged((yield from _resend(error, kind, definition, make_handle)), definition.name)


def _resend[H](
    error: TaskSendError, kind: SendKind, definition: TaskDefinition, make_handle: Callable[[UUID], H]
) -> Operation[TaskSendResult[H]]:
    payload = error.payload
    if error.code is not TaskSendErrorCode.ENQUEUE_FAILED or payload is None:
        what = "only a send that failed with ENQUEUE_FAILED outside of a transaction of the caller can be retried"
        return invalid(f"{what}: this send failed with {error.code}")
    if isinstance(payload, BulkSendPayload) or payload.kind != kind:
        return invalid(f"this error comes from {payload.kind}: use retry_{payload.kind}")
    if payload.request.task_name != definition.name:
        return invalid(f"this error comes from {payload.request.task_name}, not from {definition.name}")
    if _fingerprint(payload.request).hex() != payload.enqueue_sha:
        message = f"the payload of {payload.request.task_id} was changed since its first send"
        return Err(TaskSendError(TaskSendErrorCode.PAYLOAD_MISMATCH, message, task_id=str(payload.request.task_id)))
    return (yield from _enqueue(payload, make_handle, replay=True))


def _enqueue[H](
    payload: TaskSendPayload, make_handle: Callable[[UUID], H], *, replay: bool, connection: object = UNSET
) -> Operation[TaskSendResult[H]]:
    request, task_id = payload.request, payload.request.task_id
    try:
        if request.is_once:
            answers: list[SendAnswer] = yield task_queries.enqueue_once([request], replay=replay, connection=connection)
            return _concluded(payload, answers[0], make_handle)
        verdict: Any = yield task_queries.enqueue(request, replay=replay, connection=connection)
    except CallRefusedError as refusal:
        return invalid(refusal.message, refusal)
    except CallFailedError as failure:
        code = TaskSendErrorCode.ENQUEUE_FAILED
        made_id, kept = (str(task_id), payload) if connection is UNSET else (None, None)
        return Err(TaskSendError(code, failure.message, failure.retryable, made_id, kept, failure.__cause__))
    if verdict == "mismatch":
        message = f"the id {task_id} belongs to another request"
        return Err(TaskSendError(TaskSendErrorCode.PAYLOAD_MISMATCH, message, task_id=str(task_id), payload=payload))
    return Ok(make_handle(task_id))


def _concluded[H](payload: TaskSendPayload, answer: SendAnswer, make_handle: Callable[[UUID], H]) -> TaskSendResult[H]:
    """Return the handle of the task that stands for a send, or why the database has refused the send."""
    code = once.REFUSALS.get(answer.verdict)
    if code is None and answer.task_id is not None:
        return Ok(make_handle(answer.task_id))
    message = once.describe_refusal(payload.request, answer)
    task_id = None if answer.task_id is None else str(answer.task_id)
    return Err(TaskSendError(code or TaskSendErrorCode.ENQUEUE_FAILED, message, task_id=task_id))


def logged[H](answer: TaskSendResult[H], name: str) -> TaskSendResult[H]:
    """Log the failure of a send, unless a check has suppressed it.

    Args:
        answer: The result of the send.
        name: The name of the task, or a description of the tasks.
    """
    if isinstance(answer, Err) and suppression() is not Suppression.CHECK:
        error = answer.error
        ids = {"id": error.task_id, "item": error.item_index}
        log_failure(
            "task.send_failed",
            suppressed=error.code is TaskSendErrorCode.SEND_SUPPRESSED,
            task=name,
            code=error.code,
            reason=_reason(error),
            **{key: value for key, value in ids.items() if value is not None},
        )
    return answer


def _reason(error: TaskSendError) -> str:
    """Return why a send failed, for the log: without the values of arguments, which the error message contains."""
    if not isinstance(error.exception, CodecError):
        return mask_secrets(error.message)
    parameter = error.exception.parameter
    return f"the argument {parameter!r} is not valid" if parameter else "the arguments are not valid"
