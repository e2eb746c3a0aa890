"""Sending many tasks in one transaction: all of them or none.

The input is read lazily and encoded in batches. An input of one batch is sent in one round trip. A longer input is sent
in a transaction that is open from its first full batch to its end.
"""

import hashlib
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, cast
from uuid import UUID

from horsies.codec.problems import CodecError, show_value
from horsies.codes import TaskSendErrorCode
from horsies.db.operations import (
    UNSET,
    Call,
    CallFailedError,
    CallRefusedError,
    Feed,
    Items,
    Notice,
    Operation,
    Pause,
    Replies,
    Rollback,
    Transaction,
    Within,
)
from horsies.db.queries import tasks as task_queries
from horsies.db.queries.tasks import EnqueueBatch, SendAnswer
from horsies.db.queries.worker import notify_wake
from horsies.producer.batches import BatchBuilder
from horsies.producer.handle import TaskHandle
from horsies.producer.once import DEADLOCK, LOCK_TIMEOUT, REFUSALS, describe_refusal
from horsies.producer.send import (
    RESEND_PAUSES_S,
    BulkSendPayload,
    Producer,
    TaskSendError,
    TaskSendOptions,
    TaskSendResult,
    invalid,
    logged,
    suppressed_send,
    wrong_options,
)
from horsies.producer.traces import begin_send, traced
from horsies.result import Err, Ok
from horsies.tasks.registry import TaskDefinition

MOST_BYTES_KEPT: Final = 16_000_000
"""The most bytes of tasks that are kept, so that they can be replayed."""

SEVERAL_TASKS: Final = "several tasks"
"""The description of the calls of ``app.send_many``."""

type Handles = list[TaskHandle[Any, Any]]


def send_many(
    producer: Producer, definition: TaskDefinition | None, options: TaskSendOptions, items: object
) -> Operation[TaskSendResult[Handles]]:
    """Send tasks in one transaction, and log a failure.

    Args:
        producer: The producer of the app.
        definition: The task of all items; None: each item is a `TaskCall`.
        options: The options that apply unless an item has others, and the connection.
        items: The items; see `BatchBuilder`.
    """
    name = SEVERAL_TASKS if definition is None else definition.name
    return logged((yield from _send_many(producer, definition, options, items)), name)


def _send_many(
    producer: Producer, definition: TaskDefinition | None, options: TaskSendOptions, items: object
) -> Operation[TaskSendResult[Handles]]:
    what = (
        ("several tasks are", SEVERAL_TASKS)
        if definition is None
        else (f"task {definition.name!r} is", definition.name)
    )
    suppressed = suppressed_send(*what)
    if suppressed is not None:
        return Err(suppressed)
    wrong = wrong_options(options)
    if wrong is not None:
        return invalid(wrong)
    if not isinstance(items, AsyncIterable | Iterable):
        msg = f"send_many expects an iterable of calls, got {show_value(items)}"
        return invalid(msg, CodecError((), msg))
    queue, task_name = (None, None) if definition is None else (definition.queue_name, definition.name)
    span = begin_send(producer.traces, what[1], task_name=task_name, queue=queue)
    builder = BatchBuilder(producer, definition, options, None if span is None else span.context)
    source = Items(cast("AsyncIterable[object] | Iterable[object]", items), builder.accept)
    if options.connection is UNSET:
        if isinstance(items, list | tuple):
            builder.stream()
        sending = _PooledSend(producer, builder).run(source)
    else:
        sending = _CallersSend(options.connection, builder).run(source)
    answer = yield from (sending if span is None else traced(span, sending))
    builder.large.log()
    return answer


