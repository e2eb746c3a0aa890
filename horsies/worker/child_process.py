"""One child process as the supervisor sees it: its state, its jobs, and the start tokens that make withdrawal safe.

States
    A child moves through `ChildState` in one direction only. Every state may be skipped:

    ```
    STARTING ── READY frame ──> READY ── drain ──> DRAINING ── stop ──> STOPPING ── end of the stream ──> DEAD
    hooks run                   takes jobs         runs its             EXIT, KILL     and wait status
                                                   last jobs            or LOST
    ```

    The dispatcher drains a child that has run ``--max-tasks-per-child`` tasks, holds too much memory, or runs an
    attempt that was asked to stop and did not. Another child takes over the slot at once. A child is stopped because
    it was asked to exit (EXIT), because the worker kills it (KILL), or because its stream has ended (LOST).

Attempts that must stop
    An attempt that was cancelled or has exceeded its time-out is in `Child.stops`, with the cause. If it does not end
    by itself, it is also in `Child.abandoned`: only the end of the process ends it. The process is killed when it runs
    nothing but abandoned attempts, so that no task ends because of another one.

Start tokens
    Some jobs do not start as soon as a child receives them: quick tasks wait behind the one that runs, and a task that
    blocks the event loop keeps the child from reading its socket. Before each job the child must read one byte, a
    start token, from a pipe whose reading end the supervisor holds as well. Either process can read a token, but never
    both the same one. A job whose token the supervisor has read has not started and never will. Tokens are
    interchangeable, so the withdrawn jobs are the last ones that the child was given; the supervisor writes a DROP
    token for each of them, which makes the child discard the job.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from itertools import islice

from horsies.db.queries.worker import Fence
from horsies.process import socket_pair
from horsies.worker import ipc
from horsies.worker.ipc import DROP, RUN, Frame, Job, Kind, StopCause

_MAX_TOKENS = 1 << 16
_UNLIMITED = 1 << 62


class ChildState(IntEnum):
    """The state of a child process. It only ever changes to a later one in this list."""

    STARTING = 1
    """The process is being started and runs the app's hooks."""
    READY = 2
    """The child takes jobs."""
    DRAINING = 3
    """The child takes no more jobs, and stops when the ones it has are finished."""
    STOPPING = 4
    """The child was asked to exit, or is being killed."""
    DEAD = 5
    """The stream of the child has ended and its wait status is known."""


class StopMode(Enum):
    """Why a child is STOPPING."""

    EXIT = "asked to exit"
    KILL = "killed by the worker on purpose"
    LOST = "its stream ended unexpectedly"


