"""Calls of producers. All drivers use the same SQL."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from horsies.codec.secrets import split_sealed
from horsies.db.adapt import RawJson, RawText
from horsies.db.operations import UNSET, Batching, Call, Notice, Rows, column, first, many, nothing, scalar
from horsies.db.queries.rows import AttemptRow, StoredResult, TaskInfoRow
from horsies.db.queries.worker import notify_wake

# Larger arguments are sent alone, so that small ones do not wait for them.
_MAX_BATCHED_BYTES = 16_384
_ENQUEUE = (
    "select horsies.enqueue(%s, %s, %s, %s, %s::json, %s, %s::float8, %s::timestamptz, %s::json, %s::int, %s, %s,"
    " %s::json, %s::json)"
)
_SAVEPOINT = "horsies_send_many"
_WAKE = notify_wake()
_ENQUEUE_MANY = (
    "select horsies.enqueue_many(%s::text::uuid[], %s::text, %s::bytea, %s::text::int[], %s::text[], %s::text[], "
    "%s::int[], %s::float8[], %s::timestamptz[], %s::text[], %s::int[], %s, %s::text[], %s::json)"
)

# A single value, so that a wake-up can be added in a transaction of the caller; as text, so that every driver returns a
# string.
_ENQUEUE_ONCE = (
    "select (select pg_catalog.json_agg(pg_catalog.json_build_array(e.place, e.task_id, e.verdict) order by e.place)"
    " from horsies.enqueue_once(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::text[], %s::bytea[], %s::float8[],"
    " %s::timestamptz[], %s::text[], %s::int[], %s, %s, %s::text[], %s::text[], %s::text[], %s::text[],"
    " %s::float8[], %s::text[], %s::json, %s) e)::text"
)


@dataclass(frozen=True, slots=True)
class UniqueRequest:
    """The uniqueness of a task in a request.

    Attributes:
        args: A JSON object of the arguments that are compared, by parameter name, including defaults.
        until: ``started`` or ``ended``.
        on_conflict: ``keep``, ``replace`` or ``reject``.
        max_wait: The seconds after the first send by which a replaced task is due; None: no limit.
    """

    args: bytes = field(repr=False)
    until: str
    on_conflict: str
    max_wait: float | None


@dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """One task to send. ``delay`` is in seconds, counted from the current time of the database.

    ``args`` are in the form of `horsies.codec.secrets.seal` if some of them are secret. With ``who``, the name of a
    person who operates the queue, the send is recorded.
    """

    task_id: UUID
    task_name: str
    queue: str
    priority: int
    args: bytes = field(repr=False)  # errors of a send contain the request and are logged
    fingerprint: bytes
    delay: float
    good_until: datetime | None
    retry_policy: bytes | None
    timeout_ms: int | None
    idempotency_key: str | None = field(default=None, repr=False)
    unique: UniqueRequest | None = None
    key: str | None = field(default=None, repr=False)
    trace_context: bytes | None = field(default=None, repr=False)  # not a part of the fingerprint
    who: str | None = None  # likewise

    @property
    def is_once(self) -> bool:
        """Whether it must be sent by `enqueue_once`: it has an idempotency key, is unique, or is to be recorded."""
        return self.idempotency_key is not None or self.unique is not None or self.who is not None


class SendAnswer(NamedTuple):
    """A row of `horsies.enqueue_once`: the task that stands for a send, and how that came about."""

    place: int
    task_id: UUID | None
    verdict: str


def enqueue(request: EnqueueRequest, *, replay: bool, connection: object = UNSET) -> Call[str]:
    """Send a task; returns ``sent``, ``known`` or ``mismatch``."""
    public, complete = split_sealed(request.args)
    params = (
        request.task_id,
        request.task_name,
        request.queue,
        request.priority,
        RawJson(public),
        request.fingerprint,
        request.delay,
        request.good_until,
        None if request.retry_policy is None else RawJson(request.retry_policy),
        request.timeout_ms,
        replay,
        request.key,
        _optional_json(request.trace_context),
        _optional_json(complete),
    )
    # A first send has a new id, so it waits for no other transaction. A replay may wait for another one of its task.
    batching = Batching.NEVER if replay or len(request.args) > _MAX_BATCHED_BYTES else Batching.SENDS
    return Call(_ENQUEUE, params, scalar, notify_wake(), connection, batching)


def enqueue_once(
    requests: Sequence[EnqueueRequest],
    *,
    replay: bool,
    hint: Notice | None = _WAKE,
    connection: object = UNSET,
) -> Call[list[SendAnswer]]:
    """Send tasks that may have idempotency keys and may be unique, all or none.

    The answer has one item for each task or, if one of them is refused, only the item of that task.
    """
    uniques = [each.unique for each in requests]
    params = (
        [each.task_id for each in requests],
        [each.task_name for each in requests],
        [each.queue for each in requests],
        [each.priority for each in requests],
        [each.args.decode() for each in requests],
        [each.fingerprint for each in requests],
        [each.delay for each in requests],
        [each.good_until for each in requests],
        [None if each.retry_policy is None else each.retry_policy.decode() for each in requests],
        [each.timeout_ms for each in requests],
        replay,
        connection is not UNSET,
        [each.idempotency_key for each in requests],
        [None if each is None else each.args.decode() for each in uniques],
        [None if each is None else each.until for each in uniques],
        [None if each is None else each.on_conflict for each in uniques],
        [None if each is None else each.max_wait for each in uniques],
        [each.key for each in requests],
        _optional_json(requests[0].trace_context),  # of the span that sends all of them
        requests[0].who,
    )
    return Call(_ENQUEUE_ONCE, params, _answers, hint, connection)


def _optional_json(document: bytes | None) -> RawJson | None:
    return None if document is None else RawJson(document)


def _answers(rows: Rows) -> list[SendAnswer]:
    answers: list[tuple[int, str | None, str]] = json.loads(rows[0][0])
    return [
        SendAnswer(place, None if task_id is None else UUID(task_id), verdict) for place, task_id, verdict in answers
    ]


@dataclass(frozen=True, slots=True)
class TaskKind:
    """What tasks of the same name and options, sent in one batch, have in common; see `EnqueueRequest`."""

    task_name: str
    queue: str
    priority: int
    delay: float
    good_until: datetime | None
    retry_policy: bytes | None
    timeout_ms: int | None


@dataclass(frozen=True, slots=True)
class EnqueueBatch:
    """Tasks to send in one statement, in the form that goes to the database.

    Attributes:
        ids: The ids, as an array in text form.
        args: The encoded arguments, one line for each task.
        fingerprints: The fingerprints, 32 bytes for each task.
        kind_numbers: The number of the kind of each task, from 1, as an array in text form.
        kinds: The kinds of tasks.
        count: The number of tasks.
        keys: The idempotency key of each task, or None; empty: no task has one, and none is unique.
        uniques: The uniqueness of each task, or None; as long as ``keys``.
        task_keys: The key of each task, or None; empty: no task has one.
        trace_context: That of the span that sends the tasks, or None.
    """

    ids: str
    args: bytes = field(repr=False)
    fingerprints: bytes = field(repr=False)
    kind_numbers: str = field(repr=False)
    kinds: tuple[TaskKind, ...]
    count: int
    keys: tuple[str | None, ...] = field(default=(), repr=False)
    uniques: tuple[UniqueRequest | None, ...] = ()
    task_keys: tuple[str | None, ...] = field(default=(), repr=False)
    trace_context: bytes | None = field(default=None, repr=False)

    @property
    def is_once(self) -> bool:
        """Whether a task has a key or is unique, so that the batch must be sent by `enqueue_once`."""
        return bool(self.keys)

    @property
    def size(self) -> int:
        """The number of bytes that are sent for the tasks, without what their kinds need."""
        once = sum(len(key or "") for key in (*self.keys, *self.task_keys)) + sum(
            len(each.args) for each in self.uniques if each
        )
        return len(self.ids) + len(self.args) + len(self.fingerprints) + len(self.kind_numbers) + once

    def requests(self) -> list[EnqueueRequest]:
        """Return the tasks of a batch with keys or unique tasks one by one."""
        ids, numbers = self.ids[1:-1].split(","), self.kind_numbers[1:-1].split(",")
        found: list[EnqueueRequest] = []
        for place, args in enumerate(self.args.split(b"\n")):
            kind = self.kinds[int(numbers[place]) - 1]
            fingerprint = self.fingerprints[place * 32 : place * 32 + 32]
            found.append(
                EnqueueRequest(
                    UUID(hex=ids[place]),
                    kind.task_name,
                    kind.queue,
                    kind.priority,
                    args,
                    fingerprint,
                    kind.delay,
                    kind.good_until,
                    kind.retry_policy,
                    kind.timeout_ms,
                    self.keys[place],
                    self.uniques[place],
                    self.task_keys[place] if self.task_keys else None,
                    self.trace_context,
                )
            )
        return found


def enqueue_many(
    batch: EnqueueBatch, *, replay: bool, hint: Notice | None = None, connection: object = UNSET
) -> Call[int | None]:
    """Send tasks; returns the position, from 1, of the first task whose id belongs to another request, or None."""
    kinds = batch.kinds
    params = (
        batch.ids,
        RawText(batch.args),
        batch.fingerprints,
        batch.kind_numbers,
        [kind.task_name for kind in kinds],
        [kind.queue for kind in kinds],
        [kind.priority for kind in kinds],
        [kind.delay for kind in kinds],
        [kind.good_until for kind in kinds],
        [None if kind.retry_policy is None else kind.retry_policy.decode() for kind in kinds],
        [kind.timeout_ms for kind in kinds],
        replay,
        list(batch.task_keys) or None,
        _optional_json(batch.trace_context),
    )
    return Call(_ENQUEUE_MANY, params, scalar, hint, connection)


def set_savepoint(connection: object) -> Call[None]:
    """Set a savepoint in the transaction of the caller, to which `roll_back_to_savepoint` returns."""
    return Call(f"savepoint {_SAVEPOINT}", (), nothing, connection=connection)


def release_savepoint(connection: object) -> Call[None]:
    """Release the savepoint, and keep everything since."""
    return Call(f"release savepoint {_SAVEPOINT}", (), nothing, connection=connection)


def roll_back_to_savepoint(connection: object) -> Call[None]:
    """Undo everything since the savepoint."""
    return Call(f"rollback to savepoint {_SAVEPOINT}", (), nothing, connection=connection)


def task_result(task_id: UUID) -> Call[StoredResult | None]:
    """Return the status and the result of a task; None: there is no such task."""
    query = "select task_name, status, result from horsies.task_result(%s)"
    return Call(query, (task_id,), first(StoredResult), batching=Batching.READS)


def ended_among(task_ids: Sequence[UUID]) -> Call[list[UUID]]:
    """Return the ids of those tasks that are no longer live."""
    return Call("select * from horsies.ended_among(%s::uuid[])", (list(task_ids),), column)


def task_info(task_id: UUID, *, with_args: bool = False) -> Call[TaskInfoRow | None]:
    """Return everything that is known about a task; its arguments only ``with_args``. None: there is no such task."""
    return Call("select * from horsies.task_info(%s, %s)", (task_id, with_args), first(TaskInfoRow))


def task_attempts(task_id: UUID) -> Call[list[AttemptRow]]:
    """Return the finished attempts of a task, newest first."""
    return Call("select * from horsies.task_attempts(%s)", (task_id,), many(AttemptRow))


def cancel(task_id: UUID, *, who: str | None = None) -> Call[str]:
    """Cancel a task that has not ended; returns ``cancelled``, ``ended`` or ``unknown``.

    With ``who``, the name of a person or program that operates the queue, the action is recorded.
    """
    return Call("select horsies.cancel(%s, %s)", (task_id, who), scalar, hint=notify_cancel(task_id))


def notify_cancel(task_id: UUID) -> Notice:
    """Notify workers and waiters that a task was cancelled."""
    return Notice("select horsies.notify_cancel(%s)", (task_id,), nothing)


def progress(task_id: UUID, attempt: int, report: bytes | None) -> Call[bool]:
    """Report the progress of an attempt (None: no report); returns whether the attempt is still running."""
    params = (task_id, attempt, None if report is None else RawJson(report))
    return Call("select horsies.progress(%s, %s::int, %s::json)", params, scalar)


def rerun(origin: UUID, new_id: UUID, *, who: str | None = None, trace_context: bytes | None = None) -> Call[str]:
    """Rerun an ended task; returns ``sent``, ``live`` or ``unknown``. Repeating it with the same new id is safe.

    With ``who``, the name of a person or program that operates the queue, the action is recorded.
    """
    params = (origin, new_id, who, _optional_json(trace_context))
    return Call("select horsies.rerun(%s, %s, %s, %s::json)", params, scalar, hint=notify_wake())
