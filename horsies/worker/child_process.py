"""One child process as the supervisor sees it: its state, its jobs, and the start tokens that make a withdrawal safe.

States
    A child moves through `ChildState` in one direction only. It takes work while it is READY. It is DRAINING once it
    must take no more work but still runs some: it has run as many tasks as it may, holds too much memory, or runs an
    attempt that was told to stop and did not. Another child has its slot then.

Attempts that must stop
    An attempt that was cancelled or has exceeded its time-out is in `Child.stops`, with the cause. If it does not end
    by itself it is in `Child.abandoned` too: only the end of the process ends it. The process is killed when it runs
    nothing but abandoned attempts, so no task ends because of another one.

Start tokens
    A child may be given jobs that it does not begin at once: quick tasks wait behind the one that runs, and a task
    that blocks the event loop keeps a child from reading its socket. Before each job the child must take a permit, one
    byte, out of a pipe whose reading end the supervisor holds too. Both can take a permit, and never the same one: a
    job whose permit the supervisor took has not begun and never will. These are the last jobs that the child was given,
    and their start tokens now tell the child to drop them.
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
    """How far a child process has come in its life. Each state may follow any state above it, and none below it."""

    STARTING = 1
    """It is being started and runs the app's hooks."""
    READY = 2
    """It takes work."""
    DRAINING = 3
    """It takes no more work, and ends when it has nothing left to run."""
    STOPPING = 4
    """It is asked to exit, or is being killed."""
    DEAD = 5
    """Its stream has ended and its wait status is known."""


class StopMode(Enum):
    """Why a child is STOPPING."""

    EXIT = "asked to exit"
    KILL = "killed by the worker on purpose"
    LOST = "its stream ended unexpectedly"


