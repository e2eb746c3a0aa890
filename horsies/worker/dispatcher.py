"""What the children of a worker run: who may take a job, how long it may take, and what a death means."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

from horsies.codes import OperationalErrorCode
from horsies.db.queries.worker import Fence, Outcome
from horsies.events import event
from horsies.worker.child_process import Child, ChildState
from horsies.worker.ipc import Frame, Job, Kind, Report, StopCause
from horsies.worker.options import WorkerOptions, WorkerSettings
from horsies.worker.processes import ProcessManager
from horsies.worker.runtime.executor import failed, stopped
from horsies.worker.runtime_estimator import RuntimeEstimator

_SWEEP_S = 0.02
_CANCEL_GRACE_S = 1.0  # for an asynchronous task to end itself when it is cancelled
_STOP_WORDS = {StopCause.CANCELLED: "was cancelled", StopCause.TIMED_OUT: "exceeded its time-out"}


class Dispatcher:
    """Gives jobs to the children, and tells what became of them."""

    def __init__(self, processes: ProcessManager, settings: WorkerSettings, options: WorkerOptions) -> None:
        """Take the children, and who is to be told of outcomes and of room."""
        processes.serve(self)
        self._processes = processes
        self._async_names = settings.async_names
        self._concurrency = options.concurrency
        self._runtimes = RuntimeEstimator()
        self._sweep: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    def subscribe(
        self,
        *,
        on_outcome: Callable[[Job, Outcome], None],
        on_capacity: Callable[[], None],
        on_unstarted: Callable[[Sequence[Job]], None],
    ) -> None:
        """Set the functions that are called with outcomes, with new capacity, and with jobs that did not start."""
        self._on_outcome = on_outcome
        self._on_capacity = on_capacity
        self._on_unstarted = on_unstarted

    @property
    def capacity(self) -> int:
        """How many more jobs can begin now."""
        return sum(child.room(self._concurrency) for child in self._ready())

    @property
    def capacity_ahead(self) -> int:
        """How many more jobs the children may be given, if those are as quick as the last ones were."""
        if self._concurrency > 1:
            return self.capacity
        most = 1 + self._runtimes.ahead
        return sum(child.room(1 if child.predecessor_load else most) for child in self._ready())

    @property
    def held_jobs(self) -> int:
        """How many jobs run or wait in children."""
        return sum(len(child.jobs) for child in self._processes)

    def held(self) -> list[Fence]:
        """The fences of all jobs that run or wait in children."""
        return [fence for child in self._processes for fence in child.jobs]

    def assign(self, job: Job) -> bool:
        """Give a job to the child with the fewest; False: there is none that may take it."""
        child = min(self._ready(), key=lambda child: (child.load, child.predecessor_load), default=None)
        if child is None:
            return False
        behind = child.load
        may_wait = self._concurrency == 1 and not (child.predecessor_load or job.capped)
        if behind >= self._concurrency and not (may_wait and self._runtimes.can_queue(job, behind)):
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
        for child in self._processes:
            self._on_unstarted(child.withdraw())

    def cancel(self, task_id: UUID) -> bool:
        """A task was cancelled, or is not this worker's any more: drop it if it has not begun, else make it stop.

        Returns:
            Whether a child had it that was not told to cancel it before.
        """
        is_news = False
        for child in self._processes:
            fences = [fence for fence in child.jobs if fence.task_id == task_id]
            if fences:
                self._reassign([job for job in child.withdraw() if job.fence not in fences])
                for fence in fences:
                    is_news |= fence not in child.jobs or self._cancel_running(child, fence)
        return is_news

    def kill_busy(self, reason: str) -> None:
        """Kill every child that runs something."""
        for child in self._processes:
            if child.jobs:
                self._processes.kill(child, reason)

    async def wait_idle(self) -> None:
        """Wait until nothing runs."""
        while self.held_jobs:
            self._idle.clear()
            await self._idle.wait()

    def on_frame(self, child: Child, frame: Frame) -> None:
        """A child said something."""
        match frame.kind:
            case Kind.READY:
                self._on_capacity()
            case Kind.DONE:
                self._on_done(child, Report.decode(frame.body))
            case Kind.RETIRE:
                self._drain(child, frame.body.decode())
            case _:
                return

    def on_death(self, child: Child) -> None:
        """Hand back what a dead child had not begun, and fail what it ran."""
        self._on_unstarted(child.close())
        message = f"the child process that ran this task {child.describe_end()}"
        for fence, job in list(child.jobs.items()):
            cause = child.stops.get(fence)
            child.drop(fence)
            crash = failed(job, OperationalErrorCode.WORKER_CRASHED, message) if cause is None else stopped(job, cause)
            self._on_outcome(job, _outcome(child, crash))
        self._idle.set()

    def _on_done(self, child: Child, report: Report) -> None:
        was_abandoned = report.fence in child.abandoned
        job = child.drop(report.fence)
        if job is None:
            return
        self._runtimes.observe(job.task_name, report.seconds)
        self._on_outcome(job, _outcome(child, report))
        self._idle.set()
        for following in child.begun() if self._concurrency == 1 else ():
            self._on_begun(child, following)
        self._retire_if_spent(child)
        self._end_if_drained(child)
        if was_abandoned:
            self._processes.replace_current(child.slot)

    def _ready(self) -> Iterator[Child]:
        return (
            child for child in self._processes if child.state is ChildState.READY and child.left and child.transport
        )

    def _on_begun(self, child: Child, job: Job) -> None:
        """A job runs: its time-out counts from now. The child itself cancels an ``async def`` task that exceeds it."""
        if job.timeout_ms is not None and job.fence not in child.timers and job.fence not in child.stops:
            seconds = job.timeout_ms / 1000 + (_CANCEL_GRACE_S if job.task_name in self._async_names else 0)
            timer = asyncio.get_running_loop().call_later(seconds, self._on_overdue, child, job.fence)
            child.set_timer(job.fence, timer)

    def _withdraw_behind_outliers(self) -> None:
        """Take back what waits in a child that has finished nothing since the last look; an idle child gets it."""
        self._sweep = None
        for child in self._processes:
            if child.waiting and child.progress == child.progress_seen:
                self._hand_on(child)
            child.progress_seen = child.progress
        if any(child.waiting for child in self._processes):
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._withdraw_behind_outliers)

    def _hand_on(self, child: Child) -> None:
        """Take back what has not begun."""
        self._reassign(child.withdraw())

    def _reassign(self, jobs: Sequence[Job]) -> None:
        """An idle child gets what another one had not begun, or it goes back to the queue."""
        self._on_unstarted([job for job in jobs if not self._assign_to_idle(job)])

    def _assign_to_idle(self, job: Job) -> bool:
        return any(not child.load for child in self._ready()) and self.assign(job)

    def _on_overdue(self, child: Child, fence: Fence) -> None:
        """A task ran past its time-out, and the time in which it might have ended by itself. It may not have begun."""
        self._hand_on(child)
        if fence in child.jobs:
            child.stops.setdefault(fence, StopCause.TIMED_OUT)
            child.tell_to_stop(fence, StopCause.TIMED_OUT)
            self._abandon(child, fence)

    def _cancel_running(self, child: Child, fence: Fence) -> bool:
        """Cancel an attempt; False: that was done before.

        An ``async def`` task gets `asyncio.CancelledError`, and some time to end.
        """
        if child.stops.get(fence) is StopCause.CANCELLED:
            return False
        child.stops[fence] = StopCause.CANCELLED
        child.tell_to_stop(fence, StopCause.CANCELLED)
        if fence in child.abandoned:
            return True
        if child.jobs[fence].task_name in self._async_names:
            timer = asyncio.get_running_loop().call_later(_CANCEL_GRACE_S, self._abandon, child, fence)
            child.set_timer(fence, timer)
        else:
            self._abandon(child, fence)
        return True

    def _abandon(self, child: Child, fence: Fence) -> None:
        """Only the end of its process ends this attempt: the process takes no more work, and is killed when it may be.

        The outcome is reported when the code has ended, for a retry must not run beside it.
        """
        job, cause = child.jobs[fence], child.stops[fence]
        child.abandoned.add(fence)
        if child.own_load:
            facts = {"task": job.task_name, "id": fence.task_id, "cause": cause.name.lower(), "pid": child.pid}
            event("task.stop_delayed", level=logging.WARNING, **facts, running=child.own_load)
        self._drain(child, _stop_reason(job, cause))

    def _retire_if_spent(self, child: Child) -> None:
        """The last task it may be given has begun."""
        if not (child.left or child.waiting):
            self._processes.drain(child, "it has run as many tasks as a child may")

    def _drain(self, child: Child, reason: str) -> None:
        """A child takes no more work, and what it has not begun is given to others."""
        self._processes.drain(child, reason)
        self._hand_on(child)
        self._end_if_drained(child)

    def _end_if_drained(self, child: Child) -> None:
        """A draining child that has nothing left which may go on exits, or is killed because of abandoned attempts."""
        if child.state is not ChildState.DRAINING or child.own_load:
            return
        if child.abandoned:
            reasons = {_stop_reason(child.jobs[fence], child.stops[fence]) for fence in child.abandoned}
            self._processes.kill(child, ", ".join(sorted(reasons)))
        else:
            event("child.recycled", slot=child.slot, pid=child.pid, reason=child.drain_reason)
            self._processes.shut_down(child)


def _stop_reason(job: Job, cause: StopCause) -> str:
    return f"task {job.task_name} {_STOP_WORDS[cause]}"


def _outcome(child: Child, report: Report) -> Outcome:
    process = (child.pid, child.name)
    facts = (report.fence, report.ok, report.result, report.error_code, report.retry_after)
    return Outcome(*facts, *process, report.seconds, *report.origin)
