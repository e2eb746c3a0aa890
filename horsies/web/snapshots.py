"""Answers of the database that all viewers of a page share."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from horsies.events import event
from horsies.monitoring.asking import why_unanswered
from horsies.producer.handle import BrokerOperationError, BrokerResult
from horsies.result import Err

_MOST_KEPT = 500
_LARGE = ("task", "run nodes")
_MOST_LARGE = 20
_MOST_WEIGHT = 25_000
"""Tasks may have large arguments, and runs many nodes, so few of them are kept, and no more nodes than this."""
_KEPT_FOR_S = 600.0

type Key = tuple[str | float | None, ...]
"""Identifies a question: its kind, and everything that the answer depends on."""

type Ask[T] = Callable[[], Awaitable[BrokerResult[T]]]
"""Asks the database."""


class NoAnswerError(Exception):
    """The latest question was not answered, and there is no earlier answer.

    Attributes:
        error: Why the database did not answer; None if asking raised an exception, which the first viewer has got.
    """

    def __init__(self, error: BrokerOperationError | None) -> None:
        super().__init__("there is no answer of the database")
        self.error = error

    @property
    def retryable(self) -> bool:
        """Whether the same question may be answered later."""
        return self.error is not None and self.error.retryable

    @property
    def reason(self) -> str:
        """A sentence for the viewer: why there is no answer."""
        return reason_of(self.error)


def reason_of(error: BrokerOperationError | None) -> str:
    """Return a sentence that says why a question was not answered.

    Args:
        error: The error of the database; None: asking raised an exception.
    """
    if error is None:
        return "Reading the data failed. The log of the server says where."
    return why_unanswered(error)


@dataclass(frozen=True, slots=True)
class Snapshot[T]:
    """An answer of the database.

    Attributes:
        value: The answer.
        taken_at: When it was asked for, by the monotonic clock of this process.
        is_current: Whether the latest question was answered. False: this is the answer to an earlier one.
        error: Why the database did not answer the latest question; None: it did, or asking raised an exception.
    """

    value: T
    taken_at: float
    is_current: bool
    error: BrokerOperationError | None = None

    @property
    def age_s(self) -> float:
        """The age of the answer in seconds."""
        return time.monotonic() - self.taken_at


@dataclass(slots=True)
class _Entry:
    answer: Any = None
    taken_at: float = float("-inf")
    tried_at: float = float("-inf")
    is_current: bool = False
    error: BrokerOperationError | None = None
    asking: asyncio.Task[None] | None = None
    used_at: float = 0.0


class Snapshots:
    """The latest answers, by question. However many viewers ask, the database is asked once in a time.

    It is asked only when somebody looks. Concurrent viewers wait for the same answer.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()

    async def get[T](self, key: Key, ask: Ask[T], max_age_s: float = 1.0) -> Snapshot[T]:
        """Return the answer to a question.

        Args:
            key: Identifies the question.
            ask: Asks it.
            max_age_s: The age in seconds at which the database is asked again.

        Raises:
            NoAnswerError: The database did not answer, now and in the last ten minutes.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        entry.used_at = time.monotonic()
        self._entries.move_to_end(key)
        self._drop_old(entry.used_at)
        if time.monotonic() - entry.tried_at >= max_age_s:
            await self._refresh(entry, ask, key)
        if time.monotonic() - entry.taken_at > max(_KEPT_FOR_S, max_age_s):
            raise NoAnswerError(entry.error)
        return Snapshot(entry.answer, entry.taken_at, entry.is_current, entry.error)

    def expire(self) -> None:
        """Ask all questions again when they are needed next, because something was changed.

        Questions that are being asked may have been answered before the change, so their answers are not used.
        """
        for key, entry in self._entries.items():
            self._entries[key] = _Entry(entry.answer, entry.taken_at, used_at=entry.used_at)

    async def _refresh[T](self, entry: _Entry, ask: Ask[T], key: Key) -> None:
        asking = entry.asking
        if asking is None or asking.get_loop() is not asyncio.get_running_loop():
            asking = entry.asking = asyncio.create_task(_ask(entry, ask, key))
        await asyncio.shield(asking)  # a viewer may go away while others wait for the same answer

    def _drop_old(self, now: float) -> None:
        """Forget the questions that nobody has asked for the longest time. Answers may be large, and secret."""
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if len(self._entries) <= _MOST_KEPT and now - oldest.used_at <= _KEPT_FOR_S:
                break
            self._entries.popitem(last=False)
        for name in _LARGE:
            self._drop_large([key for key in self._entries if key[0] == name])

    def _drop_large(self, keys: list[Key]) -> None:
        """Forget all but the latest large answers of a kind; the latest one is kept, however large it is."""
        weight = 0
        for place, key in enumerate(reversed(keys)):
            weight += getattr(self._entries[key].answer, "weight", 0)
            if place and (place >= _MOST_LARGE or weight > _MOST_WEIGHT):
                del self._entries[key]


async def _ask[T](entry: _Entry, ask: Ask[T], key: Key) -> None:
    started = time.monotonic()
    entry.is_current, entry.error = False, None  # asking may raise an exception
    try:
        found = await ask()
        if isinstance(found, Err):
            entry.error = found.err_value
            event("web.query_failed", level=logging.WARNING, question=key[0], reason=found.err_value.message)
        else:
            entry.answer, entry.taken_at, entry.is_current = found.ok_value, started, True
    finally:
        entry.tried_at = time.monotonic()
        entry.asking = None
