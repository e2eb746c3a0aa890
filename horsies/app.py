"""`Horsies`: one app, its tasks and its way to the database. The composition root: it alone knows everybody."""

import inspect
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Never, Protocol, Unpack, cast, overload

from horsies.checks.app import check_app, wrong_policies
from horsies.checks.exception_mappers import unmatched_entries
from horsies.checks.undiscovered import find_warnings
from horsies.codec.signature import SignatureCodec, function_location
from horsies.codec.wire import ResultCodec
from horsies.codes import OnError
from horsies.config.app import AppConfig
from horsies.config.queues import DEFAULT_QUEUE, QueueMode
from horsies.config.retry import ExceptionMapper, RetryPolicy
from horsies.db.connect import Database
from horsies.db.operations import Operation
from horsies.errors import (
    ConfigurationError,
    ErrorCode,
    HorsiesError,
    SourceLocation,
    TaskDefinitionError,
    caller_location,
    collect,
    frame_location,
    raise_all,
)
from horsies.monitoring.broker import Broker, rerun
from horsies.predecessor import REMOVED_METHODS
from horsies.producer.async_driver import AsyncDriver
from horsies.producer.handle import BrokerResult, TaskHandle
from horsies.producer.send import Producer
from horsies.producer.sync_driver import SyncDriver
from horsies.producer.waiter import Waiters
from horsies.task import TaskFunction, wrong_function
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.current import CurrentTask
from horsies.tasks.discovery import expand_globs, import_file, import_module, place_of_main, share_module
from horsies.tasks.hooks import AroundHook, ChildHook, add_hook
from horsies.tasks.registry import STAND_IN, Registry, TaskDefinition, WorkflowBuilder, wrong_timeout
from horsies.worker.options import WorkerKeywords, WorkerOptions
from horsies.workflows.nodes import AnyNode, Node
from horsies.workflows.spec import Outputs, SuccessPolicy, WorkflowSpec

_ELSEWHERE = {
    "good_until": "it belongs to one send: task.with_options(good_until=…)",
    "delay": "it belongs to one send: task.with_options(delay=…) or task.schedule(seconds, …)",
    "priority": "it belongs to one send: task.with_options(priority=…)",
    "auto_retry_for": "it belongs to the policy: retry_policy=RetryPolicy(auto_retry_for=[…])",
    "max_retries": "it belongs to the policy: retry_policy=RetryPolicy(max_retries=…)",
}


class TaskDecorator(Protocol):
    """What `Horsies.task` returns: makes a task of a function that returns a `TaskResult`."""

    @overload
    def __call__[**P, T, E: TaskError](
        self, fn: Callable[P, Coroutine[Any, Any, TaskResult[T, E]]], /
    ) -> TaskFunction[P, T, E, Coroutine[Any, Any, TaskResult[T, E]]]: ...

    @overload
    def __call__[**P, T, E: TaskError](
        self, fn: Callable[P, TaskResult[T, E]], /
    ) -> TaskFunction[P, T, E, TaskResult[T, E]]: ...


class Worker:
    """A worker that is run by the program itself; it must not have started threads or opened connections yet."""

    def __init__(self, app: "Horsies", options: WorkerOptions) -> None:
        """Made by `Horsies.worker`."""
        self._app = app
        self._options = options

    def run(self) -> int:
        """Work until told to stop by SIGTERM or SIGINT; the exit code.

        Raises:
            ConfigurationError: HRS-207, children are to import the app by themselves (``start_method="spawn"``), and
                it is nowhere to be found by them.
        """
        from horsies.worker.main import run_worker  # noqa: PLC0415 - producers never need it, and it takes long

        if self._options.start_method == "spawn":
            return run_worker(_way_to(self._app), self._options)
        return run_worker(lambda: self._app, self._options)