class _CallersSend:
    """Sends tasks in the transaction of the caller.

    A savepoint before the first of several batches undoes them if a later item is refused. A call that fails leaves the
    transaction of the caller failed, as any statement does.
    """

    def __init__(self, connection: object, builder: BatchBuilder) -> None:
        self._connection = connection
        self._builder = builder
        self._has_savepoint = False
        self._sent = 0

    def run(self, items: Items) -> Operation[TaskSendResult[Handles]]:
        """Send all items."""
        try:
            return (yield from self._send(items))
        except _RefusedItemError as refused:
            yield from self._undo()
            return Err(refused.error)
        except CallRefusedError as refusal:
            return invalid(refusal.message, refusal)
        except CallFailedError as failure:
            code = TaskSendErrorCode.ENQUEUE_FAILED
            return Err(TaskSendError(code, failure.message, failure.retryable, exception=failure.__cause__))
        except GeneratorExit:
            raise
        except BaseException:  # of the caller's iterator
            with suppress(CallFailedError):
                yield from self._undo()
            raise

    def _send(self, items: Items) -> Operation[TaskSendResult[Handles]]:
        builder, connection = self._builder, self._connection
        while (yield Feed(items)) and builder.error is None:
            batch = builder.take_full()
            if not self._has_savepoint:
                yield task_queries.set_savepoint(connection)
                self._has_savepoint = True
            yield from self._send_batch(batch, None)
        if builder.error is not None:
            yield from self._undo()
            return Err(builder.error)
        if builder.handles:
            batch = builder.build()
            yield from self._send_batch(batch, notify_wake())
        if self._has_savepoint:
            yield task_queries.release_savepoint(connection)
        return Ok(builder.handles)

    def _send_batch(self, batch: EnqueueBatch, hint: Notice | None) -> Operation[None]:
        reply: Any = yield _enqueue(batch, replay=False, hint=hint, connection=self._connection)
        if batch.is_once:  # other tasks may stand for its items
            self._builder.set_tasks(self._sent, names_of(batch), _tasks_of(batch, reply, self._sent))
        self._sent += batch.count

    def _undo(self) -> Operation[None]:
        """Undo the batches, and remove the savepoint, which would hide that of an outer ``send_many``."""
        if self._has_savepoint:
            yield task_queries.roll_back_to_savepoint(self._connection)
            yield task_queries.release_savepoint(self._connection)


class _RefusedItemError(Exception):
    """The database has refused an item."""

    def __init__(self, error: TaskSendError) -> None:
        super().__init__(error.message)
        self.error = error


