"""A worker in the process of the test: the claim, the execution and the outcomes of a real worker, without processes.

It calls the same server functions as the supervisor, and runs attempts with the code of the children
(`horsies.worker.runtime`). The body of `drain` is a generator: it yields a job and receives its report. So a blocking
and an asynchronous caller run the same steps.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from horsies.db.errors import refuses_value
from horsies.db.operations import CallFailedError
from horsies.db.queries import declarations as declaration_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.flow import declare_flow
from horsies.db.queries.rows import ClaimedTask
from horsies.db.queries.worker import Claim, ClaimMode, Fence, Outcome, Storage, Verdict
from horsies.db.steps import carry_out
from horsies.scheduler.rounds import Round, run_round
from horsies.tasks.registry import Registry
from horsies.testing.errors import DrainLimitError, NotEndedError, QueueTestError
from horsies.testing.faults import Crashes, LostWorker
from horsies.testing.messages import counted
from horsies.testing.reports import DrainReport, RanAttempt
from horsies.testing.session import CLOCK_TIME, KitSession, TaskClock, make_call
from horsies.worker.completer import refused_outcome
from horsies.worker.ipc import Job, Report
from horsies.worker.liveness import worker_facts
from horsies.worker.options import WorkerOptions
from horsies.worker.served_app import make_executor, worker_settings
from horsies.worker.turns import Turns
from horsies.workflows.built_in_tasks import inner_tasks

if TYPE_CHECKING:
    from horsies.app import Horsies

PROCESS_NAME = "drain"
_MAX_ROWS = 1000
_BUSY_FOR_S = 2.0
_BUSY_PAUSE_S = 0.02
_LEASE_S = 60.0
_ROW_ERRORS = ("22", "23")
_SHOWN_COUNTS = 5

type Steps = Generator[Job, Report | LostWorker, DrainReport]


class InProcessWorker:
    """A worker without processes. It registers in the database when it first claims tasks.

    Args:
        app: the app whose tasks it runs.
        session: its connection.
        clock: the clock of the database.
        crashes: the attempts that it is to lose.
    """

    def __init__(self, app: "Horsies", session: KitSession, clock: TaskClock, crashes: Crashes) -> None:
        self._app = app
        self._session = session
        self._clock = clock
        self._crashes = crashes
        self._app_tasks = set(app.registry.names)
        registry = _with_inner_tasks(app)
        self._settings = worker_settings(app.name, app.config, registry)
        self._facts = worker_facts(self._settings, WorkerOptions(), os.getpid())
        self._worker_id = uuid7()
        self._exchange_no = 0
        self._turns = Turns()
        self._claimed_at = datetime.min.replace(tzinfo=UTC)
        self.executor = make_executor(app.config, registry, app.producer.runner)
        self.executor.report_commits(self._before_commit)

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The names of the tasks and of the schedules of the app."""
        return list(self._settings.task_names), [plan.name for plan in self._settings.schedules.plans]

    @property
    def has_all_tasks(self) -> bool:
        """Whether no task was added to the app, since this worker was made."""
        return self._app_tasks == set(self._app.registry.names)

    def start(self) -> None:
        """Register the worker and what the app declares, and let tasks that were sent before take turns."""
        self._worker_id = uuid7()
        self._session.round_trip(
            [worker_queries.worker_start(self._worker_id, self._facts)],
            [declaration_queries.register_tasks(self._worker_id, self._settings.declarations)],
        )
        carry_out(self._session.round_trip, declare_flow(self._settings.flow))

    def resume(self) -> None:
        """Register the worker again, and forget the target of the clock, if a rollback has removed them."""
        [(is_registered, is_frozen)] = self._session.execute("test_state", (self._worker_id,))
        if not is_registered:
            self.start()
        if not is_frozen:
            self._clock.target = None

    def stop(self) -> None:
        """Deregister the worker."""
        with suppress(CallFailedError):
            make_call(self._session, worker_queries.worker_stop(self._worker_id))

    def define_schedules(self) -> None:
        """Define the schedules of the app at the present time, so that they are due from now on."""
        self._run_round()

    def tick(self) -> int:
        """Send what schedules owe up to now; returns the number of tasks."""
        sent = 0
        while done := self._run_round():
            sent += done.sent
            if not done.sent:
                break
        return sent

    def drain(self, limit: int, until: Callable[[], bool] | None) -> Steps:
        """Run what is due, and move the clock to its target; see `TestQueue.drain`."""
        report = DrainReport()
        while True:
            if self._clock.is_moved:
                report.scheduled += self.tick()
            report.expired += self._expire()
            while (job := self._claim()) is not None:
                if len(report) == limit:
                    if isinstance(job, Job):
                        make_call(self._session, worker_queries.release(self._worker_id, [job.fence]))
                    raise _limit_reached(limit, report)
                report.attempts.append((yield from self._attempt(job)))
                if until is not None and until():
                    return report
            moment = self._clock.next_moment(*self.names)
            if moment is None:
                if until is not None and not until():
                    raise _never_true(report)
                return report
            self._clock.set(moment)

    def _attempt(self, job: "Job | RanAttempt") -> Generator[Job, Report | LostWorker, RanAttempt]:
        """Run one job, and write its outcome, unless a planned crash loses the attempt before or after that."""
        if isinstance(job, RanAttempt):
            return job
        if self._crashes.take("begun", job.task_name):
            return self._lose(job)
        report = yield job
        if isinstance(report, LostWorker) or (
            report.storage is Storage.WORKER and self._crashes.take("ran", job.task_name)
        ):
            return self._lose(job)
        outcome = report.to_outcome(os.getpid(), PROCESS_NAME)
        if self._crashes.expects("committed") and self._crashes.take("committed", job.task_name):
            self._write(outcome)
            return self._lose(job)
        verdict = self._write(outcome)
        return RanAttempt(
            job.task_name,
            str(job.fence.task_id),
            job.attempt,
            verdict.error_code,
            verdict.due_again,
            self._claimed_at,
        )

    def _claim(self) -> "Job | RanAttempt | None":
        """Claim the next due task. If a planned crash loses it while it is claimed, return that attempt."""
        is_prefetched = self._crashes.expects("claimed")
        self._exchange_no += 1
        task = self._claimed(lease_s=_LEASE_S if is_prefetched else None)
        if task is None:
            return None
        fence = Fence(task.id, self._exchange_no)
        attempt = task.attempt
        if is_prefetched:
            if self._crashes.take("claimed", task.task_name):
                return self._lose(Job.of_claim(fence, task, attempt + 1))
            attempts = make_call(self._session, worker_queries.start(self._worker_id, [fence]))
            if task.id not in attempts:
                return self._claim()
            attempt = attempts[task.id]
        job = Job.of_claim(fence, task, attempt)
        if task.task_name in self._settings.transactional_names:
            return job.claimed_by(self._worker_id, self._facts.hostname)
        return job

    def _claimed(self, lease_s: float | None) -> ClaimedTask | None:
        """Claim the next due task, with as many claims as are needed to see all keys."""
        self._turns.continues_walk = False
        while True:
            try:
                found = self._claim_in(ClaimMode.TOGETHER, lease_s)
            except CallFailedError as failure:
                if not failure.sqlstate.startswith(_ROW_ERRORS):
                    raise
                found = self._claim_in(ClaimMode.SINGLY, lease_s)
            self._turns.continues_walk = self._turns.note(found)
            if found.tasks:
                return found.tasks[0]
            if not self._turns.continues_walk:
                return None

    def _claim_in(self, mode: ClaimMode, lease_s: float | None) -> Claim:
        queues, names = self._settings.queues, self._settings.task_names
        claim = worker_queries.claim(
            self._worker_id,
            self._exchange_no,
            1,
            queues,
            names,
            free=1,
            lease_s=lease_s,
            mode=mode,
            cursors=self._turns.cursors,
        )
        [[found, self._claimed_at]] = self._session.round_trip([claim, CLOCK_TIME])
        return found

    def _write(self, outcome: Outcome) -> Verdict:
        """Write an outcome as an exchange does, and notify those who wait for it."""
        notices = [
            worker_queries.notify_done([outcome.fence.task_id], with_results=self._settings.results_in_notices),
            worker_queries.announce(),
        ]
        if outcome.storage is Storage.TASK:
            self._session.round_trip(notices)
            return Verdict("accepted", None, None)
        deadline = time.monotonic() + _BUSY_FOR_S
        while True:
            finish = worker_queries.finish(self._worker_id, self._facts.hostname, [outcome])
            try:
                [[verdicts], *_] = self._session.round_trip([finish], notices)
            except CallFailedError as failure:
                if not refuses_value(failure):
                    raise
                outcome = refused_outcome(outcome, failure.message)
                continue
            verdict: Verdict = verdicts[outcome.fence.task_id]
            if verdict.verdict != "busy":
                return verdict
            if time.monotonic() > deadline:
                raise self._busy(outcome)
            time.sleep(_BUSY_PAUSE_S)

    def _busy(self, outcome: Outcome) -> QueueTestError:
        holders = make_call(self._session, worker_queries.lock_holders([outcome.fence.task_id]))
        described = ", ".join(f"{each.application or 'a program'} (pid {each.pid})" for each in holders)
        return QueueTestError(
            f"the outcome of task {outcome.fence.task_id} cannot be written, because another transaction holds its "
            f"row: {described or 'it has just ended'}; commit or roll it back before drain"
        )

    def _before_commit(self, job: Job) -> None:
        if self._crashes.take("ran", job.task_name):
            raise LostWorker

    def _lose(self, job: Job) -> RanAttempt:
        """Let this worker die: its tasks are recovered as those of a dead worker, and another one takes its place."""
        make_call(self._session, worker_queries.reap(self._worker_id, _MAX_ROWS))
        self.start()
        name, task_id = job.task_name, str(job.fence.task_id)
        return RanAttempt(name, task_id, job.attempt, None, None, self._claimed_at, lost=True)

    def _expire(self) -> int:
        expired = 0
        while count := make_call(self._session, worker_queries.expire(_MAX_ROWS)):
            expired += count
        return expired

    def _run_round(self) -> Round:
        return carry_out(self._session.round_trip, run_round(self._settings.schedules.plans, self._settings.payload))