class _Drivers:
    """Both drivers over one database: what tasks and handles carry their operations out with."""

    def __init__(self, config: AppConfig) -> None:
        database = Database(config.broker)
        self._waiters = Waiters(database, config.resilience.notify_poll_interval_ms / 1000)
        self._sync = SyncDriver(database, self._waiters)
        self._async = AsyncDriver(database, self._waiters)

    def run[R](self, operation: Operation[R]) -> R:
        return self._sync.run(operation)

    async def run_async[R](self, operation: Operation[R]) -> R:
        return await self._async.run(operation)

    def close(self) -> None:
        self._sync.close()
        self._waiters.close()

    async def close_async(self) -> None:
        await self._async.close()
        self.close()


class Horsies:
    """An app: a configuration and the tasks that are defined with it."""

    def __init__(self, config: AppConfig) -> None:
        """Describe; nothing is opened before the first send."""
        maker = _callers_frame()
        self.config = config
        self.name = str(maker.f_globals.get("__name__", "app"))
        self.registry = Registry(self.name, frame_location(maker.f_code.co_filename, maker.f_lineno))
        share_module(self.name)
        self._drivers = _Drivers(config)
        priorities = {queue.name: queue.priority for queue in config.queues}
        self.producer = Producer(self._drivers, priorities, config.resend_on_transient_err)
        self._modules: list[str] = []

    def __repr__(self) -> str:
        """Show the app's name."""
        return f"<Horsies app {self.name!r}>"

    if not TYPE_CHECKING:  # type checkers know the methods

        def __getattr__(self, name: str) -> Any:
            """Answer for a method that the packages 0.x had, with what to use instead of it."""
            replacement = REMOVED_METHODS.get(name)
            if replacement is None:
                msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            else:
                msg = f"app.{name} of the horsies packages 0.x was removed: {replacement}"
            raise AttributeError(msg, name=name, obj=self)

    def task(  # noqa: PLR0913 - one keyword an option
        self,
        task_name: str,
        *,
        queue_name: str | None = None,
        retry_policy: RetryPolicy | None = None,
        exception_mapper: ExceptionMapper | None = None,
        default_unhandled_error_code: str | None = None,
        timeout_ms: int | None = None,
        **unknown: Never,
    ) -> TaskDecorator:
        """Make a task of a function, ``def`` or ``async def``, that returns ``TaskResult[T, TaskError]``.

        Args:
            task_name: under which workers know it; unique in the app.
            queue_name: of the app's queues; needed in CUSTOM mode, refused in DEFAULT mode.
            retry_policy: when a failed attempt is tried again; None: never.
            exception_mapper: exception class to error code, looked at before the app's; the nearest base class counts.
            default_unhandled_error_code: for exceptions no mapper knows.
            timeout_ms: how long an attempt may run, in milliseconds.
            unknown: refused, with the place where such an option belongs.

        Raises:
            TaskDefinitionError: HRS-100 to HRS-106, HRS-209, HRS-212 or HRS-301, when the decorator runs, with the
                place in the source; several at once as `MultipleValidationErrors`.
        """
        if inspect.isroutine(task_name) or isinstance(task_name, TaskFunction):
            return cast("TaskDecorator", self._without_parentheses(task_name))
        locals_of_caller = _callers_frame().f_locals  # annotations may name local classes

        def define(fn: Callable[..., Any]) -> TaskDefinition:
            problems = [
                *_wrong_options(task_name, fn, timeout_ms, cast("dict[str, object]", unknown)),
                *self._wrong_queue(task_name, queue_name),
                *wrong_policies(retry_policy, exception_mapper, default_unhandled_error_code),
            ]
            for problem in problems:
                problem.location = problem.location or _location(fn)
            raise_all(problems)
            return TaskDefinition(
                name=task_name,
                fn=fn,
                is_async=inspect.iscoroutinefunction(fn),
                signature=SignatureCodec(fn, locals_of_caller),
                result=ResultCodec.of(fn, locals_of_caller),
                location=function_location(fn),
                queue_name=queue_name or DEFAULT_QUEUE.name,
                retry_policy=retry_policy,
                exception_mapper=exception_mapper,
                default_unhandled_error_code=default_unhandled_error_code,
                timeout_ms=timeout_ms,
            )

        def decorate(fn: Callable[..., Any]) -> TaskFunction[..., Any, Any, Any]:
            return TaskFunction(self._add(lambda: define(fn)), self.producer)

        return cast("TaskDecorator", decorate)

    def _without_parentheses(self, fn: Callable[..., Any]) -> TaskFunction[..., Any, Any]:
        """Refuse ``@app.task``, which gives the function where the task's name belongs."""
        name = fn.__name__
        error = TaskDefinitionError(
            ErrorCode.TASK_INVALID_OPTIONS,
            f"@app.task on {name}() has no parentheses, and so no name for the task",
            location=_location(fn),
            help_text=f'write @app.task("{name}")',
        )
        if not collect(error):
            raise error
        return TaskFunction(STAND_IN, self.producer)

    def _add(self, define: Callable[[], TaskDefinition]) -> TaskDefinition:
        """Define a task and register it; a check goes on with a stand-in for one that is wrong."""
        try:
            definition = define()
            self.registry.add(definition)
        except HorsiesError as error:
            if not collect(error):
                raise
            return STAND_IN
        return definition

    def on_child_process_start[F: Callable[[], object]](self, hook: F) -> F:
        """Run a function in each child of a worker before that takes work, to open clients, say, or to load a model.

        It is synchronous and takes nothing. Children are replaced, so it runs again and again, in new processes. If it
        raises, the worker stops and says so. Several run in the order in which they were registered.

        Raises:
            ConfigurationError: HRS-214, it is no such function.
        """
        with _collected():
            add_hook(self.registry.hooks.child_start, ChildHook.of(hook))
        return hook

    def on_child_process_stop[F: Callable[[], object]](self, hook: F) -> F:
        """Run a function in each child of a worker that ends in a planned way, to close clients, say.

        A child ends in a planned way when the worker stops and when the child is recycled, after its last task. It then
        closes its event loop, runs these hooks (the last registered runs first), waits for its threads, runs the
        functions registered with `atexit` and flushes its open files. All of it together may take five seconds. A child
        that is killed runs none of it.

        The function is synchronous and takes no arguments. An exception that it raises is logged, and the other hooks
        still run.

        Raises:
            ConfigurationError: HRS-214, it is no such function.
        """
        with _collected():
            add_hook(self.registry.hooks.child_stop, ChildHook.of(hook, "stop"))
        return hook

    def around_task[F: Callable[[CurrentTask], Iterator[None]]](self, hook: F) -> F:
        """Run a generator function around every attempt at every task, ``def`` and ``async def``.

        The part before the ``yield`` runs before the task, in the thread and the context of the attempt: context
        variables that it sets are visible in the task. ``outcome = yield`` then receives the `AttemptOutcome`, and the
        rest runs. Several hooks nest: the first registered is the outermost. A hook may return before its ``yield``.

        A hook never changes the outcome: an exception that it raises is logged as ``hook.failed``.

        Raises:
            ConfigurationError: HRS-214, it is no generator function with one parameter.
        """
        with _collected():
            add_hook(self.registry.hooks.around_task, AroundHook.of(hook))
        return hook

    def discover_tasks(self, modules: Sequence[str]) -> None:
        """Record where tasks live: dotted module names or paths of ``.py`` files. Workers and checks import them.

        Calls add up. Exactly these modules are imported, not what lies below them.
        """
        self._modules += [module for module in modules if module not in self._modules]

    def expand_module_globs(self, patterns: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
        """List the modules that match patterns, for `discover_tasks`.

        Args:
            patterns: of dotted names, ``"shop.*.tasks"``, or of files, ``"jobs/**/*.py"``.
            exclude: patterns of modules to leave out, of the same two kinds: ``"jobs/**/test_*.py"``.

        Raises:
            ConfigurationError: HRS-207, one of the two is a string and not a list of strings.
        """
        return expand_globs(patterns, exclude)

    def list_tasks(self) -> list[str]:
        """The names of the tasks defined so far, sorted."""
        return self.registry.names

    def check(self, *, live: bool = False) -> list[HorsiesError]:
        """Look for mistakes, phase by phase: configuration, modules, workflows, policies, schedules. Sends nothing.

        Every discovered module is imported, with sends suppressed. A phase that finds something is the last.

        Args:
            live: ask the database, too: can it be reached, is its schema this library's, are the rights there, and do
                tasks wait under names that this app no longer has?

        Returns:
            All that is wrong, with the place in the source; nothing is raised.
        """
        return check_app(self, self.config, self.name, self._modules, live=live)

    def check_warnings(self) -> list[HorsiesError]:
        """Look for what is allowed and yet probably a mistake.

        That is a module with tasks that is not discovered, an entry of an exception mapper that can never match, or a
        module that sends tasks or starts workflows when it is imported.

        Call it after `check`, which imports the modules.

        Returns:
            What was found, with the place in the source where there is one. A worker refuses an app without tasks
            (HRS-302) and logs the other warnings.
        """
        found = find_warnings(self.registry, self.name, self._modules)
        return [*found, *unmatched_entries(self.config, self.registry), *self.registry.suppressed]

    def workflow_builder[F: Callable[..., object]](
        self, *, cases: Sequence[Mapping[str, object]] = ()
    ) -> Callable[[F], F]:
        """Say of a function that it makes a workflow: `check` calls it with each of the cases, with sends suppressed.

        Args:
            cases: arguments by name; may be left out if the function has no required ones.
        """

        def decorate(fn: F) -> F:
            self.registry.add_builder(WorkflowBuilder(fn, cases, function_location(fn)))
            return fn

        return decorate

    def workflow[T = Outputs](  # noqa: PLR0913 - one keyword an option
        self,
        name: str,
        tasks: Sequence[AnyNode],
        on_error: OnError | str = OnError.FAIL,
        output: Node[T, Any] | None = None,
        success_policy: SuccessPolicy | None = None,
        *,
        definition_key: str | None = None,
    ) -> WorkflowSpec[T]:
        """Describe a workflow of this app; see `WorkflowSpec`.

        Raises:
            WorkflowValidationError: it is not in order; several problems at once as `MultipleValidationErrors`.
        """
        return WorkflowSpec(
            name,
            tasks,
            output=output,
            on_error=on_error,
            success_policy=success_policy,
            definition_key=definition_key,
            app=self,
        )

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """A handle of an id: its result is decoded by the task of that name, or as plain JSON if there is none.

        No task has an id that is no UUID: the handle answers as for any unknown id.
        """
        return self.get_broker().handle(task_id)

    def get_result(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """Wait for the outcome of an id, blocking; see `TaskHandle.get`."""
        return self.handle(task_id).get(timeout_ms)

    async def get_result_async(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """The same as `get_result`, awaited."""
        return await self.handle(task_id).get_async(timeout_ms)

    def rerun(self, task_id: str) -> BrokerResult[TaskHandle[Any]]:
        """Send a task that has ended once more, as a new task which records its origin (`TaskInfo.rerun_of`).

        Name, queue, priority, arguments, retry policy and time-out are the same; a `good_until` is not.

        Returns:
            The new task's handle; or an error, with TASK_NOT_FOUND, or with ENQUEUE_FAILED if the task has not ended
            or the database did not answer.
        """
        return self._drivers.run(rerun(self.producer, task_id, self.handle))

    async def rerun_async(self, task_id: str) -> BrokerResult[TaskHandle[Any]]:
        """The same as `rerun`, awaited."""
        return await self._drivers.run_async(rerun(self.producer, task_id, self.handle))

    def get_broker(self) -> Broker:
        """The queue as whoever watches over it sees it: all tasks and workers."""
        return Broker(
            self._drivers, self.registry.result_codec, self.registry.read_args, self.config.broker.resolve_url
        )

    def worker(self, **options: Unpack[WorkerKeywords]) -> "Worker":
        """A worker of this app, for an entry point of your own: ``sys.exit(app.worker(processes=4).run())``.

        The keywords are those of the command line; see `WorkerOptions`.
        """
        return Worker(self, WorkerOptions(**options))

    def close(self) -> None:
        """Close the connections of this process; they are opened again when needed."""
        self._drivers.close()

    async def close_async(self) -> None:
        """Close also the connections of the running event loop."""
        await self._drivers.close_async()

    def _wrong_queue(self, task_name: str, queue_name: str | None) -> list[HorsiesError]:
        known = self.config.queue_names()
        if self.config.queue_mode is QueueMode.DEFAULT and queue_name is not None:
            problem = f"task {task_name!r} names the queue {queue_name!r}, and the app has only the default one"
            fix = "leave queue_name out, or configure queue_mode=QueueMode.CUSTOM and custom_queues"
        elif self.config.queue_mode is QueueMode.CUSTOM and queue_name not in known:
            problem = f"task {task_name!r} names " + (f"the unknown queue {queue_name!r}" if queue_name else "no queue")
            fix = f"give queue_name= one of {', '.join(known)}"
        else:
            return []
        return [TaskDefinitionError(ErrorCode.TASK_INVALID_QUEUE, problem, help_text=fix)]


def _way_to(app: Horsies) -> Callable[[], Horsies]:
    """How another process gets at an app: by the module it was made in, or that is run, and its name there."""
    for name in (app.name, "__main__"):
        module = sys.modules.get(name)
        attribute = next((key for key, value in vars(module).items() if value is app), None) if module else None
        place = place_of_main() if name == "__main__" else name
        if attribute is not None and place is not None:
            return partial(_import_app, place, attribute)
    raise ConfigurationError(
        ErrorCode.WORKER_INVALID_LOCATOR,
        f"{app!r} can't be imported by children: no module has it as a global variable",
        location=caller_location(),
        help_text='assign it to a name at the top level of a module, or use start_method="fork"',
    )


def _import_app(place: str, attribute: str) -> Horsies:
    module = import_file(Path(place)) if place.endswith(".py") else import_module(place)
    return getattr(module, attribute)


@contextmanager
def _collected() -> Generator[None]:
    """Within this block an error is kept for the check that is under way, if there is one, and else raised."""
    try:
        yield
    except HorsiesError as error:
        if not collect(error):
            raise


def _callers_frame() -> FrameType:
    """The frame that called the method which asks."""
    here = inspect.currentframe()
    asking = here.f_back if here is not None else None
    if asking is None or asking.f_back is None:
        msg = "horsies needs a Python with stack frames"
        raise RuntimeError(msg)
    return asking.f_back


def _wrong_options(
    task_name: object, fn: object, timeout_ms: object, unknown: dict[str, object]
) -> list[TaskDefinitionError]:
    options = ErrorCode.TASK_INVALID_OPTIONS
    found: list[tuple[ErrorCode, str, str]] = []
    if not isinstance(task_name, str) or not task_name:
        found.append((options, "a task needs a name", 'write @app.task("send_mail")'))
    problem = wrong_timeout(timeout_ms)
    if problem is not None:
        found.append((options, problem, "it is in milliseconds"))
    known = "task takes queue_name, retry_policy, exception_mapper, default_unhandled_error_code and timeout_ms"
    found += [(options, f"task has no option {name!r}", _ELSEWHERE.get(name, known)) for name in unknown]
    unsuitable = wrong_function(fn)
    if unsuitable is not None:
        code, problem, fix = unsuitable
        found.append((code, f"task {task_name!r} {problem}", fix))
    return [TaskDefinitionError(code, problem, help_text=fix) for code, problem, fix in found]


def _location(fn: object) -> SourceLocation | None:
    return function_location(fn) if inspect.isfunction(fn) else caller_location()
