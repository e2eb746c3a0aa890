"""The children of a worker, seen from the supervisor: who is free, who runs what, and what a death means."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol
from uuid import UUID

from horsies.codes import OperationalErrorCode
from horsies.db.calls_worker import Fence, Outcome, WorkerFacts
from horsies.telemetry import event
from horsies.worker import protocol
from horsies.worker.children import Child, new_channel
from horsies.worker.execute import failed, timed_out
from horsies.worker.pace import Pace
from horsies.worker.protocol import Frame, FrameReader, Job, Kind, Report, describe_end
from horsies.worker.settings import WorkerSettings
from horsies.worker.template import TemplateProcess

_READ_BYTES = 1 << 16
_EARLY_DEATHS_ALLOWED = 3
_LEAVE_WITHIN_S = 2.0
_SWEEP_S = 0.02
_LAST_WORDS_WITHIN_S = 1.0
_CANCEL_GRACE_S = 1.0  # for an asynchronous task to end itself when it is cancelled
_OTHERS_GRACE_S = 10.0  # for the other tasks of a child that has to go because of one


class ChildrenCannotStartError(Exception):
    """Children keep dying before they are ready to work."""


class TemplateDiedError(Exception):
    """The template process is gone, and the children with it."""


class PoolListener(Protocol):
    """Who is told what the children do."""

    def report(self, outcome: Outcome) -> None:
        """An attempt has ended."""
        ...

    def room(self) -> None:
        """A child can take work."""
        ...

    def hand_back(self, jobs: Sequence[Job]) -> None:
        """These were claimed, have not begun here, and are to go back."""
        ...


class _ChildChannel(asyncio.Protocol):
    """The supervisor's end of a child's socket."""

    def __init__(self, pool: "ChildPool", child: Child) -> None:
        self._pool = pool
        self._child = child
        self._reader = FrameReader()

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._pool.on_frame(self._child, frame)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # an error on a child's socket is an end of it, too
        self._pool.on_end_of_stream(self._child)


class ChildPool:
    """Keeps ``processes`` children alive and gives them jobs."""

    def __init__(
        self, template: TemplateProcess, facts: WorkerFacts, settings: WorkerSettings, listener: PoolListener
    ) -> None:
        """Take who is to be told of outcomes and of room."""
        self._template = template
        self._name = facts.process_name
        self._async_names = settings.async_names
        self._processes = facts.processes
        self._concurrency = facts.concurrency
        self._listener = listener
        self._children: dict[int, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._pace = Pace()
        self._sweep: asyncio.TimerHandle | None = None
        self._early_deaths = 0
        self._forks: set[asyncio.Future[None]] = set()
        self._closing = False
        self._idle = asyncio.Event()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Fork all children."""
        self._template.channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._template.channel.fileno(), self._read_template)
        for slot in range(self._processes):
            await self._fork(slot)

    @property
    def capacity(self) -> int:
        """How many more jobs can begin now."""
        return sum(
            self._concurrency - len(child.jobs) for child in self._ready() if len(child.jobs) < self._concurrency
        )

    @property
    def capacity_ahead(self) -> int:
        """How many more jobs the children may be given, if those are as quick as the last ones were."""
        if self._concurrency > 1:
            return self.capacity
        most = 1 + self._pace.ahead
        return sum(most - len(child.jobs) for child in self._ready() if len(child.jobs) < most)

    @property
    def in_hand(self) -> int:
        """How many jobs run or wait in children."""
        return sum(len(child.jobs) for child in self._children.values())

    def held(self) -> list[Fence]:
        """The fences of all jobs that run or wait in children."""
        return [fence for child in self._children.values() for fence in child.jobs]

    def assign(self, job: Job) -> bool:
        """Give a job to the child with the fewest; False: there is none that may take it."""
        child = min(self._ready(), key=lambda child: len(child.jobs), default=None)
        if child is None:
            return False
        behind = len(child.jobs)
        if behind >= self._concurrency and not (child.has_permits and self._pace.fits(job, behind)):
            return False
        child.give(job)
        if behind < self._concurrency:
            self._on_begun(child, job)
        elif self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._withdraw_behind_outliers)
        return True

    def withdraw(self) -> None:
        """Take back and hand on whatever has not begun."""
        for child in self._children.values():
            self._listener.hand_back(child.withdraw())

    def kill_tasks(self, task_ids: Iterable[UUID]) -> None:
        """Kill the children that run these tasks."""
        doomed = set(task_ids)
        for child in self._children.values():
            if any(fence.task_id in doomed for fence in child.jobs):
                self._kill(child)

    def kill_busy(self) -> None:
        """Kill every child that runs something."""
        for child in self._children.values():
            if child.jobs:
                self._kill(child)

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        while self.in_hand:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Let the children go, then the template process; whoever does not leave is killed by the template."""
        self._closing = True
        for child in self._children.values():
            if child.transport is not None:
                child.transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_WITHIN_S):
                while self._by_pid:
                    self._idle.clear()
                    await self._idle.wait()
        asyncio.get_running_loop().remove_reader(self._template.channel.fileno())
        self.tell_template(Frame(Kind.BYE))
        await self._template.wait()

    def tell_template(self, frame: Frame) -> None:
        """Send a frame to the template process; its death is noticed when reading."""
        with suppress(ConnectionError):
            self._template.channel.sendall(frame.encode())

    def on_frame(self, child: Child, frame: Frame) -> None:
        """A child said something."""
        if frame.kind is Kind.READY:
            child.is_ready = child.was_ready = True
            self._early_deaths = 0
            self._listener.room()
            return
        report = Report.decode(frame.body)
        job = child.drop(report.fence)
        if job is not None:
            self._pace.observe(job.task_name, report.seconds)
            self._listener.report(_outcome(child, report))
            self._idle.set()
            self._retire(child)
            for following in child.begun() if child.has_permits else ():
                self._on_begun(child, following)

    def on_end_of_stream(self, child: Child) -> None:
        """A child's socket is closed: it is dead, or as good as dead."""
        child.has_ended = True
        child.is_ready = False
        if not self._closing:
            self._kill(child)
        self._judge(child)

    async def _fork(self, slot: int) -> None:
        name = f"{self._name}/{slot}"
        with new_channel(slot, name, has_permits=self._concurrency == 1) as (child, ours, files):
            self._children[slot] = child
            socket.send_fds(self._template.channel, [protocol.fork(slot).encode()], files)
        loop = asyncio.get_running_loop()
        child.transport, _ = await loop.create_unix_connection(lambda: _ChildChannel(self, child), sock=ours)

    def _read_template(self) -> None:
        try:
            data = self._template.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._template_died()
            return
        for frame in self._template.reader.feed(data):
            number, pid = protocol.unpack_pid(frame)
            if frame.kind is Kind.FORKED:
                self._on_forked(self._children[number], pid)
            else:
                self._on_exited(self._by_pid.pop(pid), number)

    def _on_forked(self, child: Child, pid: int) -> None:
        child.pid = pid
        self._by_pid[pid] = child
        if child.has_ended and not self._closing:
            self._kill(child)

    def _on_exited(self, child: Child, wait_status: int) -> None:
        """A child is dead. Its stream ends behind its last words, unless a process it left behind holds it open."""
        child.wait_status = wait_status
        if child.transport is not None and not child.has_ended:
            asyncio.get_running_loop().call_later(_LAST_WORDS_WITHIN_S, child.transport.abort)
        self._judge(child)
        self._idle.set()

    def _template_died(self) -> None:
        """The kernel kills the children of a dead template; what they left in their groups, we do."""
        asyncio.get_running_loop().remove_reader(self._template.channel.fileno())
        self._closing = True
        for pid, child in self._by_pid.items():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            child.wait_status = signal.SIGKILL
            self._bury(child)
        self._by_pid.clear()
        self._fail(TemplateDiedError("the template process died, and its children with it"))

    def _kill(self, child: Child) -> None:
        if child.pid is not None and child.wait_status is None:
            self.tell_template(protocol.kill(child.pid))

    def _ready(self) -> Iterator[Child]:
        return (child for child in self._children.values() if child.is_ready and child.transport is not None)

    def _on_begun(self, child: Child, job: Job) -> None:
        """A job runs: its time-out counts from now."""
        if job.timeout_ms is not None and job.fence not in child.timers:
            seconds = job.timeout_ms / 1000 + (_CANCEL_GRACE_S if job.task_name in self._async_names else 0)
            timer = asyncio.get_running_loop().call_later(seconds, self._on_overdue, child, job.fence)
            child.timers[job.fence] = timer

    def _withdraw_behind_outliers(self) -> None:
        """Take back what waits in a child that has finished nothing since the last look; an idle child gets it."""
        self._sweep = None
        for child in list(self._children.values()):
            if child.waiting and child.progress == child.progress_seen:
                homeless = [job for job in child.withdraw() if not self._assign_to_idle(job)]
                self._listener.hand_back(homeless)
            child.progress_seen = child.progress
        if any(child.waiting for child in self._children.values()):
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._withdraw_behind_outliers)

    def _assign_to_idle(self, job: Job) -> bool:
        return any(not child.jobs for child in self._ready()) and self.assign(job)

    def _on_overdue(self, child: Child, fence: Fence) -> None:
        """A task ran past its time-out: its child takes no more work, and ends when it runs nothing else."""
        child.overdue.add(fence)
        child.is_ready = False
        self._listener.hand_back(child.withdraw())
        asyncio.get_running_loop().call_later(_OTHERS_GRACE_S, self._kill, child)
        self._retire(child)

    def _retire(self, child: Child) -> None:
        if child.overdue and child.jobs.keys() <= child.overdue:
            self._kill(child)

    def _judge(self, child: Child) -> None:
        """Once a child is surely dead: fail what it ran, and nothing else; put another one in its place."""
        if not child.has_ended or child.wait_status is None:
            return
        if not self._closing:
            event("child.died", slot=child.slot, pid=child.pid, cause=describe_end(child.wait_status))
        self._bury(child)
        if self._closing:
            return
        self._early_deaths += not child.was_ready
        if self._early_deaths > _EARLY_DEATHS_ALLOWED:
            cause = f"the last one {describe_end(child.wait_status)}"
            self._fail(ChildrenCannotStartError(f"children keep dying before they can take work; {cause}"))
            return
        fork = asyncio.ensure_future(self._fork(child.slot))
        self._forks.add(fork)
        fork.add_done_callback(self._forks.discard)

    def _bury(self, child: Child) -> None:
        """Hand back what a dead child had not begun, and fail what it ran."""
        self._listener.hand_back(child.bury())
        message = f"the child process that ran this task {describe_end(child.wait_status or 0)}"
        for fence, job in list(child.jobs.items()):
            crash = failed(job, OperationalErrorCode.WORKER_CRASHED, message)
            child.drop(fence)
            self._listener.report(_outcome(child, timed_out(job) if fence in child.overdue else crash))
        self._idle.set()

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)


def _outcome(child: Child, report: Report) -> Outcome:
    return Outcome(report.fence, report.ok, report.result, report.error_code, report.retry_after, child.pid, child.name)