class _PooledSend:
    """Sends tasks over a connection of the pool.

    A list or a tuple is sent in small batches: the server inserts a batch while the next one is encoded. For any other
    input, the transaction is begun later, when a large batch is full, because its items may come slowly, and a
    transaction must not wait for them. From then on, its batches are small as well.

    The batches are kept up to a limit. If the database fails, the input is read to its end, so that the payload of the
    error has all tasks, and a replay sends all of them.
    """

    def __init__(self, producer: Producer, builder: BatchBuilder) -> None:
        self._builder = builder
        self._kept: list[EnqueueBatch] | None = []
        self._transaction = Transaction()
        self._failure: CallFailedError | None = None
        self._sent = 0
        self._resends = producer.resend_on_transient_err
        self._replays = 0

    def run(self, items: Items) -> Operation[TaskSendResult[Handles]]:
        """Send all items."""
        builder = self._builder
        try:
            while (yield Feed(items)) and builder.error is None:
                builder.stream()
                yield from self._send(builder.take_full(), is_last=False)
                if self._failure is not None and self._kept is None:
                    return self._failed(self._failure, is_uncertain=False)
            if builder.error is not None:
                yield Rollback(self._transaction)
                return Err(builder.error)
            failed_before = self._failure is not None
            if builder.handles:
                yield from self._send(builder.build(), is_last=True)
        except _RefusedItemError as refused:
            yield Rollback(self._transaction)
            return Err(refused.error)
        except CallRefusedError as refusal:
            return invalid(refusal.message, refusal)
        except GeneratorExit:
            raise
        except BaseException:  # of the caller's iterator
            yield Rollback(self._transaction)
            raise
        if self._failure is None:
            return Ok(builder.handles)
        return self._failed(self._failure, is_uncertain=not failed_before and self._failure.failed_call is None)

    def _send(self, batch: EnqueueBatch, *, is_last: bool) -> Operation[None]:
        """Send a batch, unless an earlier one has failed. If it fails, replay all batches as `_next_pause` says."""
        is_first, index = self._kept == [], self._sent
        self._sent += batch.count
        self._keep(batch)
        if self._failure is not None:
            return
        try:
            yield from self._send_first(batch, index, is_first=is_first, is_last=is_last)
        except CallFailedError as failure:
            self._failure = failure
        while self._failure is not None and self._kept is not None:
            pause = self._next_pause(self._failure)
            if pause is None:
                return
            yield Pause(pause)
            try:
                tasks = yield from replay(self._transaction, self._kept, commit=is_last)
                names = [name for each in self._kept for name in names_of(each)]
                self._builder.set_tasks(0, names, tasks)
                self._failure = None
            except CallFailedError as failure:
                self._failure = failure

    def _next_pause(self, failure: CallFailedError) -> float | None:
        """Return the seconds after which all batches are replayed; None: they are not.

        As for a single send: up to three times after a deadlock, once after a wait for another transaction that was
        too long, and up to three times after any transient failure if the app is configured so.
        """
        if not failure.retryable or self._replays == len(RESEND_PAUSES_S):
            return None
        is_first = self._replays == 0
        if not (self._resends or failure.sqlstate == DEADLOCK or (failure.sqlstate == LOCK_TIMEOUT and is_first)):
            return None
        self._replays += 1
        return RESEND_PAUSES_S[self._replays - 1]

    def _send_first(self, batch: EnqueueBatch, index: int, *, is_first: bool, is_last: bool) -> Operation[None]:
        """Send a batch for the first time, and commit the transaction after the last one."""
        if not is_last:
            when = Replies.NOW if batch.is_once else Replies.LATER
            replies: list[Any] = yield Within(self._transaction, [_enqueue(batch, replay=False)], replies=when)
        elif is_first:
            replies = [(yield _enqueue(batch, replay=False, hint=notify_wake()))]
        elif not batch.is_once:
            replies = yield Within(self._transaction, [_enqueue(batch, replay=False)], notify_wake())
        else:  # the answer may be a refusal, so it is read before the commit
            replies = yield Within(self._transaction, [_enqueue(batch, replay=False)])
        if batch.is_once:
            self._builder.set_tasks(index, names_of(batch), _tasks_of(batch, replies[0], index))
            if is_last and not is_first:
                yield Within(self._transaction, [], notify_wake())

    def _keep(self, batch: EnqueueBatch) -> None:
        if self._kept is not None:
            self._kept.append(batch)
            if sum(each.size for each in self._kept) > MOST_BYTES_KEPT:
                self._kept = None

    def _failed(self, failure: CallFailedError, *, is_uncertain: bool) -> Err[TaskSendError]:
        """Make the error of a send whose call failed.

        Args:
            failure: The failure.
            is_uncertain: Whether the database may have committed the tasks.
        """
        code, message, payload = TaskSendErrorCode.ENQUEUE_FAILED, failure.message, None
        retryable = failure.retryable
        if self._kept is not None:
            payload = BulkSendPayload(tuple(self._kept), batches_sha(self._kept))
        else:
            outcome = "it is unknown whether they were sent" if is_uncertain else "none of them was sent"
            message += f"; the tasks have more than 16 MB, so retry_send_many cannot replay them, and {outcome}"
            retryable = retryable and not is_uncertain
        return Err(TaskSendError(code, message, retryable, None, payload, failure.__cause__))


def replay(transaction: Transaction, batches: Sequence[EnqueueBatch], *, commit: bool) -> Operation[list[UUID]]:
    """Send batches again, and return the tasks that stand for the items. Tasks that exist or have ended are left alone.

    Raises:
        CallFailedError: A call failed.
        _RefusedItemError: The database refuses an item.
    """
    tasks: list[UUID] = []
    for batch in batches:
        replies: list[Any] = yield Within(transaction, [_enqueue(batch, replay=True)])
        tasks += _tasks_of(batch, replies[0], len(tasks))
    if commit:
        yield Within(transaction, [], notify_wake())
    return tasks


def _enqueue(batch: EnqueueBatch, *, replay: bool, hint: Notice | None = None, connection: object = UNSET) -> Call[Any]:
    """Send a batch by the function that its tasks need; see `_tasks_of` about the reply."""
    if batch.is_once:
        return task_queries.enqueue_once(batch.requests(), replay=replay, hint=hint, connection=connection)
    return task_queries.enqueue_many(batch, replay=replay, hint=hint, connection=connection)


