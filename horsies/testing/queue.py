"""`TestQueue`: the queue of an app during a test."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from itertools import repeat
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import UUID

from horsies.codec.signature import plain_args
from horsies.codes import TaskStatus
from horsies.db.queries import monitoring as monitoring_queries
from horsies.result import Err
from horsies.testing.checks import (
    at_least_one,
    check_count,
    check_names,
    check_spec,
    check_until,
    definition_of,
    refuse_in_loop,
)
from horsies.testing.engine import InProcessWorker, advance
from horsies.testing.errors import NotEndedError, QueueTestError
from horsies.testing.faults import (
    CRASH_POINTS,
    DISCONNECT_POINTS,
    Crashes,
    CrashPoint,
    DisconnectPoint,
    LostWorker,
    PlannedCrash,
)
from horsies.testing.interception import Interception, has_debugger
from horsies.testing.messages import explain
from horsies.testing.redirection import Opened, checked_app, new_database, on_database, on_django_connection
from horsies.testing.reports import DrainReport
from horsies.testing.runs import TestRun
from horsies.testing.sent import SentTask, expected_arguments, matches
from horsies.testing.session import make_call
from horsies.testing.worker_process import RealWorker
from horsies.worker.ipc import Job, Report

if TYPE_CHECKING:
    from pathlib import Path

    from horsies.app import Horsies
    from horsies.producer.info import TaskInfo
    from horsies.task import TaskFunction
    from horsies.task_result import TaskError, TaskResult
    from horsies.workflows.spec import WorkflowSpec

_LATER = ("retry", "scheduled")


class TestQueue:
    """The queue of an app during a test, on a database of the test's own. Use it as a context manager.

    Within the block, the app uses that database: in all threads and event loops, and whatever URL it was made with.
    The code under test needs no change.

    Args:
        app: The app. None: that of the back end ``default`` of ``django.tasks``, with ``connection`` only.
        database_url: The URL of an existing database for tests, whose schema is migrated and whose clock is made
            movable; None: a new database, which is dropped at the end.
        connection: Django's connection to its test database, such as `django.db.connection`, for Django's `TestCase`.
            All calls are made over it, in the transaction of the test if there is one.

    Raises:
        TypeError: The app is no `Horsies` object.
        ValueError: Both ``database_url`` and ``connection`` are given.
    """

    __test__ = False

    def __init__(
        self, app: "Horsies | None" = None, *, database_url: str | None = None, connection: object = None
    ) -> None:
        if database_url is not None and connection is not None:
            msg = "TestQueue takes database_url= or connection=, not both"
            raise ValueError(msg)
        self.app = checked_app(app, is_in_django=connection is not None)
        self._given_url = database_url
        self._connection = connection
        self._stack = ExitStack()
        self._within_block: Opened | None = None
        self._crashes = Crashes()
        self._interception = Interception(self._on_breakpoint)
        self._worker: InProcessWorker | None = None
        self._real_workers = 0
        self.worker_logs: list[Path] = []

    def __enter__(self) -> Self:
        """Let the app use the database of the test."""
        with ExitStack() as stack:
            if self._connection is not None:
                opened = stack.enter_context(on_django_connection(self.app, self._connection))
            else:
                url = self._given_url or stack.enter_context(new_database())
                opened = stack.enter_context(on_database(self.app, url))
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        self._within_block = opened
        return self

    def __exit__(self, *_error: object) -> None:
        """Give the app its own database back."""
        self._stack.close()

    def __deepcopy__(self, _memo: dict[int, object]) -> Self:
        """Return the same queue: Django copies what `setUpTestData` assigns to the class, for each test."""
        return self

    def _stop(self) -> None:
        worker, self._within_block, self._worker = self._worker, None, None
        if worker is not None:
            for hook in reversed(self.app.registry.hooks.child_stop):
                hook.fn()
            worker.stop()

    @property
    def database_url(self) -> str:
        """The URL of the database of the test."""
        return self._opened.database_url

    @property
    def _opened(self) -> Opened:
        """Return the parts that need the database of the test. Without it, calls would reach that of the app."""
        if self._within_block is None:
            msg = "a TestQueue works only within its block: with TestQueue(app) as queue: …"
            raise QueueTestError(msg)
        return self._within_block

    # Running tasks

    def drain(self, limit: int = 1000, until: Callable[[], bool] | None = None) -> DrainReport:
        """Run what is due, in this process and this thread, until nothing is due.

        ``async def`` tasks run on an event loop of the queue. After `advance` or `freeze`, the clock moves from one due
        moment to the next until it has reached its target. A time-out of a ``def`` task is judged when the task has
        ended.

        Args:
            limit: The largest number of attempts.
            until: Called after each attempt, and at the end; drain stops if it returns True.

        Raises:
            DrainLimitError: Tasks are still due after ``limit`` attempts.
            DrainRefusedError: An event loop runs in this thread.
            NotEndedError: Nothing is due any more, and ``until`` has not returned True.
            ProcessExitRefusedError: A task tried to end or to signal this process.
            ValueError: The limit is less than 1.
        """
        refuse_in_loop("drain", "await queue.drain_async()")
        at_least_one("drain", "limit", limit)
        check_until(until)
        worker, jobs = self._started(), self._opened.jobs
        with self._interception.active():
            steps = worker.drain(limit, until)
            step = advance(steps)
            while isinstance(step, Job):
                step = advance(steps, self._checked(jobs.run(worker.executor, self._timed(step))))
            return step

    async def drain_async(self, limit: int = 1000, until: Callable[[], bool] | None = None) -> DrainReport:
        """Like `drain`, on the running event loop: ``async def`` tasks run on it, and ``def`` tasks in threads."""
        at_least_one("drain", "limit", limit)
        check_until(until)
        jobs = self._opened.jobs
        worker = await jobs.call(self._started)
        with self._interception.active():
            steps = worker.drain(limit, until)
            step = await jobs.call(advance, steps)
            while isinstance(step, Job):
                report = await jobs.run_async(worker.executor, self._timed(step))
                step = await jobs.call(advance, steps, self._checked(report))
            return step

    def run[**P, T, E: TaskError](
        self, task: "TaskFunction[P, T, E, Any, ...]", *args: P.args, **kwargs: P.kwargs
    ) -> "TaskResult[T, E]":
        """Send a task, run what is due, and return the result of the task.

        Raises:
            DrainRefusedError: An event loop runs in this thread.
            NotEndedError: The task has not ended, for example because it waits for a retry; the message says why.
            QueueTestError: The task belongs to another app, or was not sent, for example because of its arguments.
        """
        refuse_in_loop("run", "await task.send_async(…), then await queue.drain_async()")
        name = definition_of("run", task).name
        self._refuse_foreign(name, task.producer.runner)
        sent = task.send(*args, **kwargs)
        if isinstance(sent, Err):
            msg = f"the task {name} was not sent: {sent.err_value.code}: {sent.err_value.message}"
            raise QueueTestError(msg)
        handle = sent.ok_value
        report = self.drain()
        info = handle.info(include_result=True).unwrap()
        if info is None or info.result is None:
            raise self._not_ended(name, handle.task_id, report)
        return cast("TaskResult[T, E]", info.result)

    def start[T](self, spec: "WorkflowSpec[T]") -> TestRun[T]:
        """Start a workflow, and run what is due. The run need not have ended then; see `TestRun.status`.

        Raises:
            DrainRefusedError: An event loop runs in this thread.
            QueueTestError: The workflow belongs to another app.
        """
        refuse_in_loop("start", "await spec.start_async(), then await queue.drain_async()")
        check_spec(spec)
        if spec.app is not None:
            self._refuse_foreign(f"the workflow {spec.name}", spec.app.producer.runner)
        started = spec.start()
        if isinstance(started, Err):
            msg = f"the workflow {spec.name} was not started: {started.err_value.code}: {started.err_value.message}"
            raise QueueTestError(msg)
        return TestRun(started.ok_value, self.drain())

    def tick_schedules(self) -> int:
        """Send all runs of schedules that are due; returns the number of tasks.

        The first call defines the schedules: they are due from then on.
        """
        return self._started().tick()

    # The clock

    def now(self) -> datetime:
        """Return the time by which tasks are due and expire."""
        return self._opened.clock.now()

    def advance(self, delta: timedelta | str) -> None:
        """Let the next `drain` move the clock forward: ``advance("3 days")``, ``advance(timedelta(hours=2))``.

        The clock is frozen from now on. `drain` moves it from one due moment to the next, so that delayed tasks,
        retries, deadlines and schedules happen in their order and at their times. If nothing falls due until the
        target, the clock moves at once.

        Raises:
            ValueError: The text is not an interval, or the interval is negative.
        """
        self._started().define_schedules()
        self._opened.clock.move_by(delta)
        self._move_if_idle()

    def freeze(self, at: datetime) -> None:
        """Let the next `drain` move the clock to this time, as `advance` does, and keep it there.

        The clock moves back at once, and forward at once if nothing is due before. Schedules that were not defined yet
        are due from the new time on.

        Raises:
            ValueError: The time has no time zone.
        """
        self._opened.clock.freeze(at)
        self._move_if_idle()

    def _move_if_idle(self) -> None:
        """Move the clock at once if nothing falls due before its target, or if a real worker runs what falls due."""
        _, is_idle = self._opened.clock.look_ahead(*self._started().names)
        target = self._opened.clock.target
        if target is not None and (is_idle or self._real_workers):
            self._opened.clock.set(target)

    # What was sent, and how it ended

    def sent(self, task: "TaskFunction[..., Any, Any, Any, ...] | None" = None, **arguments: Any) -> list[SentTask]:
        """Return the tasks that were sent, in their order, without the nodes of workflows.

        Args:
            task: Only this task; None: all.
            arguments: Only those that were sent with these arguments.
        """
        if task is None:
            check_names(self.app.registry, arguments)
            return [each for each in self._all_sent() if self._has_arguments(each, arguments)]
        definition = definition_of("sent", task)
        expected = expected_arguments(definition, (), arguments)
        of_task = (each for each in self._all_sent() if each.task_name == definition.name)
        return [each for each in of_task if matches(definition, each, expected)]

    def _has_arguments(self, sent: SentTask, arguments: dict[str, Any]) -> bool:
        """Whether the task has such parameters, and was sent with these arguments."""
        registry = self.app.registry
        if sent.task_name not in registry:
            return not arguments
        definition = registry.get(sent.task_name)
        has_parameters = all(definition.signature.parameter(name) is not None for name in arguments)
        return has_parameters and matches(definition, sent, arguments)

    def assert_sent(
        self, task: "TaskFunction[..., Any, Any, Any, ...]", *args: Any, count: int | None = 1, **kwargs: Any
    ) -> None:
        """Assert how often a task was sent with these arguments. Arguments that are left out are not compared.

        Args:
            task: The task.
            args: Expected arguments by position.
            count: How often; None: at least once.
            kwargs: Expected arguments by name.

        Raises:
            AssertionError: The message shows what was sent instead, the nearest first, with the differences.
            TypeError: The task has no such parameters.
            ValueError: ``count`` is negative.
        """
        __tracebackhide__ = True
        definition = definition_of("assert_sent" if count != 0 else "assert_not_sent", task)
        check_count(count)
        expected = expected_arguments(definition, args, kwargs)
        every = self._all_sent()
        found = sum(each.task_name == definition.name and matches(definition, each, expected) for each in every)
        if found != count and not (count is None and found):
            raise AssertionError(explain(definition, expected, count, every))

    def assert_not_sent(self, task: "TaskFunction[..., Any, Any, Any, ...]", *args: Any, **kwargs: Any) -> None:
        """Assert that a task was never sent, or never with these arguments; see `assert_sent`."""
        __tracebackhide__ = True
        self.assert_sent(task, *args, count=0, **kwargs)

    def outcomes(self) -> "list[TaskInfo]":
        """Return the tasks that have ended, in the order in which they ended, with their results and arguments."""
        ids = [str(task_id) for (task_id,) in self._opened.session.execute("ended_tasks")]
        broker = self.app.get_broker()
        found = (broker.get_task_info(task_id, include_result=True, include_args=True).unwrap() for task_id in ids)
        return [each for each in found if each is not None]

    # Faults

    def crash(
        self, at: CrashPoint, task: "TaskFunction[..., Any, Any, Any, ...] | None" = None, times: int = 1
    ) -> None:
        """Lose the next attempts in `drain`, as if their worker died: they are recovered as those of a dead worker.

        Args:
            at: ``claimed``: before the attempt starts; ``begun``: after the database has noted the start, and before
                the function is called; ``ran``: after the function has returned, and before its outcome is stored (and
                before the transaction of a transactional task is committed); ``committed``: after that.
            task: Only attempts at this task; None: at any task.
            times: The number of attempts to lose.
        """
        if at not in CRASH_POINTS:
            msg = f"crash takes at={' or '.join(map(repr, CRASH_POINTS))}, got {at!r}"
            raise ValueError(msg)
        at_least_one("crash", "times", times)
        self._crashes.add(PlannedCrash(at, None if task is None else definition_of("crash", task).name, times))

    def disconnect(self, at: DisconnectPoint = "after", times: int = 1) -> None:
        """Lose the connection in the next call that the app makes to the database: a send, a result, a cancellation.

        Args:
            at: ``before``: the database has not received the call; ``after``: it has committed the call, and the answer
                is lost.
            times: The number of calls that fail.
        """
        if at not in DISCONNECT_POINTS:
            msg = f"disconnect takes at={' or '.join(map(repr, DISCONNECT_POINTS))}, got {at!r}"
            raise ValueError(msg)
        at_least_one("disconnect", "times", times)
        self._opened.drivers.disconnects.extend(repeat(at, times))

    @contextmanager
    def worker(self, processes: int = 1, *args: str) -> Generator[RealWorker]:
        """Run a real ``horsies worker`` within the block, which waits until the worker claims tasks.

        The worker imports the module of the app in new processes, so patches of the test have no effect there. At the
        end it is stopped, and what remains of it is killed.

        Args:
            processes: The number of child processes.
            args: Further options of the command, such as ``"--concurrency=2"``.

        Raises:
            WorkerFailedError: The worker did not start or did not stop in time; the message contains its log.
        """
        if self._connection is not None:
            msg = (
                "queue.worker() needs a database of its own: a worker process would use the database of Django's "
                "settings, and does not see the transaction of this test. Use queue.drain(), or TestQueue(app) without "
                "connection="
            )
            raise QueueTestError(msg)
        real = RealWorker(self.app, self.database_url, [f"--processes={processes}", *args])
        self.worker_logs.append(real.log_file)
        self._real_workers += 1
        try:
            with real.running():
                yield real
        finally:
            self._real_workers -= 1

    # Parts

    def _refuse_foreign(self, what: str, runner: object) -> None:
        """Refuse a task or a workflow of another app, which may use its own database instead of that of the test."""
        if self._opened and runner is not self.app.producer.runner:
            msg = (
                f"{what} belongs to another app, which this queue does not run: make a queue of that app, "
                "horsies(its_app) or TestQueue(its_app). If both are the same app, its module was imported twice"
            )
            raise QueueTestError(msg)

    def _started(self) -> InProcessWorker:
        """Return the worker of `drain`, which has registered the tasks that are defined now."""
        worker = self._worker
        if worker is None:
            for hook in self.app.registry.hooks.child_start:
                hook.fn()
            worker = self._new_worker()
            self._opened.jobs.renew_contexts()
        elif not worker.has_all_tasks:
            worker.stop()
            worker = self._new_worker()
        elif self._connection is not None:
            worker.resume()
        self._worker = worker
        return worker

    def _new_worker(self) -> InProcessWorker:
        opened = self._opened
        worker = InProcessWorker(self.app, opened.session, opened.clock, self._crashes)
        worker.executor.use_transactions(opened.transactions)
        worker.start()
        return worker

    def _checked(self, outcome: Report | LostWorker) -> Report | LostWorker:
        """Pass an outcome on, unless something has happened that ends the test."""
        self._interception.check()
        exception = outcome.exception if isinstance(outcome, Report) else None
        if exception is not None and _is_of_pytest(exception):
            raise exception
        return outcome

    def _timed(self, job: Job) -> Job:
        """Return a job without time-out if a debugger stops the time."""
        return job._replace(timeout_ms=None) if has_debugger() else job

    def _on_breakpoint(self) -> None:
        if self._worker is not None:
            self._worker.executor.attempts.lift_limits()

    def _all_sent(self) -> list[SentTask]:
        return [self._read_sent(*row) for row in self._opened.session.execute("sent_tasks")]

    def _read_sent(self, task_id: object, name: str, *facts: Any) -> SentTask:
        queue, priority, status, args, *times = facts
        registry = self.app.registry
        read = registry.get(name).read_args if name in registry else plain_args
        return SentTask(str(task_id), name, queue, priority, TaskStatus(status), read(name, args), *times)

    def _not_ended(self, name: str, task_id: str, report: DrainReport) -> NotEndedError:
        why = make_call(self._opened.session, monitoring_queries.why(UUID(task_id)))
        hint = "; queue.advance(…) moves the clock" if why.reason in _LATER else ""
        attempts = "1 attempt" if len(report) == 1 else f"{len(report)} attempts"
        return NotEndedError(f"task {name} has not ended after {attempts}: {why.sentence}{hint}")


def _is_of_pytest(exception: BaseException) -> bool:
    """Whether code of a task has called `pytest.fail`, `pytest.skip` or the like, or has exceeded pytest-timeout."""
    return not isinstance(exception, Exception) and type(exception).__module__ == "_pytest.outcomes"