@dataclass(eq=False, slots=True)
class Child:
    """One child process.

    The process manager writes ``predecessors``, ``transport``, ``pid``, ``has_ended`` and ``wait_status``. The
    dispatcher writes ``stops``, ``abandoned`` and ``committing``. Methods of this class write everything else.

    Attributes:
        number: identifies the child in FORK and FORKED frames, before its process id is known.
        slot: the index of its place in the worker; a replacement has the same slot.
        name: ``host:pid/slot``, stored with the attempts that it runs.
        concurrency: the number of jobs that it runs at once.
        give_tokens: the writing end of the pipe of start tokens.
        take_tokens: the reading end of that pipe; the child holds it as well.
        liveness_pipe: the reading end of a pipe into which the child writes a byte at intervals while its interpreter
            runs.
        remaining_tasks: the number of jobs that it may still be given (``--max-tasks-per-child``).
        state: changed only by `mark_ready`, `drain`, `stop` and `mark_dead`.
        predecessors: draining children that had this slot before. Their active jobs count as load of this child.
        drain_reason: why it takes no more jobs.
        stop_mode: why it is STOPPING.
        kill_reason: why the worker has killed it on purpose, if it has.
        transport: the supervisor's end of its socket; None until it is connected.
        pid: its process id; None until the fork server has reported it.
        was_ready: whether it has ever been ready. A child that dies before that counts as a failed start.
        has_ended: whether its stream has ended.
        is_closed: whether `close` was called.
        wait_status: as returned by `os.waitpid`; None while it runs.
        progress: the number of jobs that have ended.
        stalled_at: its progress when jobs were last withdrawn because it made none; None: that never happened.
        silent_checks: the number of consecutive liveness checks without a ping.
        outbox: START frames that are sent at the end of this turn of the event loop.
        jobs: the jobs that it was given, in that order. The first ``concurrency`` of them run, and the others wait.
        timers: the time-out or grace period of each attempt that has one.
        stops: the attempts that must end, and why. The dispatcher reads it when the child dies.
        abandoned: the attempts in ``stops`` that did not end by themselves.
        committing: the attempts whose transactions are being committed, so that they have no time-out any more.
    """

    number: int
    slot: int
    name: str
    concurrency: int
    give_tokens: int
    take_tokens: int
    liveness_pipe: int
    remaining_tasks: int = _UNLIMITED
    state: ChildState = ChildState.STARTING
    predecessors: list["Child"] = field(default_factory=list["Child"])
    drain_reason: str | None = None
    stop_mode: StopMode | None = None
    kill_reason: str | None = None
    transport: asyncio.Transport | None = None
    pid: int | None = None
    was_ready: bool = False
    has_ended: bool = False
    is_closed: bool = False
    wait_status: int | None = None
    progress: int = 0
    stalled_at: int | None = None
    silent_checks: int = 0
    outbox: list[bytes] = field(default_factory=list[bytes])
    jobs: dict[Fence, Job] = field(default_factory=dict[Fence, Job])
    timers: dict[Fence, asyncio.TimerHandle] = field(default_factory=dict[Fence, asyncio.TimerHandle])
    stops: dict[Fence, StopCause] = field(default_factory=dict[Fence, StopCause])
    abandoned: set[Fence] = field(default_factory=set[Fence])
    committing: set[Fence] = field(default_factory=set[Fence])

    def mark_ready(self) -> bool:
        """Record that the child can take jobs; returns False if it is not STARTING any more."""
        self.was_ready = True
        return self._advance(ChildState.READY)

    def drain(self, reason: str) -> bool:
        """Give the child no more jobs; returns False if it is draining or stopping already."""
        if not self._advance(ChildState.DRAINING):
            return False
        self.drain_reason = reason
        return True

    def stop(self, mode: StopMode, kill_reason: str | None = None) -> None:
        """Record that the child stops. The first mode is kept, but EXIT may be followed by KILL."""
        self._advance(ChildState.STOPPING)
        if self.state is ChildState.STOPPING and self.stop_mode in {None, StopMode.EXIT}:
            self.stop_mode = mode if mode is StopMode.KILL else self.stop_mode or mode
            self.kill_reason = kill_reason

    def mark_dead(self) -> bool:
        """Record that the child is dead; returns False if that was recorded before."""
        return self._advance(ChildState.DEAD)

    def _advance(self, state: ChildState) -> bool:
        if self.state >= state:
            return False
        self.state = state
        return True

    @property
    def active_count(self) -> int:
        """The number of its jobs that are not abandoned."""
        return len(self.jobs) - len(self.abandoned)

    @property
    def predecessor_load(self) -> int:
        """The number of active jobs of its predecessors."""
        return sum(child.active_count for child in self.predecessors) if self.predecessors else 0

    @property
    def load(self) -> int:
        """The number of active jobs in its slot: its own and those of its predecessors."""
        return self.active_count + self.predecessor_load

    @property
    def was_killed(self) -> bool:
        """Whether its wait status is that of a process that SIGKILL has ended."""
        return self.wait_status is not None and os.waitstatus_to_exitcode(self.wait_status) == -signal.SIGKILL

    def describe_end(self) -> str:
        """Describe how the child ended and, if the worker killed it, why."""
        end = ipc.describe_end(self.wait_status or 0)
        return end if self.kill_reason is None else f"{end}: {self.kill_reason}"

    def room(self, limit: int) -> int:
        """Return the number of further jobs that it may be given, if its slot may hold ``limit`` jobs."""
        return max(0, min(limit - self.load, self.remaining_tasks))

    @property
    def waiting(self) -> int:
        """The number of its jobs that wait behind the running ones, as far as the supervisor knows."""
        return max(0, len(self.jobs) - self.concurrency)

    @property
    def takes_ahead(self) -> bool:
        """Whether jobs may wait in it.

        None do while its predecessors use a part of its slot, nor from the time when it made no progress until one of
        its jobs ends: they would be withdrawn again, and claimed again, for as long as the running jobs take.
        """
        return self.stalled_at != self.progress and not self.predecessor_load

    def mark_stalled(self) -> None:
        """Record that it makes no progress although jobs wait in it."""
        self.stalled_at = self.progress

    def running(self) -> list[Job]:
        """Return the jobs that run, as far as the supervisor knows."""
        return list(islice(self.jobs.values(), self.concurrency))

    def give(self, job: Job) -> None:
        """Send a job, together with all others that are given in this turn of the event loop."""
        if job.claimant is not None:
            job = job._replace(claimant=job.claimant._replace(process_name=self.name))
        self.jobs[job.fence] = job
        self.remaining_tasks -= 1
        if not self.outbox:
            asyncio.get_running_loop().call_soon(self.flush)
        self.outbox.append(Frame(Kind.START, job.encode()).encode())

    def flush(self) -> None:
        """Send the jobs of the outbox now."""
        given, self.outbox = self.outbox, []
        if given and self.transport is not None:
            os.write(self.give_tokens, RUN * len(given))  # first, so that the child does not have to wait for a token
            self.transport.write(b"".join(given))

    def send_stop(self, fence: Fence, cause: StopCause) -> None:
        """Send a STOP for an attempt, behind all jobs that were given."""
        self.flush()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(ipc.stop(fence, cause).encode())

    def withdraw(self) -> list[Job]:
        """Take back the jobs that have not started, and return them.

        An example: the child was given the jobs A, B and C, so the supervisor wrote three RUN tokens. The child has
        read one of them, for A. This method reads the other two, so B and C, the last two jobs, can no longer start. It
        writes two DROP tokens instead, with which the child discards B and C when it comes to them.
        """
        if self.is_closed:
            return []
        self.flush()
        try:
            tokens = os.read(self.take_tokens, _MAX_TOKENS)
        except BlockingIOError:
            return []
        jobs = list(self.jobs.values())[len(self.jobs) - tokens.count(RUN) :]
        for job in jobs:
            del self.jobs[job.fence]
            self._forget(job.fence)  # the supervisor may have believed that the first of them runs
        self.remaining_tasks += len(jobs)
        os.write(self.give_tokens, DROP * len(tokens))  # this includes DROP tokens of earlier withdrawals
        return jobs

    def remove_ended(self, fence: Fence) -> Job | None:
        """Remove a job that has ended, and return it; None if this child does not hold it."""
        self._forget(fence)
        self.progress += 1
        return self.jobs.pop(fence, None)

    def close(self) -> list[Job]:
        """Close the pipes of a dead child, and return its jobs that have not started. A second call does nothing."""
        if self.is_closed:
            return []
        unstarted = self.withdraw()
        self.is_closed = True
        for end in (self.give_tokens, self.take_tokens, self.liveness_pipe):
            os.close(end)
        return unstarted

    def check_liveness(self) -> int:
        """Read the liveness pings; returns the number of consecutive checks without one, this check included."""
        try:
            has_pinged = bool(os.read(self.liveness_pipe, _MAX_TOKENS))
        except BlockingIOError:
            has_pinged = False
        self.silent_checks = 0 if has_pinged or not self.was_ready else self.silent_checks + 1
        return self.silent_checks

    def set_timer(self, fence: Fence, timer: asyncio.TimerHandle) -> None:
        """Replace the timer of an attempt; the end of the attempt cancels it."""
        self.cancel_timer(fence)
        self.timers[fence] = timer

    def cancel_timer(self, fence: Fence) -> None:
        """Cancel the timer of an attempt, if it has one."""
        timer = self.timers.pop(fence, None)
        if timer is not None:
            timer.cancel()

    def _forget(self, fence: Fence) -> None:
        self.committing.discard(fence)
        if self.timers:
            self.cancel_timer(fence)
        if self.stops:
            self.stops.pop(fence, None)
            self.abandoned.discard(fence)


@contextmanager
def new_channel(
    number: int, slot: int, name: str, *, concurrency: int
) -> Generator[tuple[Child, socket.socket, list[int]]]:
    """Make the socket and the pipes for a new child.

    Yields:
        The child, the supervisor's end of its socket, and the descriptors to pass to the fork server: socket, start
        tokens, liveness pings. They are closed in this process when the block ends.
    """
    ours, theirs = socket_pair()
    take, give = os.pipe()
    pings, ping = os.pipe()
    for end in (take, pings, ping):
        os.set_blocking(end, False)
    with theirs, os.fdopen(ping, "wb"):
        yield Child(number, slot, name, concurrency, give, take, pings), ours, [theirs.fileno(), take, ping]
