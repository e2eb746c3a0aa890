"""Attempts in a child: which ones run, and which of them have to stop early.

An ``async def`` attempt that was cancelled, or exceeds its time-out, gets `asyncio.CancelledError` once. Afterwards it
counts as stopped, even if its code returns a value. A ``def`` attempt is not interrupted: it can check
`CurrentTask.cancelled`. The supervisor replaces its process, and kills the process once no other task runs in it.
"""

import asyncio

from horsies.db.queries.worker import Fence
from horsies.process import monotonic
from horsies.tasks.current import CurrentTask
from horsies.worker.ipc import Job, StopCause


class RunningAttempt:
    """One attempt that this child has received.

    Attributes:
        cause: why it has to stop; None: it does not have to. Written by `stop` on the event loop, and by `end` in the
            thread of the attempt.
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
        """Start the time-out, before the code is called; returns False if the attempt was stopped and must not run."""
        self._current = current
        self._started_at = monotonic()
        return self.cause is None

    def end(self) -> StopCause | None:
        """Return why the attempt counts as stopped, after its code has ended; None: it was not stopped.

        Code that blocked its thread may have exceeded the time-out without having been cancelled.
        """
        if self.cause is None and self._limit_s is not None and monotonic() - self._started_at >= self._limit_s:
            self.cause = StopCause.TIMED_OUT
        return self.cause

    def lift_limit(self) -> None:
        """Do not judge the time from now on, because a debugger holds the code up."""
        self._limit_s = None
        if self._timer is not None:
            self._timer.cancel()

    def stop(self, cause: StopCause) -> None:
        """Stop the attempt. Called on the event loop; only the first cause counts."""
        if self.cause is not None:
            return
        self.cause = cause
        if self._current is not None:
            self._current.note_cancelled(cancelled=True)
        if self._asyncio_task is not None:
            self._asyncio_task.cancel()

    def __enter__(self) -> None:
        """Let `stop` and the time-out cancel the code that is awaited inside the block."""
        self._asyncio_task = asyncio.current_task()
        if self._limit_s is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limit_s, self.stop, StopCause.TIMED_OUT)

    def __exit__(self, *_raised: object) -> None:
        """Cancel nothing from now on."""
        self._asyncio_task = None
        if self._timer is not None:
            self._timer.cancel()


class RunningAttempts:
    """All attempts that this child has received and not reported."""

    def __init__(self) -> None:
        self._by_fence: dict[Fence, RunningAttempt] = {}

    def add(self, job: Job) -> None:
        """Add an attempt that was read from the socket."""
        self._by_fence[job.fence] = RunningAttempt(job)

    def remove(self, job: Job) -> None:
        """Remove an attempt whose report is complete."""
        del self._by_fence[job.fence]

    def lift_limits(self) -> None:
        """Do not judge the times of these attempts; see `RunningAttempt.lift_limit`."""
        for attempt in self._by_fence.values():
            attempt.lift_limit()

    def __getitem__(self, fence: Fence) -> RunningAttempt:
        """Return the attempt with this fence."""
        return self._by_fence[fence]

    def stop(self, fence: Fence, cause: StopCause) -> None:
        """Stop an attempt, unless it has ended meanwhile."""
        attempt = self._by_fence.get(fence)
        if attempt is not None:
            attempt.stop(cause)
