"""Waiting in coroutines. A process may have tens of thousands of them, so each waiter is as small as possible.

A waiter has one future. It has a timer only if its caller gave a timeout. A single timer of the event loop checks for
all waiters of that loop whether the listener works.
"""

import asyncio
import math
import weakref
from uuid import UUID

from horsies.db.queries.rows import StoredResult
from horsies.producer.waiter import Waiter, Waiters


class AsyncWaiter(Waiter):
    """A waiter that can be awaited.

    ``_ended`` gets its result when the task has ended, when the timeout expires, and when the caller has to query the
    database itself. Each wait begins with a new future, unless the old one got its result before the wait began.
    """

    __slots__ = ("_checks", "_ended")

    def __init__(self, waiters: Waiters, checks: "ListenerChecks", task_id: UUID) -> None:
        self._checks = checks
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        super().__init__(waiters, task_id)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which the coroutine waits."""
        return self._ended.get_loop()

    def wake(self, pushed_result: StoredResult | None) -> None:
        """Store the pushed result, if there is one, and wake the coroutine in its event loop."""
        super().wake(pushed_result)
        try:
            self.loop.call_soon_threadsafe(self.wake_in_loop)
        except RuntimeError:  # the loop is closed, so nothing waits there any more
            self.close()

    def wake_in_loop(self) -> None:
        """Wake the coroutine. Only the thread of its event loop may call this."""
        if not self._ended.done():
            self._ended.set_result(None)

    async def wait(self, seconds: float) -> StoredResult | None:
        """Wait until a notification arrives or the timeout expires; see `SyncWaiter.wait`.

        Args:
            seconds: The timeout; infinity: none.
        """
        self._checks.start()
        timer = None if seconds == math.inf else self.loop.call_later(seconds, self.wake_in_loop)
        try:
            await self._ended
        finally:
            if timer is not None:
                timer.cancel()
        self._ended = self.loop.create_future()
        return self._pushed_result


class ListenerChecks:
    """Checks regularly, in each event loop with waiters, whether the listener receives notifications.

    While it does not, each check wakes all waiters of the loop, so that their callers query the database themselves.

    ``_due`` has the time of the next check of each loop, by the clock of the loop. It contains no timers, because a
    timer would keep its loop in memory. A timer whose time is not that of the next check does nothing.
    """

    def __init__(self, waiters: Waiters) -> None:
        self._waiters = waiters
        self._due: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()

    def start(self) -> None:
        """Make sure that the running loop checks the listener, and that the listener thread runs."""
        self._check_within(self._waiters.hearing().seconds)

    def _check_within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if due < self._due.get(loop, math.inf):
            self._due[loop] = due
            loop.call_at(due, self._check, due)

    def _check(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        if self._due.get(loop) != due:
            return
        del self._due[loop]
        waiting = [each for each in self._waiters.active() if isinstance(each, AsyncWaiter) and each.loop is loop]
        if not waiting:
            return  # the next waiter starts the checks again
        hearing = self._waiters.hearing()
        if hearing.is_deaf:
            for waiter in waiting:
                waiter.wake_in_loop()
        self._check_within(hearing.seconds)