def _tasks_of(batch: EnqueueBatch, reply: Any, index: int) -> list[UUID]:
    """Return the tasks that stand for the items of a batch, by the reply of the database.

    Args:
        batch: The batch.
        reply: The answers of `enqueue_once`, or the position of a mismatch that `enqueue_many` has found, or None.
        index: The index of its first item.

    Raises:
        _RefusedItemError: The database has refused an item.
    """
    if not batch.is_once:
        if reply is None:
            return ids_of(batch)
        reply = [SendAnswer(reply, ids_of(batch)[reply - 1], "mismatch")]
    answers: list[SendAnswer] = reply
    code = REFUSALS.get(answers[0].verdict)
    if code is None:
        return [each.task_id for each in answers if each.task_id is not None]
    place, task_id, _ = answers[0]
    if task_id is None:  # the isolation level, which is no fault of an item
        raise _RefusedItemError(TaskSendError(code, describe_refusal(batch.requests()[0], answers[0])))
    item = index + place - 1
    if batch.is_once:
        reason = describe_refusal(batch.requests()[place - 1], answers[0])
    else:
        reason = f"the id {task_id} belongs to another request"
    raise _RefusedItemError(TaskSendError(code, f"item {item}: {reason}", task_id=str(task_id), item_index=item))


def ids_of(batch: EnqueueBatch) -> list[UUID]:
    """Return the ids of the tasks of a batch."""
    return [UUID(hex=each) for each in batch.ids[1:-1].split(",")]


def names_of(batch: EnqueueBatch) -> list[str]:
    """Return the names of the tasks of a batch."""
    return [batch.kinds[int(number) - 1].task_name for number in batch.kind_numbers[1:-1].split(",")]


def batches_sha(batches: Sequence[EnqueueBatch]) -> str:
    """Return the SHA-256 of batches, in hex."""
    found = hashlib.sha256()
    for batch in batches:
        for part in (batch.ids.encode(), batch.args, batch.fingerprints, batch.kind_numbers.encode()):
            found.update(len(part).to_bytes(8))
            found.update(part)
        found.update(repr((batch.kinds, batch.keys, batch.uniques, batch.task_keys)).encode())
        for unique in batch.uniques:
            found.update(b"" if unique is None else unique.args)
    return found.hexdigest()


def resend_many(
    error: TaskSendError, name: str | None, make_handle: Callable[[str, UUID], TaskHandle[Any, Any]]
) -> Operation[TaskSendResult[Handles]]:
    """Retry a failed ``send_many``, and log a failure.

    Args:
        error: The error of the ``send_many``.
        name: The name of the task of all items; None: they may have any.
        make_handle: Makes a handle of a task with a name and an id.
    """
    return logged((yield from _resend_many(error, name, make_handle)), name or SEVERAL_TASKS)


def _resend_many(
    error: TaskSendError, name: str | None, make_handle: Callable[[str, UUID], TaskHandle[Any, Any]]
) -> Operation[TaskSendResult[Handles]]:
    refused = _wrong_replay(error, name)
    if refused is not None:
        return refused
    payload = cast("BulkSendPayload", error.payload)
    transaction = Transaction()
    try:
        tasks = yield from replay(transaction, payload.batches, commit=True)
    except _RefusedItemError as mismatch:
        yield Rollback(transaction)
        return Err(replace(mismatch.error, payload=payload))
    except CallFailedError as failure:
        return Err(replace(error, message=failure.message, retryable=failure.retryable, exception=failure.__cause__))
    names = [name for batch in payload.batches for name in names_of(batch)]
    return Ok([make_handle(*each) for each in zip(names, tasks, strict=True)])


def _wrong_replay(error: TaskSendError, name: str | None) -> Err[TaskSendError] | None:
    """Return why the tasks of an error cannot be sent again, or None if they can."""
    payload = error.payload
    if error.code is not TaskSendErrorCode.ENQUEUE_FAILED or payload is None:
        what = "only a send_many that failed with ENQUEUE_FAILED and has a payload can be retried"
        return invalid(f"{what}: this one failed with {error.code}" + (" and has none" if payload is None else ""))
    if not isinstance(payload, BulkSendPayload):
        return invalid(f"this error comes from {payload.kind}: use retry_{payload.kind}")
    others = {kind.task_name for batch in payload.batches for kind in batch.kinds} - {name}
    if name is not None and others:
        return invalid(f"this error comes from {', '.join(sorted(others))}, not from {name}")
    if batches_sha(payload.batches) != payload.enqueue_sha:
        return Err(TaskSendError(TaskSendErrorCode.PAYLOAD_MISMATCH, "the payload was changed since the first send"))
    return None
