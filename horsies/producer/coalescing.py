"""Coalescing of calls: coroutines that send at the same time share round trips and commits.

A call that finds no other call of its kind under way is made at once, by its own coroutine. Calls that come meanwhile
wait in a queue and are made together, in the order in which they came: in one round trip and one transaction. So nobody
waits for calls that may come later, and under load the number of commits no longer limits the number of sends.

If a call of a batch fails, the database rolls the whole batch back. The failed call gets its error, and each of the
others is made again alone. If the connection or the commit fails, nobody knows what the database did, and every call of
the batch gets the error. A coroutine that is cancelled leaves the others of its batch alone.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from horsies.db.connect import Database
from horsies.db.errors import CALL_ERRORS, call_failed
from horsies.db.operations import Batching, Call, CallFailedError
from horsies.db.pipeline import round_trip_async
from horsies.process import monotonic
from horsies.producer.pool import AsyncPool

MAX_BATCH = 100
_MAX_UNDER_WAY = 2
_SLOW_AFTER_S = 0.05


class _Waiting(NamedTuple):
    """A call in the queue, and the future that its coroutine awaits."""

    call: Call[Any]
    reply: asyncio.Future[Any]


class AsyncCaller:
    """Makes the calls of one event loop over its pool, and coalesces those that allow it."""

    def __init__(self, database: Database, pool: AsyncPool) -> None:
        self.pool = pool
        self._database = database
        self._lanes: dict[Batching, _Lane] = {kind: _Lane(self) for kind in Batching if kind is not Batching.NEVER}

    def make(self, call: Call[Any]) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that makes a call, alone or in a batch. It raises CallFailedError if the call failed."""
        lane = self._lanes.get(call.batching)
        return self.make_alone(call) if lane is None else lane.make(call)

    async def make_alone(self, call: Call[Any]) -> Any:
        """Make a call in a separate round trip."""
        return (await self._round_trip(call.groups))[0][0]

    async def make_together(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Make calls in one transaction, followed by their hints. Equal hints are sent once."""
        hints = list(dict.fromkeys(call.hint for call in calls if call.hint is not None))
        return (await self._round_trip([calls, hints] if hints else [calls]))[0]

    async def _round_trip(self, groups: Sequence[Sequence[Call[Any]]]) -> list[list[Any]]:
        try:
            async with self.pool.connection() as connection:
                return await round_trip_async(self._database, connection, *groups)
        except CALL_ERRORS as error:
            raise call_failed(error) from error


class _Lane:
    """The queue of one kind of call.

    At most two round trips are under way, so that the next batch is encoded while the database handles another one. If
    neither answers within 50 ms, another batch is sent, so that a lost connection holds up nobody else for long.
    """

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller
        self._queue: deque[_Waiting] = deque()
        self._under_way = 0
        self._progress_at = 0.0
        self._is_woken_soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def make(self, call: Call[Any]) -> Any:
        """Make a call at once if none is under way; otherwise queue it, and wait for its reply."""
        if not self._under_way and not self._queue:
            self._begin()
            try:
                return await self._caller.make_alone(call)
            finally:
                self._end()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(call, loop.create_future())
        self._queue.append(waiting)
        if self._under_way < _MAX_UNDER_WAY and not self._is_woken_soon:
            self._is_woken_soon = True  # not now: the coroutines that run before it join the batch
            loop.call_soon(self._fill_places)
        elif self._timer is None:
            self._timer = loop.call_later(_SLOW_AFTER_S, self._pass_slow_ones)
        return await waiting.reply

    def _begin(self) -> None:
        self._under_way += 1
        self._progress_at = monotonic()

    def _end(self) -> None:
        self._under_way -= 1
        self._progress_at = monotonic()
        with suppress(RuntimeError):  # no event loop is running: an abandoned coroutine is collected
            asyncio.get_running_loop()
            self._fill_places()

    def _fill_places(self) -> None:
        self._is_woken_soon = False
        if self._queue and self._under_way < _MAX_UNDER_WAY:
            self._start_batch()

    def _pass_slow_ones(self) -> None:
        """Start a batch if the round trips that are under way have made no progress."""
        self._timer = None
        if self._queue and monotonic() - self._progress_at >= _SLOW_AFTER_S:
            self._start_batch()
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(_SLOW_AFTER_S, self._pass_slow_ones)

    def _start_batch(self) -> None:
        batch: list[_Waiting] = []
        while self._queue and len(batch) < MAX_BATCH:
            waiting = self._queue.popleft()
            if not waiting.reply.done():  # otherwise its coroutine was cancelled
                batch.append(waiting)
        if batch:
            self._begin()
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        """Make the calls of a batch, and give each coroutine its reply or its error."""
        try:
            await self._answer(batch)
        except BaseException as error:  # the event loop ends, or an error of the program
            for waiting in batch:
                if waiting.reply.done():
                    continue
                if isinstance(error, asyncio.CancelledError):
                    waiting.reply.cancel()
                else:
                    waiting.reply.set_exception(error)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._end()

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            replies = await self._caller.make_together([waiting.call for waiting in batch])
        except CallFailedError as failure:
            if failure.failed_call is None:
                for waiting in batch:
                    _fail(waiting, failure)
                return
            others: list[_Waiting] = []
            for waiting in batch:
                if waiting.call is failure.failed_call:
                    _fail(waiting, failure)
                else:
                    others.append(waiting)
            await asyncio.gather(*map(self._answer_alone, others))
            return
        for waiting, reply in zip(batch, replies, strict=True):
            if not waiting.reply.done():
                waiting.reply.set_result(reply)

    async def _answer_alone(self, waiting: _Waiting) -> None:
        try:
            reply = await self._caller.make_alone(waiting.call)
        except CallFailedError as failure:
            _fail(waiting, failure)
        else:
            if not waiting.reply.done():
                waiting.reply.set_result(reply)


def _fail(waiting: _Waiting, failure: CallFailedError) -> None:
    """Give a coroutine its own copy of an error, because each of them adds its traceback."""
    if waiting.reply.done():
        return
    copy = CallFailedError(
        failure.message, retryable=failure.retryable, sqlstate=failure.sqlstate, failed_call=failure.failed_call
    )
    copy.__cause__ = failure.__cause__
    waiting.reply.set_exception(copy)
