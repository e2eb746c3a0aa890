"""Attempts as the child sees them: which run, and which of them must end before their code does.

An ``async def`` attempt that was cancelled, or exceeds its time-out, gets `asyncio.CancelledError` once. Whatever its
code then raises or returns, the attempt was stopped. A ``def`` attempt can only learn from `CurrentTask.cancelled` that
it is to end; the supervisor replaces its process, and kills that once no other task runs in it.
"""

import asyncio

from horsies.db.queries.worker import Fence
from horsies.process import monotonic
from horsies.tasks.current import CurrentTask
from horsies.worker.ipc import Job, StopCause


class RunningAttempt:
    """One attempt that this child was given.

    Attributes:
        cause: why it must end; set by `stop`, on the event loop, and by `end`.
    """

    __slots__ = ("_asyncio_task", "_current", "_limit_s", "_started_at", "_timer", "cause")

    def __init__(self, job: Job) -> None:
        self.cause: StopCause | None = None
        self._limit_s = None if job.timeout_ms is None else job.timeout_ms / 1000
        self._started_at = monotonic()
        self._current: CurrentTask | None = None
        self._asyncio_task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, current: CurrentTask) -> bool:
        """Its code is about to be called, and its time-out counts from now; False: it must not be."""
        self._current = current
        self._started_at = monotonic()
        return self.cause is None

    def end(self) -> StopCause | None:
        """Its code has ended; why it counts as stopped. Code that blocked its thread may have exceeded the time-out."""
        if self.cause is None and self._limit_s is not None and monotonic() - self._started_at >= self._limit_s:
            self.cause = StopCause.TIMED_OUT
        return self.cause

    def stop(self, cause: StopCause) -> None:
        """Have it end. Called on the event loop; only the first cause counts."""
        if self.cause is not None:
            return
        self.cause = cause
        if self._current is not None:
            self._current.note_cancelled(cancelled=True)
        if self._asyncio_task is not None:
            self._asyncio_task.cancel()

    def __enter__(self) -> None:
        """The code that is awaited inside is cancelled by `stop`, and by the time-out."""
        self._asyncio_task = asyncio.current_task()
        if self._limit_s is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limit_s, self.stop, StopCause.TIMED_OUT)

    def __exit__(self, *_raised: object) -> None:
        """Nothing is cancelled any more."""
        self._asyncio_task = None
        if self._timer is not None:
            self._timer.cancel()


class RunningAttempts:
    """All attempts that this child was given and has not reported."""

    def __init__(self) -> None:
        self._by_fence: dict[Fence, RunningAttempt] = {}

    def add(self, job: Job) -> None:
        """An attempt was read off the socket."""
        self._by_fence[job.fence] = RunningAttempt(job)

    def remove(self, job: Job) -> None:
        """Its report is made."""
        del self._by_fence[job.fence]

    def __getitem__(self, fence: Fence) -> RunningAttempt:
        """The attempt that was added with that fence."""
        return self._by_fence[fence]

    def stop(self, fence: Fence, cause: StopCause) -> None:
        """Have an attempt end; one that has ended meanwhile is none of them."""
        attempt = self._by_fence.get(fence)
        if attempt is not None:
            attempt.stop(cause)
