"""What an operation is made of.

Every operation of a producer is one generator that yields steps and returns its result; a sync and an async driver
(``horsies.client``) carry the steps out. So nothing is written twice.

- `Call`: ask the database; answers with the decoded rows, or raises `CallFailedError` into the generator.
- `Watch`: begin listening for the end of a task; answers with a `Ticket` to be closed by the operation.
- `Wait`: sleep until the ticket's task may have ended, or the seconds are over; answers with the stored result, if a
  notice brought it.
- `Pause`: sleep.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol
from uuid import UUID


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
"""The default of an option for which None is not a valid value, so that an explicit None can be refused."""

type Row = tuple[Any, ...]
type Rows = Sequence[Row]


def scalar(rows: Rows) -> Any:
    """Decode an answer of one value."""
    return rows[0][0]


def first[R](kind: Callable[..., R]) -> Callable[[Rows], R | None]:
    """Decode an answer of one row of a kind, or none."""
    return lambda rows: kind(*rows[0]) if rows else None


def many[R](kind: Callable[..., R]) -> Callable[[Rows], list[R]]:
    """Decode an answer of rows of a kind."""
    return lambda rows: [kind(*row) for row in rows]


def column(rows: Rows) -> list[Any]:
    """Decode an answer of rows with one value each."""
    return [row[0] for row in rows]


def nothing(_rows: Rows) -> None:
    """Decode an answer that says nothing."""


@dataclass(frozen=True, slots=True)
class Call[R]:
    """One call of a server function.

    Attributes:
        sql: the statement, written for the schema ``horsies``.
        params: its parameters.
        decode: makes the answer of the rows.
        hint: a notification to be sent behind it in the same round trip but in a transaction of its own:
            notifying inside the writing transaction makes all commits of the server queue up.
        connection: one of the caller's own, in whose open transaction both are made; `UNSET`: one of ours.
    """

    sql: str
    params: tuple[object, ...]
    decode: Callable[[Rows], R]
    hint: "Call[None] | None" = None
    connection: object = UNSET

    @property
    def groups(self) -> "list[list[Call[Any]]]":
        """The call and its hint, by transaction."""
        return [[self]] if self.hint is None else [[self], [self.hint]]


class Ticket(Protocol):
    """A place in the list of those who wait for a task."""

    def close(self) -> None:
        """Leave the list."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Begin to listen for the end of a task."""

    task_id: UUID


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a notice about the ticket's task, ``seconds`` at most."""

    ticket: Ticket
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for ``seconds``."""

    seconds: float


type Step = Call[Any] | Watch | Wait | Pause
type Operation[R] = Generator[Step, Any, R]


class CallFailedError(Exception):
    """A call did not succeed.

    Attributes:
        message: what happened, free of secrets.
        retryable: the same call may succeed later (no connection, server restarting, …).
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        """Say what happened and whether the same call may succeed later."""
        super().__init__(message)
        self.message = message
        self.retryable = retryable


class CallRefusedError(CallFailedError):
    """A call was not made, for the caller's own connection will not do. The transaction there is as it was."""


class Runner(Protocol):
    """Carries operations out: what a task, a handle and the app need of a client."""

    def run[R](self, operation: Operation[R]) -> R:
        """Carry an operation out, blocking the calling thread."""
        ...

    async def run_async[R](self, operation: Operation[R]) -> R:
        """Carry an operation out on the running event loop."""
        ...
