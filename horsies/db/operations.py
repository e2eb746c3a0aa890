"""The steps of operations, and the decoders of their replies.

Every operation of a producer is one generator that yields steps and returns its result. A blocking and an asyncio
driver (`horsies.producer.sync_driver`, `horsies.producer.async_driver`) execute the steps, so the logic exists once.

- `Call`: call a server function. The driver sends the decoded rows to the generator, or throws `CallFailedError`.
- `Watch`: subscribe to the end of a task. The driver sends a `Ticket`, which the operation must close.
- `Wait`: sleep until the task of the ticket may have ended, or the time is over. The driver sends the stored result if
  a notice contained it.
- `Pause`: sleep.
- `Within`: call server functions in a transaction that stays open for further steps. `Rollback` rolls it back.
- `Feed`: take items from an iterable of the caller.

An exception of a step is thrown into the operation, which can catch it and yield further steps.
"""

from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from horsies.db.connect import Database


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
"""The default of an option for which None is not a valid value, so that an explicit None can be refused."""

MAX_TEXT_BYTES: Final = 10**9
"""The smallest size of a text that is not sent to the database, which stores at most 2³⁰ bytes in one value."""

type Row = tuple[Any, ...]
type Rows = Sequence[Row]


def scalar(rows: Rows) -> Any:
    """Decode a reply of one value."""
    return rows[0][0]


def first[R](kind: Callable[..., R]) -> Callable[[Rows], R | None]:
    """Return a decoder for a reply of one row, or none, into ``kind``."""
    return lambda rows: kind(*rows[0]) if rows else None


def many[R](kind: Callable[..., R]) -> Callable[[Rows], list[R]]:
    """Return a decoder for a reply of rows into a list of ``kind``."""
    return lambda rows: [kind(*row) for row in rows]


def column(rows: Rows) -> list[Any]:
    """Decode a reply of rows with one value each."""
    return [row[0] for row in rows]


def nothing(_rows: Rows) -> None:
    """Ignore the reply."""


class Batching(Enum):
    """Whether a call may be made together with other calls of its kind, in one transaction.

    Calls that may wait for a lock are never batched: they would hold up the others, and two batches could deadlock.
    """

    NEVER = "never"
    READS = "reads"
    SENDS = "sends"


@dataclass(frozen=True, slots=True)
class Call[R]:
    """One call of a server function.

    Attributes:
        sql: the statement, written for the schema ``horsies``.
        params: its parameters.
        decode: turns the rows into the reply.
        hint: notifications that follow in the same round trip, but in a separate transaction: inside the writing
            transaction, they would serialize all commits of the server, and fail with a full notification queue.
        connection: the caller's connection, in whose open transaction both calls are made; `UNSET`: a connection of
            this library.
        batching: whether concurrent callers may share a transaction.
    """

    sql: str
    params: tuple[object, ...]
    decode: Callable[[Rows], R]
    hint: "Notice | None" = None
    connection: object = UNSET
    batching: Batching = Batching.NEVER

    @property
    def groups(self) -> "list[list[Call[Any]]]":
        """The call and its hint, grouped by transaction."""
        return [[self]] if self.hint is None else [[self], [self.hint]]


@dataclass(frozen=True, slots=True)
class Notice(Call[None]):
    """A call that only notifies. If it fails, the failure is logged, and the round trip that it is part of succeeds."""


class Ticket(Protocol):
    """A subscription to the end of a task."""

    def close(self) -> None:
        """End the subscription."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Subscribe to the end of a task."""

    task_id: UUID


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a notice about the task of a ticket, for at most ``seconds``; infinity: without limit."""

    ticket: Ticket
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Sleep for ``seconds``."""

    seconds: float


@dataclass(slots=True)
class Transaction:
    """A transaction on a connection of the pool, which an operation keeps open over several steps.

    Attributes:
        resource: what the driver needs to use and to release the connection; written by the driver. None: the
            transaction has not begun, or it has ended.
        unread: the calls that were sent and whose replies were not read; written by `horsies.db.pipeline`.
    """

    resource: Any = None
    unread: list[Any] = field(default_factory=list[Any])


class Replies(Enum):
    """When the replies of a step are read."""

    NOW = "now"
    LATER = "later"
    """With the next step of the transaction, so that the program works while the server does. The next step raises the
    failure of the calls. The driver sends no replies to the operation."""


@dataclass(frozen=True, slots=True)
class Within:
    """Make calls in a transaction, which the first such step begins. The driver sends the list of their replies.

    If a call or the commit fails, the transaction has ended.

    Attributes:
        transaction: the transaction.
        calls: the calls.
        commit_with: the notice that is sent after the transaction is committed, in the same round trip; None: the
            transaction stays open.
        replies: when the replies are read; LATER only if the transaction stays open.
    """

    transaction: Transaction
    calls: Sequence[Call[Any]]
    commit_with: Notice | None = None
    replies: Replies = Replies.NOW


@dataclass(frozen=True, slots=True)
class Rollback:
    """Roll a transaction back, if it is open."""

    transaction: Transaction


@dataclass(slots=True)
class Items:
    """Items of the caller, which an operation reads in several steps.

    Attributes:
        source: an iterable or an asynchronous iterable. It may be both, as a query set of Django is: each driver
            iterates in its own way if the source allows that.
        accept: takes an item, and returns whether the step goes on to the next one.
        iterator: the driver's iterator over the source; written by the driver. None: no step has read an item.
    """

    source: Iterable[object] | AsyncIterable[object]
    accept: Callable[[object], bool]
    iterator: Any = None


@dataclass(frozen=True, slots=True)
class Feed:
    """Pass items to their ``accept`` until it returns False or the items end.

    The driver sends whether there may be further items. Only the asyncio driver takes asynchronous iterables.
    """

    items: Items


class InputExitError(BaseException):
    """The iterable of the caller has raised GeneratorExit.

    A driver throws this error into the operation instead: a GeneratorExit there means that the operation is closed, and
    must yield no further steps. When the operation has ended, the driver raises the exception of the caller.
    """

    def __init__(self, original: GeneratorExit) -> None:
        super().__init__()
        self.original = original


type Step = Call[Any] | Watch | Wait | Pause | Within | Rollback | Feed
type Operation[R] = Generator[Step, Any, R]


def immediately[R](result: R) -> Operation[R]:
    """Return an operation without steps."""
    yield from ()
    return result


class CallFailedError(Exception):
    """A call failed.

    Attributes:
        message: the reason, without secrets.
        retryable: whether the same call may succeed later (no connection, server restarting, …).
        sqlstate: the code that the server gave the error; empty: there is none.
        failed_call: the call whose statement failed; None: the connection or a commit failed, or it is not known.
    """

    def __init__(
        self, message: str, *, retryable: bool, sqlstate: str = "", failed_call: "Call[Any] | None" = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.sqlstate = sqlstate
        self.failed_call = failed_call


class CallRefusedError(CallFailedError):
    """A call was not made, because the caller's connection or input is unsuitable. Its transaction is unchanged."""


class Runner(Protocol):
    """Executes operations; the part of a producer that tasks, handles and the app use."""

    @property
    def database(self) -> "Database":
        """The database on which it executes them."""
        ...

    def run[R](self, operation: Operation[R]) -> R:
        """Execute an operation, blocking the calling thread."""
        ...

    def run_async[R](self, operation: Operation[R]) -> Coroutine[Any, Any, R]:
        """Return a coroutine that executes an operation on the running event loop."""
        ...

    def assume_prepared(self) -> None:
        """Do not check the schema before the first call, because another process of this program has done so."""
        ...