@dataclass(eq=False, slots=True)
class Child:
    """One child process. It is DEAD when its stream has ended *and* its wait status is known.

    Attributes:
        state: changed only by `mark_ready`, `drain`, `stop` and `mark_dead`.
        concurrency: how many jobs it runs at once.
        jobs: the jobs that it was given, in that order. The first ``concurrency`` of them run, and the others wait.
        left: how many more it may be given.
        predecessors: children that had its slot before and still run something. It may take no more than they leave
            room for.
        liveness_pipe: the child writes a byte now and then while its interpreter runs.
        stops: the attempts that must end, and why; the pool writes it, and reads it when the child dies.
        abandoned: those of them that did not end by themselves.
        drain_reason: why it takes no more work.
        stop_mode: how it came to be STOPPING.
        kill_reason: why the worker killed it, if it did so on purpose.
    """

    number: int
    slot: int
    name: str
    concurrency: int
    give_tokens: int
    take_tokens: int
    liveness_pipe: int
    left: int = _UNLIMITED
    state: ChildState = ChildState.STARTING
    predecessors: list["Child"] = field(default_factory=list["Child"])
    drain_reason: str | None = None
    stop_mode: StopMode | None = None
    kill_reason: str | None = None
    transport: asyncio.Transport | None = None
    pid: int | None = None
    was_ready: bool = False
    has_ended: bool = False
    is_buried: bool = False
    wait_status: int | None = None
    progress: int = 0
    progress_seen: int = -1
    silent_looks: int = 0
    outbox: list[bytes] = field(default_factory=list[bytes])
    jobs: dict[Fence, Job] = field(default_factory=dict[Fence, Job])
    timers: dict[Fence, asyncio.TimerHandle] = field(default_factory=dict[Fence, asyncio.TimerHandle])
    stops: dict[Fence, StopCause] = field(default_factory=dict[Fence, StopCause])
    abandoned: set[Fence] = field(default_factory=set[Fence])

    def mark_ready(self) -> bool:
        """It can take work; False: it is not STARTING any more."""
        self.was_ready = True
        return self._advance(ChildState.READY)

    def drain(self, reason: str) -> bool:
        """Give it no more work; False: it takes none already."""
        if not self._advance(ChildState.DRAINING):
            return False
        self.drain_reason = reason
        return True

    def stop(self, mode: StopMode, kill_reason: str | None = None) -> None:
        """Its end has begun. The first mode is kept, but a child that was asked to exit may still be killed."""
        self._advance(ChildState.STOPPING)
        if self.state is ChildState.STOPPING and self.stop_mode in {None, StopMode.EXIT}:
            self.stop_mode = mode if mode is StopMode.KILL else self.stop_mode or mode
            self.kill_reason = kill_reason

    def mark_dead(self) -> bool:
        """Its end is known for sure; False: it was known before."""
        return self._advance(ChildState.DEAD)

    def _advance(self, state: ChildState) -> bool:
        if self.state >= state:
            return False
        self.state = state
        return True

    @property
    def own_load(self) -> int:
        """How many jobs it has that may go on."""
        return len(self.jobs) - len(self.abandoned)

    @property
    def predecessor_load(self) -> int:
        """How many jobs that may go on its predecessors still run."""
        return sum(child.own_load for child in self.predecessors) if self.predecessors else 0

    @property
    def load(self) -> int:
        """How many jobs that may go on there are in its slot."""
        return self.own_load + self.predecessor_load

    @property
    def was_killed(self) -> bool:
        """Whether its wait status is that of a process that was killed."""
        return self.wait_status is not None and os.waitstatus_to_exitcode(self.wait_status) == -signal.SIGKILL

    def describe_end(self) -> str:
        """How it ended, in words, and why if the worker killed it."""
        end = ipc.describe_end(self.wait_status or 0)
        return end if self.kill_reason is None else f"{end}: {self.kill_reason}"

    def room(self, most: int) -> int:
        """How many more it may be given, if its slot may have so many at most."""
        return max(0, min(most - self.load, self.left))

    @property
    def waiting(self) -> int:
        """How many of its jobs wait behind those that run, as far as is known here."""
        return max(0, len(self.jobs) - self.concurrency)

    def begun(self) -> list[Job]:
        """The jobs that run, as far as is known here."""
        return list(islice(self.jobs.values(), self.concurrency))

    def give(self, job: Job) -> None:
        """Hand a job over, together with all that are given in this turn of the loop."""
        self.jobs[job.fence] = job
        self.left -= 1
        if not self.outbox:
            asyncio.get_running_loop().call_soon(self.flush)
        self.outbox.append(Frame(Kind.START, job.encode()).encode())

    def flush(self) -> None:
        """Send what was given."""
        given, self.outbox = self.outbox, []
        if given and self.transport is not None:
            os.write(self.give_tokens, RUN * len(given))  # before the jobs, so that the child need not wait for them
            self.transport.write(b"".join(given))

    def tell_to_stop(self, fence: Fence, cause: StopCause) -> None:
        """Tell the child that an attempt must end, behind all jobs that it was given."""
        self.flush()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(ipc.stop(fence, cause).encode())

    def withdraw(self) -> list[Job]:
        """Take back what has not begun."""
        if self.is_buried:
            return []
        self.flush()
        try:
            tokens = os.read(self.take_tokens, _MAX_TOKENS)
        except BlockingIOError:
            return []
        jobs = list(self.jobs.values())[len(self.jobs) - tokens.count(RUN) :]
        for job in jobs:
            del self.jobs[job.fence]
            self._forget(job.fence)  # the first of them may have been believed to run
        self.left += len(jobs)
        os.write(self.give_tokens, DROP * len(tokens))  # among them those of jobs that were withdrawn before
        return jobs

    def drop(self, fence: Fence) -> Job | None:
        """Forget a job that ended; None: it is not this child's."""
        self._forget(fence)
        self.progress += 1
        return self.jobs.pop(fence, None)

    def close(self) -> list[Job]:
        """The child is dead: take back what had not begun, and close the pipe. A second time does nothing."""
        if self.is_buried:
            return []
        unbegun = self.withdraw()
        self.is_buried = True
        for end in (self.give_tokens, self.take_tokens, self.liveness_pipe):
            os.close(end)
        return unbegun

    def look(self) -> int:
        """For how many looks nothing has been heard of its interpreter, this one included."""
        try:
            has_beaten = bool(os.read(self.liveness_pipe, _MAX_TOKENS))
        except BlockingIOError:
            has_beaten = False
        self.silent_looks = 0 if has_beaten or not self.was_ready else self.silent_looks + 1
        return self.silent_looks

    def set_timer(self, fence: Fence, timer: asyncio.TimerHandle) -> None:
        """Replace the timer of an attempt; the end of the attempt cancels it."""
        self._cancel_timer(fence)
        self.timers[fence] = timer

    def _cancel_timer(self, fence: Fence) -> None:
        timer = self.timers.pop(fence, None)
        if timer is not None:
            timer.cancel()

    def _forget(self, fence: Fence) -> None:
        self._cancel_timer(fence)
        self.stops.pop(fence, None)
        self.abandoned.discard(fence)


@contextmanager
def new_channel(
    number: int, slot: int, name: str, *, concurrency: int
) -> Generator[tuple[Child, socket.socket, list[int]]]:
    """A child to be: it, our end of its socket, and the descriptors to hand to it, which are closed here afterwards."""
    ours, theirs = socket_pair()
    take, give = os.pipe()
    hear, beat = os.pipe()
    for end in (take, hear, beat):
        os.set_blocking(end, False)
    with theirs, os.fdopen(beat, "wb"):
        yield Child(number, slot, name, concurrency, give, take, hear), ours, [theirs.fileno(), take, beat]
