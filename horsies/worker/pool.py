"""What the children of a worker run: who may take a job, how long it may take, and what a death means."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol
from uuid import UUID

from horsies.codes import OperationalErrorCode
from horsies.db.calls_worker import Fence, Outcome
from horsies.telemetry import event
from horsies.worker.children import Child
from horsies.worker.crew import Crew
from horsies.worker.execute import failed, timed_out
from horsies.worker.pace import Pace
from horsies.worker.protocol import Frame, Job, Kind, Report, describe_end
from horsies.worker.settings import WorkerOptions, WorkerSettings

_SWEEP_S = 0.02
_CANCEL_GRACE_S = 1.0  # for an asynchronous task to end itself when it is cancelled
_OTHERS_GRACE_S = 10.0  # for the other tasks of a child that has to go because of one


class PoolListener(Protocol):
    """Who is told what the children do."""

    def report(self, job: Job, outcome: Outcome) -> None:
        """An attempt has ended."""

    def room(self) -> None:
        """A child can take work."""

    def hand_back(self, jobs: Sequence[Job]) -> None:
        """These were claimed, have not begun here, and are to go back."""


class ChildPool:
    """Gives jobs to the children, and tells what became of them."""

    def __init__(self, crew: Crew, settings: WorkerSettings, options: WorkerOptions, listener: PoolListener) -> None:
        """Take the children, and who is to be told of outcomes and of room."""
        crew.serve(self)
        self._crew = crew
        self._async_names = settings.async_names
        self._concurrency = options.concurrency
        self._listener = listener
        self._pace = Pace()
        self._sweep: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    @property
    def capacity(self) -> int:
        """How many more jobs can begin now."""
        return sum(child.room(self._concurrency) for child in self._ready())

    @property
    def capacity_ahead(self) -> int:
        """How many more jobs the children may be given, if those are as quick as the last ones were."""
        if self._concurrency > 1:
            return self.capacity
        most = 1 + self._pace.ahead
        return sum(child.room(1 if child.elder_load else most) for child in self._ready())

    @property
    def in_hand(self) -> int:
        """How many jobs run or wait in children."""
        return sum(len(child.jobs) for child in self._crew)

    def held(self) -> list[Fence]:
        """The fences of all jobs that run or wait in children."""
        return [fence for child in self._crew for fence in child.jobs]

    def assign(self, job: Job) -> bool:
        """Give a job to the child with the fewest; False: there is none that may take it."""
        child = min(self._ready(), key=lambda child: (child.load, child.elder_load), default=None)
        if child is None:
            return False
        behind = child.load
        may_wait = child.has_permits and not (child.elder_load or job.capped)
        if behind >= self._concurrency and not (may_wait and self._pace.fits(job, behind)):
            return False
        child.give(job)
        if behind < self._concurrency:
            self._on_begun(child, job)
        elif self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._withdraw_behind_outliers)
        self._retire_if_spent(child)
        return True

    def withdraw(self) -> None:
        """Take back and hand on whatever has not begun."""
        for child in self._crew:
            self._listener.hand_back(child.withdraw())

    def cancel(self, task_id: UUID) -> None:
        """A task is not ours any more: if it waits in a child it is dropped, if it runs it costs that child only."""
        for child in self._crew:
            if any(fence.task_id == task_id for fence in child.jobs):
                self._listener.hand_back([job for job in child.withdraw() if job.fence.task_id != task_id])
                for fence in [fence for fence in child.jobs if fence.task_id == task_id]:
                    self._give_up(child, fence, "its task was cancelled, or lost")

    def kill_busy(self) -> None:
        """Kill every child that runs something."""
        for child in self._crew:
            if child.jobs:
                self._crew.kill(child)

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        while self.in_hand:
            self._idle.clear()
            await self._idle.wait()

    def on_frame(self, child: Child, frame: Frame) -> None:
        """A child said something."""
        match frame.kind:
            case Kind.READY:
                self._listener.room()
            case Kind.DONE:
                self._on_done(child, Report.decode(frame.body))
            case Kind.RETIRE:
                self._retire(child, frame.body.decode())
                self._hand_on(child)
            case _:
                return

    def on_death(self, child: Child) -> None:
        """Hand back what a dead child had not begun, and fail what it ran."""
        self._listener.hand_back(child.bury())
        message = f"the child process that ran this task {describe_end(child.wait_status or 0)}"
        for fence, job in list(child.jobs.items()):
            crash = failed(job, OperationalErrorCode.WORKER_CRASHED, message)
            child.drop(fence)
            self._listener.report(job, _outcome(child, timed_out(job) if fence in child.overdue else crash))
        self._idle.set()

    def _on_done(self, child: Child, report: Report) -> None:
        job = child.drop(report.fence)
        if job is None:
            return
        self._pace.observe(job.task_name, report.seconds)
        self._listener.report(job, _outcome(child, report))
        self._idle.set()
        for following in child.begun() if child.has_permits else ():
            self._on_begun(child, following)
        self._retire_if_spent(child)
        self._part_if_done(child)

    def _ready(self) -> Iterator[Child]:
        return (child for child in self._crew if child.is_ready and child.left and child.transport is not None)

    def _on_begun(self, child: Child, job: Job) -> None:
        """A job runs: its time-out counts from now."""
        if job.timeout_ms is not None and job.fence not in child.timers:
            seconds = job.timeout_ms / 1000 + (_CANCEL_GRACE_S if job.task_name in self._async_names else 0)
            timer = asyncio.get_running_loop().call_later(seconds, self._on_overdue, child, job.fence)
            child.timers[job.fence] = timer

    def _withdraw_behind_outliers(self) -> None:
        """Take back what waits in a child that has finished nothing since the last look; an idle child gets it."""
        self._sweep = None
        for child in self._crew:
            if child.waiting and child.progress == child.progress_seen:
                self._hand_on(child)
            child.progress_seen = child.progress
        if any(child.waiting for child in self._crew):
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._withdraw_behind_outliers)

    def _hand_on(self, child: Child) -> None:
        """Take back what has not begun; an idle child gets it, or it goes back to the queue."""
        self._listener.hand_back([job for job in child.withdraw() if not self._assign_to_idle(job)])

    def _assign_to_idle(self, job: Job) -> bool:
        return any(not child.load for child in self._ready()) and self.assign(job)

    def _on_overdue(self, child: Child, fence: Fence) -> None:
        """A task ran past its time-out."""
        self._give_up(child, fence, "a task ran too long")

    def _give_up(self, child: Child, fence: Fence, reason: str) -> None:
        """A task must not go on: its child takes no more work, and ends when it runs nothing else."""
        child.overdue.add(fence)
        asyncio.get_running_loop().call_later(_OTHERS_GRACE_S, self._crew.kill, child)
        self._retire(child, reason)
        self._hand_on(child)
        self._part_if_done(child)

    def _retire_if_spent(self, child: Child) -> None:
        """The last task it may be given has begun."""
        if not (child.left or child.waiting):
            self._retire(child, "it has run as many tasks as a child may")

    def _retire(self, child: Child, reason: str) -> None:
        """A child takes no more work; the next one is forked while it ends."""
        if child.retired_for is None:
            child.retired_for = reason
            child.is_ready = False
            self._crew.succeed(child)

    def _part_if_done(self, child: Child) -> None:
        """A retired child leaves behind its last task, or is killed when only those are left that run too long."""
        if child.overdue and child.jobs.keys() <= child.overdue:
            self._crew.kill(child)
        elif child.retired_for is not None and not child.jobs:
            event("child.recycled", slot=child.slot, pid=child.pid, reason=child.retired_for)
            self._crew.dismiss(child)


def _outcome(child: Child, report: Report) -> Outcome:
    process = (child.pid, child.name)
    return Outcome(
        report.fence, report.ok, report.result, report.error_code, report.retry_after, *process, report.seconds
    )
