"""The encoding of the items of ``send_many`` into batches."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeIs, cast
from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.codec.adapters import CodecError
from horsies.codec.problems import show_value
from horsies.codec.wire import encode_json
from horsies.codes import TaskSendErrorCode
from horsies.db.queries.tasks import EnqueueBatch, TaskKind, UniqueRequest
from horsies.producer.calls import TaskCall, handle_maker
from horsies.producer.handle import TaskHandle
from horsies.producer.keys import key_of, wrong_task_key
from horsies.producer.once import encode_unique, request_facts, unique_of, wrong_key, wrong_unique
from horsies.producer.payloads import LargeArguments, wrong_size
from horsies.producer.send import (
    Producer,
    TaskSendError,
    TaskSendOptions,
    bounded_deadline,
    fingerprint_head,
    wrong_options,
)
from horsies.tasks.registry import TaskDefinition

MOST_TASKS = 10_000
MOST_BYTES = 16_000_000
"""The largest batch: the number of tasks, and the size of their arguments unless there is only one."""
MOST_STREAMED_TASKS = 1_000
"""The largest batch while the program encodes the next batch and the server inserts this one."""
_SQLALCHEMY_ROW = "sqlalchemy.engine.row.Row"


@dataclass(frozen=True, slots=True, eq=False)
class _PreparedKind:
    """The parts that are the same for all tasks of one kind.

    Attributes:
        kind: The kind.
        head: A SHA-256 to which the arguments of a task are added.
        make_handle: Makes the handle of a task.
    """

    kind: TaskKind
    head: Any
    make_handle: Callable[[UUID], TaskHandle[Any, Any]]


class _EncodedItem(NamedTuple):
    """An item in the form that goes to the database: its kind, its encoded arguments, and what is its own."""

    prepared: _PreparedKind
    args: bytes
    idempotency_key: str | None
    unique: UniqueRequest | None
    key: str | None


class _ItemError(Exception):
    """An item cannot be sent."""

    def __init__(self, error: TaskSendError) -> None:
        super().__init__(error.message)
        self.error = error


def _refuse(message: str, cause: CodecError | None = None) -> _ItemError:
    return _ItemError(TaskSendError(TaskSendErrorCode.VALIDATION_FAILED, message, exception=cause))


def _is_call(item: object) -> TypeIs[TaskCall[Any, Any]]:
    return isinstance(item, TaskCall)


def _is_sqlalchemy_row(item: object) -> TypeIs[Sequence[object]]:
    """Whether an item is a row of SQLAlchemy, which is typed as a tuple and is not one. The library is not imported."""
    return any(f"{each.__module__}.{each.__qualname__}" == _SQLALCHEMY_ROW for each in type(item).__mro__)


class BatchBuilder:
    """Checks and encodes items, and collects them in batches.

    An item is a `TaskCall` or, if all items are calls of one task, also a tuple of positional arguments, such as a row
    of SQLAlchemy, or a mapping of keyword arguments.

    Attributes:
        handles: The handles of the items that were accepted, in their order.
        error: Why an item was refused; None: none was.
        large: The items whose arguments exceed ``PayloadPolicy.warn_bytes``.
    """

    def __init__(
        self,
        producer: Producer,
        definition: TaskDefinition | None,
        options: TaskSendOptions,
        trace_context: bytes | None = None,
    ) -> None:
        """Make a builder without items.

        Args:
            producer: The producer of the app.
            definition: The task of all items; None: each item is a `TaskCall`.
            options: The options that apply unless an item has others.
            trace_context: The trace context of the span that sends the tasks; None: there is no span.
        """
        self._trace_context = trace_context
        self.handles: list[TaskHandle[Any, Any]] = []
        self.error: TaskSendError | None = None
        self.large = LargeArguments(producer.payload)
        self._streams = False
        self._producer = producer
        self._definition = definition
        self._options = options
        self._plain: dict[TaskDefinition, _PreparedKind] = {}
        self._handle_makers: dict[TaskDefinition, Callable[[UUID], TaskHandle[Any, Any]]] = {}
        self._full: EnqueueBatch | None = None
        self._clear()

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._args: list[bytes] = []
        self._fingerprints: list[bytes] = []
        self._kind_numbers: list[int] = []
        self._keys: list[str | None] = []
        self._uniques: list[UniqueRequest | None] = []
        self._task_keys: list[str | None] = []
        self._is_once = False
        self._most_tasks = min(MOST_STREAMED_TASKS, MOST_TASKS) if self._streams else MOST_TASKS
        self._numbers: dict[TaskKind, int] = {}
        self._special: dict[TaskKind, _PreparedKind] = {}
        self._last: tuple[TaskKind | None, int] = (None, 0)
        self._size = 0

    def stream(self) -> None:
        """Make the batches small from now on, so that the server inserts one while the next one is encoded.

        Batches with keys and unique tasks stay large: their keys are sorted, so that two senders of the same keys do
        not wait for each other, but only within a batch.
        """
        self._streams = True
        if not self._is_once:
            self._most_tasks = min(MOST_STREAMED_TASKS, MOST_TASKS)

    def accept(self, item: object) -> bool:
        """Encode an item. Return False if a batch is full, which `take_full` returns, or if the item is refused."""
        try:
            encoded = self._encode(item)
        except _ItemError as refused:
            index = len(self.handles)
            message = f"item {index}: {refused.error.message}"
            self.error = replace(refused.error, message=message, item_index=index)
            return False
        has_room = not self._ids or (len(self._ids) < self._most_tasks and self._size + len(encoded.args) <= MOST_BYTES)
        if not has_room:
            self._full = self.build()
        self._add(encoded)
        return has_room

    def take_full(self) -> EnqueueBatch:
        """Return the batch that the last item did not fit into."""
        full, self._full = self._full, None
        if full is None:
            msg = "no batch is full"
            raise RuntimeError(msg)
        return full

    def build(self) -> EnqueueBatch:
        """Return the items since the last full batch as a batch, and begin another one."""
        batch = EnqueueBatch(
            ids="{" + ",".join(self._ids) + "}",
            args=b"\n".join(self._args),  # JSON that we encode has no newlines
            fingerprints=b"".join(self._fingerprints),
            kind_numbers="{" + ",".join(map(str, self._kind_numbers)) + "}",
            kinds=tuple(self._numbers),
            count=len(self._ids),
            keys=tuple(self._keys) if self._is_once else (),
            uniques=tuple(self._uniques) if self._is_once else (),
            task_keys=tuple(self._task_keys) if any(key is not None for key in self._task_keys) else (),
            trace_context=self._trace_context,
        )
        self._clear()
        return batch

    def set_tasks(self, index: int, names: Sequence[str], ids: Sequence[UUID]) -> None:
        """Make handles of other tasks that stand for items.

        Args:
            index: The index of the first item.
            names: The names of the tasks of the items.
            ids: The ids of the tasks.
        """
        makers = {definition.name: make for definition, make in self._handle_makers.items()}
        for place, (name, task_id) in enumerate(zip(names, ids, strict=True), index):
            if self.handles[place].task_id != str(task_id):
                self.handles[place] = makers[name](task_id)

    def _add(self, encoded: _EncodedItem) -> None:
        prepared, args, idempotency_key, unique, key = encoded
        kind, number = self._last
        if kind is not prepared.kind:
            number = self._numbers.setdefault(prepared.kind, len(self._numbers) + 1)
            self._last = (prepared.kind, number)
        fingerprint = prepared.head.copy()
        fingerprint.update(args)
        if facts := request_facts(idempotency_key, unique, key):
            self._is_once |= idempotency_key is not None or unique is not None
            fingerprint.update(b"\n" + encode_json(facts))
            if self._is_once:
                self._most_tasks = MOST_TASKS
        self._keys.append(idempotency_key)
        self._uniques.append(unique)
        self._task_keys.append(key)
        task_id = uuid7()
        self._ids.append(task_id.hex)
        self._args.append(args)
        self._fingerprints.append(fingerprint.digest())
        self._kind_numbers.append(number)
        self._size += len(args)
        self.handles.append(prepared.make_handle(task_id))

    def _encode(self, item: object) -> _EncodedItem:
        definition, prepared, options = self._definition, None, self._options
        args: tuple[object, ...] = ()
        kwargs: Mapping[str, object] = {}
        if _is_call(item):
            self._check_call(item)
            definition, args, kwargs = item.definition, item.args, item.kwargs
            options = replace(options, **cast("dict[str, Any]", item.options))
            prepared = self._prepare_special(definition, options) if item.options else None
        elif definition is None:
            msg = f"expected a call, made with task.args(…), got {show_value(item)}"
            raise _refuse(msg, CodecError((), msg))  # so that the log does not show the item
        elif isinstance(item, tuple):
            args = cast("tuple[object, ...]", item)
        elif _is_sqlalchemy_row(item):
            args = tuple(item)
        elif isinstance(item, Mapping):
            kwargs = cast("Mapping[str, object]", item)
        else:
            example = f"{definition.fn.__name__}.args(…)"
            kinds = f"a tuple of positional arguments, a dict of keyword arguments or {example}"
            msg = f"expected {kinds}, got {show_value(item)}"
            raise _refuse(msg, CodecError((), msg))  # so that the log does not show the item
        try:
            encoded = definition.signature.encode_call(args, kwargs)
            unique = encode_unique(definition, unique_of(definition, options.unique), args, kwargs)
            key = key_of(definition, options.key, args, kwargs)
        except CodecError as error:
            raise _refuse(str(error), error) from error
        too_large = wrong_size(self._producer.payload, definition.name, len(encoded))
        if too_large is not None:
            raise _ItemError(TaskSendError(TaskSendErrorCode.PAYLOAD_TOO_LARGE, too_large))
        self.large.note(definition.name, len(encoded))
        return _EncodedItem(prepared or self._prepare(definition), encoded, options.idempotency_key, unique, key)

    def _check_call(self, call: TaskCall[Any, Any]) -> None:
        if call.producer is not self._producer:
            msg = f"the task {call.definition.name!r} belongs to another app"
            raise _refuse(msg)
        if self._definition is not None and call.definition.name != self._definition.name:
            names = f"the task {call.definition.name!r}, not of {self._definition.name!r}"
            msg = f"the call is one of {names}: send calls of different tasks with app.send_many"
            raise _refuse(msg)
        if call.options.get("connection", self._options.connection) is not self._options.connection:
            msg = "the call has another connection=: all items of send_many are sent over one connection"
            raise _refuse(msg)

    def _prepare(self, definition: TaskDefinition) -> _PreparedKind:
        """Return the kind of the items of a task that have no options."""
        prepared = self._plain.get(definition)
        if prepared is None:
            prepared = self._plain[definition] = self._make(definition, self._kind(definition, self._options))
        return prepared

    def _prepare_special(self, definition: TaskDefinition, options: TaskSendOptions) -> _PreparedKind:
        """Return the kind of a call that has options."""
        wrong = wrong_options(options)
        if wrong is not None:
            raise _refuse(wrong)
        kind = self._kind(definition, options)
        prepared = self._special.get(kind)
        if prepared is None:
            prepared = self._special[kind] = self._make(definition, kind)
        return prepared

    def _kind(self, definition: TaskDefinition, options: TaskSendOptions) -> TaskKind:
        wrong = (
            wrong_key(options.idempotency_key)
            or wrong_unique(definition, options.unique)
            or wrong_task_key(options.key)
        )
        if wrong is not None:
            raise _refuse(wrong)
        default = self._producer.queue_priorities[definition.queue_name]
        return TaskKind(
            task_name=definition.name,
            queue=definition.queue_name,
            priority=default if options.priority is None else options.priority,
            delay=float(options.delay),
            good_until=bounded_deadline(options.good_until),
            retry_policy=None if definition.retry_policy is None else definition.retry_policy.to_json(),
            timeout_ms=definition.timeout_ms,
        )

    def _make(self, definition: TaskDefinition, kind: TaskKind) -> _PreparedKind:
        make_handle = self._handle_makers.get(definition)
        if make_handle is None:
            made = handle_maker(definition, self._producer.runner, self._options.connection)
            make_handle = self._handle_makers[definition] = made
        return _PreparedKind(kind, hashlib.sha256(fingerprint_head(kind)), make_handle)
