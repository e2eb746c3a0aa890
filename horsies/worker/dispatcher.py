"""The dispatcher assigns jobs to children, stops attempts, and reports the outcomes.

A job is one attempt at a task. It takes this way through a child:

```
assign ──> waiting in the child ──> running ── DONE ──────────────────────────────────> on_outcome
               │       ^               │
               │       │               ├── the child dies ────────────────────────────> on_outcome (WORKER_CRASHED)
            withdraw   │               │
               │       │               └── cancelled, or past its time-out ──> stopping
               v       │                                                          │
        an idle child, if any                       ends within a second ─────────┼──> on_outcome
               │                                    does not end ──> abandoned ───┘    (TASK_CANCELLED, TASK_TIMEOUT)
               v                                                       │
          on_unstarted                             its child is drained, and killed when it runs nothing else
```

A job waits in a child only behind jobs that are known to be quick (`horsies.worker.runtime_estimator`). The start
tokens of `horsies.worker.child_process` decide whether a job has started.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from uuid import UUID

from horsies.codes import OperationalErrorCode
from horsies.db.queries.worker import Fence, Outcome
from horsies.events import event
from horsies.worker import ipc
from horsies.worker.child_process import Child, ChildState
from horsies.worker.ipc import Frame, Job, Kind, StopCause
from horsies.worker.options import WorkerOptions, WorkerSettings
from horsies.worker.processes import ProcessManager
from horsies.worker.runtime.reports import failed, stopped
from horsies.worker.runtime_estimator import RuntimeEstimator
from horsies.worker.stalls import StallDetector

_SWEEP_INTERVAL_S = 0.02
_WINDOWS_WITHOUT_PROGRESS = 1.5
"""How long no job of a child may end while others wait in it, in windows of work; see `RuntimeEstimator`."""
_CANCEL_GRACE_S = 1.0  # how long a cancelled asynchronous task may take to end
_STOP_REASONS = {StopCause.CANCELLED: "was cancelled", StopCause.TIMED_OUT: "exceeded its time-out"}


class Dispatcher:
    """Assigns jobs to children and reports their outcomes to its subscriber."""

    def __init__(self, processes: ProcessManager, settings: WorkerSettings, options: WorkerOptions) -> None:
        processes.subscribe(on_frames=self.on_frames, on_death=self.on_death)
        self._processes = processes
        self._async_names = settings.async_names
        self._concurrency = options.concurrency
        self._runtimes = RuntimeEstimator(options.concurrency)
        self._stalls = StallDetector()
        self._sweep: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()

    def subscribe(
        self,
        *,
        on_outcome: Callable[[Job, Outcome], None],
        on_capacity: Callable[[], None],
        on_unstarted: Callable[[Sequence[Job]], None],
    ) -> None:
        """Set the callbacks.

        Args:
            on_outcome: called once for each job that has started, with its outcome.
            on_capacity: called when a child becomes ready for work.
            on_unstarted: called with jobs that have not started and that no other child can take.
        """
        self._on_outcome = on_outcome
        self._on_capacity = on_capacity
        self._on_unstarted = on_unstarted

    @property
    def capacity(self) -> int:
        """The number of further jobs that can start at once."""
        return sum(child.room(self._concurrency) for child in self._ready())

    @property
    def capacity_ahead(self) -> int:
        """The number of further jobs that may be assigned, if they are as quick as the latest ones.

        It is larger than `capacity` where quick jobs may wait in a child.
        """
        limit = self._concurrency + self._runtimes.ahead
        return sum(child.room(limit if child.takes_ahead else self._concurrency) for child in self._ready())

    @property
    def has_waiting_jobs(self) -> bool:
        """Whether a job waits in a child behind those that run."""
        return any(child.waiting for child in self._processes)

    @property
    def is_half_ahead(self) -> bool:
        """Whether every child that takes jobs has at least half of the jobs waiting that it may have ahead.

        A full child in which no jobs may wait does not count.
        """
        half = (1 + self._runtimes.ahead) // 2
        counted = [child for child in self._ready() if child.takes_ahead or child.load < self._concurrency]
        return half > 0 and all(child.waiting >= half for child in counted)

    @property
    def keeps_busy(self) -> bool:
        """Whether a job waits in every child that takes jobs, so that no place in a child is free."""
        return all(child.waiting for child in self._ready())

    @property
    def round_trip_s(self) -> float:
        """The shortest time of the recent exchanges, in seconds; 0: there was none."""
        return self._runtimes.round_trip_s

    def observe_exchange(self, seconds: float) -> None:
        """Take the time of an exchange into account: as much work waits in a child as it does meanwhile."""
        self._runtimes.observe_exchange(seconds)

    @property
    def held_jobs(self) -> int:
        """The number of jobs that run or wait in children."""
        return sum(len(child.jobs) for child in self._processes)

    def held(self) -> list[Fence]:
        """The fences of all jobs that run or wait in children."""
        return [fence for child in self._processes for fence in child.jobs]

    def assign(self, job: Job) -> bool:
        """Assign a job to the ready child with the fewest jobs.

        Returns:
            False if no child may take the job.
        """
        return not self.assign_all([job])

    def assign_all(self, jobs: Sequence[Job]) -> list[Job]:
        """Assign each job to the child that has the fewest jobs then.

        Returns:
            The jobs that no child may take.
        """
        places = [(child.load, child.predecessor_load, child.number, child) for child in self._ready()]
        heapify(places)
        unassigned: list[Job] = []
        for job in jobs:
            while places and places[0][0] >= self._concurrency and not places[0][3].takes_ahead:
                heappop(places)
            if not places or not self._may_take(job, places[0][0]):
                unassigned.append(job)
                continue
            load, predecessor_load, number, child = places[0]
            self._give(child, job, waits=load >= self._concurrency)
            if child.state is ChildState.READY and child.remaining_tasks:
                heapreplace(places, (load + 1, predecessor_load, number, child))
            else:
                heappop(places)
        return unassigned

    def _may_take(self, job: Job, load: int) -> bool:
        """Whether a child with this load may take a job: at once, or to wait behind quick ones.

        Nothing waits in a child that takes no jobs ahead; `assign_all` leaves these out.
        """
        if load < self._concurrency:
            return True
        behind = load - self._concurrency + 1  # including one of those that run: the first one that ends
        return not job.queue_limited and self._runtimes.can_queue(job, behind)

    def _give(self, child: Child, job: Job, *, waits: bool) -> None:
        child.give(job)
        if not waits:
            self._on_started(child, job)
        else:
            self._stalls.watch(child, asyncio.get_running_loop().time())
            if self._sweep is None:
                self._schedule_sweep()
        self._drain_at_task_limit(child)

    def withdraw(self) -> None:
        """Withdraw all jobs that have not started, and report them with `on_unstarted`."""
        for child in self._processes:
            self._on_unstarted(child.withdraw())

    def cancel(self, task_id: UUID) -> bool:
        """Withdraw a task that was cancelled, or that this worker has lost, if it has not started; otherwise stop it.

        Returns:
            Whether a child held the task and had not been asked to cancel it before.
        """
        is_new = False
        for child in self._processes:
            fences = [fence for fence in child.jobs if fence.task_id == task_id]
            if fences:
                self._reassign([job for job in child.withdraw() if job.fence not in fences])
                for fence in fences:
                    was_withdrawn = fence not in child.jobs
                    if was_withdrawn or self._cancel_running(child, fence):
                        is_new = True
        return is_new

    def kill_busy(self, reason: str) -> None:
        """Kill every child that holds a job.

        Args:
            reason: for the log and for the errors of the tasks that run.
        """
        for child in self._processes:
            if child.jobs:
                self._processes.kill(child, reason)

    async def wait_idle(self) -> None:
        """Wait until no child holds a job."""
        while self.held_jobs:
            self._idle.clear()
            await self._idle.wait()

    def on_frames(self, child: Child, frames: Sequence[Frame]) -> None:
        """Handle the frames that a child has sent and that were read together."""
        ended, had_waiting = child.progress, child.waiting > 0
        for frame in frames:
            if frame.kind is Kind.DONE:
                self._on_done(child, ipc.decode_report(frame.body, child.pid, child.name))
            else:
                self._on_other_frame(child, frame)
        if child.progress != ended:
            self._after_reports(child, had_waiting=had_waiting)

    def _on_other_frame(self, child: Child, frame: Frame) -> None:
        match frame.kind:
            case Kind.READY:
                self._on_capacity()
            case Kind.COMMIT:
                self._on_commit(child, ipc.unpack_commit(frame))
            case Kind.RETIRE:
                self._drain(child, frame.body.decode())
            case _:
                return

    def on_death(self, child: Child) -> None:
        """Report the unstarted jobs of a dead child, and fail the running ones with WORKER_CRASHED."""
        self._stalls.unwatch(child)
        self._on_unstarted(child.close())
        message = f"the child process that ran this task {child.describe_end()}"
        for fence, job in list(child.jobs.items()):
            cause = child.stops.get(fence)
            child.remove_ended(fence)
            crash = failed(job, OperationalErrorCode.WORKER_CRASHED, message) if cause is None else stopped(job, cause)
            self._on_outcome(job, crash.to_outcome(child.pid, child.name))
        self._idle.set()

    def _on_commit(self, child: Child, fence: Fence) -> None:
        """Stop the clock of an attempt whose transaction is committed now, unless it was stopped before.

        The clock may not have been started yet: the child starts a job before the report of the one before is handled.
        """
        if fence in child.jobs and fence not in child.stops:
            child.cancel_timer(fence)
            child.committing.add(fence)

    def _on_done(self, child: Child, outcome: Outcome) -> None:
        was_abandoned = outcome.fence in child.abandoned
        job = child.remove_ended(outcome.fence)
        if job is None:
            return
        self._runtimes.observe(job.task_name, outcome.seconds, outcome.between_ends)
        self._on_outcome(job, outcome)
        if was_abandoned:
            self._end_if_drained(child)
            self._processes.start_replacement(child.slot)

    def _after_reports(self, child: Child, *, had_waiting: bool) -> None:
        """Act on the state of a child in which attempts have ended, and jobs that waited may have started."""
        self._idle.set()
        if had_waiting:
            for following in child.running():
                self._on_started(child, following)
        self._drain_at_task_limit(child)
        self._end_if_drained(child)

    def _ready(self) -> Iterator[Child]:
        return (
            child
            for child in self._processes
            if child.state is ChildState.READY and child.remaining_tasks and child.transport
        )

    def _on_started(self, child: Child, job: Job) -> None:
        """Start the time-out of a job that runs now, as far as is known here.

        The child cancels an ``async def`` task that exceeds its time-out. So the timer for such a task runs a grace
        period longer, and acts only if the cancellation had no effect.
        """
        has_clock = job.fence in child.timers or job.fence in child.stops or job.fence in child.committing
        if job.timeout_ms is not None and not has_clock:
            seconds = job.timeout_ms / 1000 + (_CANCEL_GRACE_S if job.task_name in self._async_names else 0)
            timer = asyncio.get_running_loop().call_later(seconds, self._on_overdue, child, job.fence)
            child.set_timer(job.fence, timer)

    def _withdraw_behind_outliers(self) -> None:
        """Withdraw queued jobs from children that make no progress, and reassign them."""
        self._sweep = None
        now = asyncio.get_running_loop().time()
        for child in self._processes:
            if not child.waiting:
                self._stalls.unwatch(child)
            elif self._stalls.is_stalled(child, now, _WINDOWS_WITHOUT_PROGRESS * self._runtimes.window_s):
                child.mark_stalled()
                self._reassign_unstarted(child)
        if any(child.waiting for child in self._processes):
            self._schedule_sweep()

    def _schedule_sweep(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP_INTERVAL_S, self._withdraw_behind_outliers)

    def _reassign_unstarted(self, child: Child) -> None:
        """Withdraw the jobs of a child that have not started, and assign them to idle children."""
        self._reassign(child.withdraw())

    def _reassign(self, jobs: Sequence[Job]) -> None:
        """Assign jobs to idle children, and report the others with `on_unstarted`: they return to the queue."""
        self._on_unstarted([job for job in jobs if not self._assign_to_idle(job)])

    def _assign_to_idle(self, job: Job) -> bool:
        return any(not child.load for child in self._ready()) and self.assign(job)

    def _on_overdue(self, child: Child, fence: Fence) -> None:
        """Stop an attempt that has not ended within its time-out.

        The job may not have started: then it is reassigned, and its time-out starts again.
        """
        self._reassign_unstarted(child)
        if fence in child.jobs:
            child.stops.setdefault(fence, StopCause.TIMED_OUT)
            child.send_stop(fence, StopCause.TIMED_OUT)
            self._abandon(child, fence)

    def _cancel_running(self, child: Child, fence: Fence) -> bool:
        """Cancel an attempt that runs.

        An ``async def`` task gets `asyncio.CancelledError` and a grace period to end.

        Returns:
            False if the attempt was cancelled before.
        """
        if child.stops.get(fence) is StopCause.CANCELLED:
            return False
        child.stops[fence] = StopCause.CANCELLED
        child.send_stop(fence, StopCause.CANCELLED)
        if fence in child.abandoned:
            return True
        if child.jobs[fence].task_name in self._async_names:
            timer = asyncio.get_running_loop().call_later(_CANCEL_GRACE_S, self._abandon, child, fence)
            child.set_timer(fence, timer)
        else:
            self._abandon(child, fence)
        return True

    def _abandon(self, child: Child, fence: Fence) -> None:
        """Give up waiting for an attempt to end, and drain its child.

        Only the end of the process ends an abandoned attempt. The child is killed once it runs nothing else. The
        outcome is reported after that, because a retry must not run at the same time as the abandoned code.
        """
        job, cause = child.jobs[fence], child.stops[fence]
        child.abandoned.add(fence)
        if child.active_count:
            facts = {"task": job.task_name, "id": fence.task_id, "cause": cause.name.lower(), "pid": child.pid}
            event("task.stop_delayed", level=logging.WARNING, **facts, running=child.active_count)
        self._drain(child, _stop_reason(job, cause))

    def _drain_at_task_limit(self, child: Child) -> None:
        """Drain a child whose last permitted task (``max_tasks_per_child``) has started.

        Unlike `_drain`, this has nothing to reassign, because no job waits. The last task still runs, and its end calls
        `_end_if_drained`.
        """
        if child.remaining_tasks == 0 and child.waiting == 0:
            self._processes.drain(child, "it has reached --max-tasks-per-child")

    def _drain(self, child: Child, reason: str) -> None:
        """Drain a child, and reassign its jobs that have not started."""
        self._processes.drain(child, reason)
        self._reassign_unstarted(child)
        self._end_if_drained(child)

    def _end_if_drained(self, child: Child) -> None:
        """Shut a draining child down once it has no active job left; kill it if abandoned attempts still run in it."""
        if child.state is not ChildState.DRAINING or child.active_count:
            return
        if child.abandoned:
            reasons = {_stop_reason(child.jobs[fence], child.stops[fence]) for fence in child.abandoned}
            self._processes.kill(child, ", ".join(sorted(reasons)))
        else:
            event("child.recycled", slot=child.slot, pid=child.pid, reason=child.drain_reason)
            self._processes.shut_down(child)


def _stop_reason(job: Job, cause: StopCause) -> str:
    return f"task {job.task_name} {_STOP_REASONS[cause]}"
