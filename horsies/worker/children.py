"""One child process as the supervisor sees it, and the permits that make queued work safe to withdraw.

A child that runs quick tasks is given a few more than the one it runs. Before each it must take a permit, one byte, out
of a pipe whose reading end the supervisor holds too. So both can take it, and never both the same: what the supervisor
takes back has not begun and will not begin. It then lies with the last jobs that the child was given, and the child is
told to drop those when it comes to them.
"""

import asyncio
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from horsies.db.calls_worker import Fence
from horsies.process import socket_pair
from horsies.worker.protocol import DROP, RUN, Frame, Job, Kind

_MOST_PERMITS = 1 << 16
_UNLIMITED = 1 << 62


@dataclass(eq=False, slots=True)
class Child:
    """One child process. It is judged dead when its stream has ended *and* its wait status is known.

    Attributes:
        jobs: what it was given, in that order. With permits, the first of them runs and the others wait; without, all
            of them run.
        left: how many more it may be given.
        elders: those who had its slot before and still run something. It may take no more than they leave room for.
        pulse: where it says, now and then, that its interpreter runs.
        retired_for: why it takes no more work; another one has its slot then.
        is_dismissed: it runs nothing, and was told to leave.
    """

    number: int
    slot: int
    name: str
    has_permits: bool
    give_permits: int
    take_permits: int
    pulse: int
    left: int = _UNLIMITED
    elders: list["Child"] = field(default_factory=list["Child"])
    retired_for: str | None = None
    is_dismissed: bool = False
    transport: asyncio.Transport | None = None
    pid: int | None = None
    is_ready: bool = False
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
    overdue: set[Fence] = field(default_factory=set[Fence])

    @property
    def elder_load(self) -> int:
        """How many jobs its elders still run."""
        return sum(len(elder.jobs) for elder in self.elders) if self.elders else 0

    @property
    def load(self) -> int:
        """How many jobs there are in its slot."""
        return len(self.jobs) + self.elder_load

    def room(self, most: int) -> int:
        """How many more it may be given, if its slot may have so many at most."""
        return max(0, min(most - self.load, self.left))

    @property
    def waiting(self) -> int:
        """How many of its jobs wait behind the one that runs."""
        return max(0, len(self.jobs) - 1) if self.has_permits else 0

    def begun(self) -> list[Job]:
        """The jobs that run, as far as is known here."""
        return list(islice(self.jobs.values(), 1 if self.has_permits else None))

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
            self.transport.write(b"".join(given))
        if given and self.has_permits:
            os.write(self.give_permits, RUN * len(given))

    def withdraw(self) -> list[Job]:
        """Take back what has not begun."""
        if not self.has_permits:
            return []
        self.flush()
        try:
            permits = os.read(self.take_permits, _MOST_PERMITS)
        except BlockingIOError:
            return []
        jobs = list(self.jobs.values())[len(self.jobs) - permits.count(RUN) :]
        for job in jobs:
            del self.jobs[job.fence]
            self._stop_timer(job.fence)  # the first of them may have been believed to run
        self.left += len(jobs)
        os.write(self.give_permits, DROP * len(permits))  # among them those of jobs that were withdrawn before
        return jobs

    def drop(self, fence: Fence) -> Job | None:
        """Forget a job that ended; None: it is not this child's."""
        self._stop_timer(fence)
        self.progress += 1
        return self.jobs.pop(fence, None)

    def bury(self) -> list[Job]:
        """The child is dead: take back what had not begun, and close the pipe. A second time does nothing."""
        if self.is_buried:
            return []
        unbegun = self.withdraw()
        self.is_buried = True
        self.has_permits = False
        for end in (self.give_permits, self.take_permits, self.pulse):
            os.close(end)
        return unbegun

    def look(self) -> int:
        """For how many looks nothing has been heard of its interpreter, this one included."""
        try:
            has_beaten = bool(os.read(self.pulse, _MOST_PERMITS))
        except BlockingIOError:
            has_beaten = False
        self.silent_looks = 0 if has_beaten or not self.was_ready else self.silent_looks + 1
        return self.silent_looks

    def _stop_timer(self, fence: Fence) -> None:
        timer = self.timers.pop(fence, None)
        if timer is not None:
            timer.cancel()


@contextmanager
def new_channel(
    number: int, slot: int, name: str, *, has_permits: bool
) -> Generator[tuple[Child, socket.socket, list[int]]]:
    """A child to be: it, our end of its socket, and the descriptors to hand to it, which are closed here afterwards."""
    ours, theirs = socket_pair()
    take, give = os.pipe()
    hear, beat = os.pipe()
    for end in (take, hear, beat):
        os.set_blocking(end, False)
    with theirs, os.fdopen(beat, "wb"):
        yield Child(number, slot, name, has_permits, give, take, hear), ours, [theirs.fileno(), take, beat]