def _with_inner_tasks(app: "Horsies") -> Registry:
    """Return the tasks of the app together with the built-in tasks of workflows, as a worker registers them."""
    registry = Registry(app.registry.module)
    registry.hooks = app.registry.hooks
    for name in app.registry.names:
        registry.add(app.registry.get(name))
    for definition in inner_tasks(app):
        registry.add(definition)
    return registry


def _limit_reached(limit: int, report: DrainReport) -> DrainLimitError:
    return DrainLimitError(
        f"drain has run {limit} attempts, and tasks are still due.\n\n{_described(report)}\n\n"
        f"If a task sends itself without end, correct it. Otherwise pass a larger limit: drain(limit={limit * 10})."
    )


def _never_true(report: DrainReport) -> NotEndedError:
    return NotEndedError(
        "drain has run everything that is due, and its function until has not returned True.\n\n"
        f"{_described(report)}\n\n"
        "queue.advance(…) lets delayed tasks, retries and schedules become due."
    )


def _described(report: DrainReport) -> str:
    """List the tasks that ran, the most frequent first, and the errors of attempts that failed."""
    if not report.attempts:
        return "No task ran."
    counts = Counter(each.task_name for each in report)
    lines = ["Tasks that ran:", *counted(counts, _SHOWN_COUNTS)]
    errors = Counter(f"{each.task_name}: {each.error_code}" for each in report if each.error_code)
    if errors:
        lines += ["", "Attempts that failed:", *counted(errors, _SHOWN_COUNTS)]
    return "\n".join(lines)


def advance(steps: Steps, report: Report | LostWorker | None = None) -> Job | DrainReport:
    """Pass the report of a job to `InProcessWorker.drain`, and return the next job, or the report of the drain."""
    try:
        return next(steps) if report is None else steps.send(report)
    except StopIteration as finished:
        return finished.value
