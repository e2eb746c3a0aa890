"""`Horsies`: an app with its tasks and its database connection. This module is the composition root of the package."""

import inspect
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, Never, Unpack, cast, overload

from horsies.checks.app import check_app, find_live_warnings, wrong_policies
from horsies.checks.exception_mappers import unmatched_entries
from horsies.checks.undiscovered import find_warnings
from horsies.codec.signature import function_location
from horsies.codes import OnError
from horsies.config.app import AppConfig
from horsies.config.queues import DEFAULT_QUEUE
from horsies.config.retry import ExceptionMapper, RetryPolicy
from horsies.config.unique import Unique
from horsies.db.operations import UNSET
from horsies.db.rights import Kind
from horsies.decorator import (
    TaskDecorator,
    TransactionalDecorator,
    missing_parentheses,
    raise_at,
    read_function,
    task_location,
    wrong_options,
    wrong_parameters,
    wrong_queue,
)
from horsies.errors import (
    HorsiesError,
    collect,
    frame_location,
)
from horsies.monitoring.broker import Broker, rerun
from horsies.predecessor import REMOVED_METHODS
from horsies.producer.bulk import resend_many, send_many
from horsies.producer.calls import TaskCall
from horsies.producer.drivers import Drivers
from horsies.producer.handle import BrokerResult, TaskHandle
from horsies.producer.send import Producer, TaskSendError, TaskSendOptions, TaskSendResult
from horsies.task import TaskFunction
from horsies.task_result import TaskError, TaskResult
from horsies.tasks.current import CurrentTask
from horsies.tasks.discovery import expand_globs, importer_of, share_module
from horsies.tasks.hooks import AroundHook, ChildHook, add_hook
from horsies.tasks.registry import STAND_IN, Registry, TaskDefinition, WorkflowBuilder
from horsies.worker.options import WorkerKeywords, WorkerOptions
from horsies.workflows.nodes import AnyNode, Node
from horsies.workflows.spec import Outputs, SuccessPolicy, WorkflowSpec


class Worker:
    """A worker that the program runs itself, made by `Horsies.worker`.

    The program must not have started threads or opened connections before it calls `run`.
    """

    def __init__(self, app: "Horsies", options: WorkerOptions) -> None:
        self._app = app
        self._options = options

    def run(self) -> int:
        """Run the worker until it receives SIGTERM or SIGINT, and return the exit code of the process.

        Raises:
            ConfigurationError: HRS-207: With ``start_method="spawn"`` the child processes must import the app, but no
                module has it as a global variable.
        """
        from horsies.worker.main import run_worker  # noqa: PLC0415 - slow to import, and producers never need it

        if self._options.start_method == "spawn":
            return run_worker(importer_of(self._app, self._app.name), self._options)
        return run_worker(lambda: self._app, self._options)


class Horsies:
    """An app: a configuration, and the tasks that are defined with it.

    Making an app opens no connection; the first operation does.

    Attributes:
        config: The settings.
        name: The name of the module that made the app.
        registry: The tasks, hooks and workflow builders.
        producer: The connection of the tasks to the queue.
    """

    def __init__(self, config: AppConfig) -> None:
        maker = _callers_frame()
        self.config = config
        self.name = str(maker.f_globals.get("__name__", "app"))
        self.registry = Registry(self.name, frame_location(maker.f_code.co_filename, maker.f_lineno))
        share_module(self.name)
        self._drivers = Drivers(config)
        priorities = {queue.name: queue.priority for queue in config.queues}
        self.producer = Producer(
            self._drivers, priorities, config.resend_on_transient_err, config.payload, config.traces
        )
        self._modules: list[str] = []

    def __repr__(self) -> str:
        """Show the app's name."""
        return f"<Horsies app {self.name!r}>"

    if not TYPE_CHECKING:  # hidden from type checkers, so that they report unknown methods

        def __getattr__(self, name: str) -> Any:
            """Raise AttributeError. The message names the replacement of a method that the packages 0.x had."""
            replacement = REMOVED_METHODS.get(name)
            if replacement is None:
                msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            else:
                msg = f"app.{name} of the horsies packages 0.x was removed: {replacement}"
            raise AttributeError(msg, name=name, obj=self)

    @overload
    def task(
        self,
        task_name: str,
        *,
        transactional: Literal[True],
        queue_name: str | None = None,
        retry_policy: RetryPolicy | None = None,
        exception_mapper: ExceptionMapper | None = None,
        default_unhandled_error_code: str | None = None,
        timeout_ms: int | None = None,
        unique: Unique | None = None,
        key_by: str | tuple[str, ...] | None = None,
        redact: Sequence[str] = (),
        **unknown: Never,
    ) -> TransactionalDecorator: ...

    @overload
    def task(
        self,
        task_name: str,
        *,
        transactional: Literal[False] = False,
        queue_name: str | None = None,
        retry_policy: RetryPolicy | None = None,
        exception_mapper: ExceptionMapper | None = None,
        default_unhandled_error_code: str | None = None,
        timeout_ms: int | None = None,
        unique: Unique | None = None,
        key_by: str | tuple[str, ...] | None = None,
        redact: Sequence[str] = (),
        **unknown: Never,
    ) -> TaskDecorator: ...

    def task(  # noqa: PLR0913 - one keyword an option
        self,
        task_name: str,
        *,
        transactional: bool = False,
        queue_name: str | None = None,
        retry_policy: RetryPolicy | None = None,
        exception_mapper: ExceptionMapper | None = None,
        default_unhandled_error_code: str | None = None,
        timeout_ms: int | None = None,
        unique: Unique | None = None,
        key_by: str | tuple[str, ...] | None = None,
        redact: Sequence[str] = (),
        **unknown: Never,
    ) -> TaskDecorator | TransactionalDecorator:
        """Turn a ``def`` or ``async def`` function that returns ``TaskResult[T, TaskError]`` into a task.

        Args:
            task_name: The name of the task, unique in the app.
            queue_name: One of the app's queues. Required in CUSTOM mode; must be omitted in DEFAULT mode.
            retry_policy: When failed attempts are retried; None: never.
            exception_mapper: Maps exception classes to error codes, before the mapper of the app.
            default_unhandled_error_code: The error code of exceptions that match no mapper; None: that of the app.
            timeout_ms: How long an attempt may run, in milliseconds, at least 100; None: no limit.
            unique: Of which tasks at most one may be live; None: any number.
            key_by: The parameter, or a tuple of parameters, whose arguments are the key of the task; None: no key.
            redact: Paths to secret arguments, such as "card.number", in addition to those that `Secret` marks.
            transactional: Whether the first parameter is a connection, in whose transaction the outcome is committed.
            unknown: Any other option is rejected; the error says where the option belongs.

        Raises:
            TaskDefinitionError: HRS-100 to HRS-106, HRS-209, HRS-212, HRS-301, or `MultipleValidationErrors`.
        """
        if inspect.isroutine(task_name) or isinstance(task_name, TaskFunction):
            return cast("TaskDecorator", self._without_parentheses(task_name))
        locals_of_caller = _callers_frame().f_locals  # annotations may refer to local classes

        def define(fn: Callable[..., Any]) -> TaskDefinition:
            problems = [
                *wrong_options(task_name, fn, timeout_ms, unique, cast("dict[str, object]", unknown)),
                *wrong_parameters(task_name, fn, key_by, redact),
                *wrong_queue(self.config, task_name, queue_name),
                *wrong_policies(retry_policy, exception_mapper, default_unhandled_error_code),
            ]
            raise_at(task_location(fn), problems)
            return TaskDefinition(
                name=task_name,
                **read_function(fn, locals_of_caller, transactional=transactional, redact=redact, key_by=key_by),
                queue_name=queue_name or DEFAULT_QUEUE.name,
                retry_policy=retry_policy,
                exception_mapper=exception_mapper,
                default_unhandled_error_code=default_unhandled_error_code,
                timeout_ms=timeout_ms,
                unique=unique,
            )

        return cast("TaskDecorator", self._decorator(define))

    def _decorator(
        self, define: Callable[[Callable[..., Any]], TaskDefinition]
    ) -> Callable[[Callable[..., Any]], TaskFunction[..., Any, Any, Any]]:
        return lambda fn: TaskFunction(self._add(lambda: define(fn)), self.producer)

    def _without_parentheses(self, fn: Callable[..., Any]) -> TaskFunction[..., Any, Any]:
        """Report ``@app.task`` without parentheses, where the function is passed in place of the task's name."""
        error = missing_parentheses(fn)
        if not collect(error):
            raise error
        return TaskFunction(STAND_IN, self.producer)

    def _add(self, define: Callable[[], TaskDefinition]) -> TaskDefinition:
        """Define a task and register it. During a check, collect an error and return a stand-in instead."""
        try:
            definition = define()
            self.registry.add(definition)
        except HorsiesError as error:
            if not collect(error):
                raise
            return STAND_IN
        return definition

    def on_child_process_start[F: Callable[[], object]](self, hook: F) -> F:
        """Run a function in each child process of a worker before it takes tasks, for example to load a model.

        The function is synchronous and takes no arguments. Child processes are replaced from time to time, so it runs
        again in each new process. If it raises an exception, the worker logs it and stops. Several functions run in
        the order of their registration.

        Raises:
            ConfigurationError: HRS-214: The function is not suitable.
        """
        with _collected():
            add_hook(self.registry.hooks.child_start, ChildHook.of(hook))
        return hook

    def on_child_process_stop[F: Callable[[], object]](self, hook: F) -> F:
        """Run a function in each child process of a worker that exits normally, for example to close clients.

        A child process exits normally when the worker stops and when the child is recycled, after its last task. It
        then closes its event loop, runs these hooks (the last registered runs first), waits for its threads, runs the
        functions registered with `atexit` and flushes its open files. All of that together may take five seconds. A
        child process that is killed runs no hooks.

        The function is synchronous and takes no arguments. An exception that it raises is logged, and the other hooks
        still run.

        Raises:
            ConfigurationError: HRS-214: The function is not suitable.
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
            ConfigurationError: HRS-214: The function is not a generator function with one parameter.
        """
        with _collected():
            add_hook(self.registry.hooks.around_task, AroundHook.of(hook))
        return hook

    def discover_tasks(self, modules: Sequence[str]) -> None:
        """Register the modules that define tasks. Workers and checks import them.

        Several calls add up. Exactly the named modules are imported, not their submodules.

        Args:
            modules: Dotted module names, or paths of ``.py`` files.
        """
        self._modules += [module for module in modules if module not in self._modules]

    def expand_module_globs(self, patterns: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
        """List the modules that match patterns, for `discover_tasks`.

        Args:
            patterns: Patterns of dotted names, ``"shop.*.tasks"``, or of files, ``"jobs/**/*.py"``.
            exclude: Patterns of modules to exclude, of the same two kinds: ``"jobs/**/test_*.py"``.

        Raises:
            ConfigurationError: HRS-207: An argument is a string instead of a list of strings.
        """
        return expand_globs(patterns, exclude)

    def list_tasks(self) -> list[str]:
        """Return the names of the tasks that are defined so far, sorted."""
        return self.registry.names

    def check(
        self, *, live: bool = False, role: Literal["producer", "worker", "viewer", "operator"] | None = None
    ) -> list[HorsiesError]:
        """Check the app for errors in phases: configuration, modules, workflows, policies, schedules.

        All discovered modules are imported, with sends suppressed. The check ends after the first phase that finds
        errors.

        Args:
            live: Whether to check the database as well: whether it can be reached, whether its schema has the right
                version, whether the privileges suffice, and whether tasks are waiting whose names the app lacks.
            role: The purpose of the database role of the app, so that only the privileges for this are checked. By
                default what `horsies db grant` has granted to the role or, if that is nothing, a worker.

        Returns:
            The errors, with their lines of source code. No error is raised.
        """
        kind = None if role is None else Kind(role)
        return check_app(self, self.config, self.name, self._modules, live=live, kind=kind)

    def check_warnings(self, *, live: bool = False) -> list[HorsiesError]:
        """Check the app for code that is valid but probably a mistake.

        Examples are a module with tasks that is not discovered, an entry of an exception mapper that can never match,
        and a module that sends tasks or starts workflows when it is imported. Call this method after `check`, which
        imports the modules.

        Args:
            live: Whether to check the database as well: whether a worker gets all the connections that it opens, and
                whether defaults of transactions restrict the app (HRS-215).

        Returns:
            The warnings, with their lines of source code where these are known. A worker refuses to run an app without
            tasks (HRS-302), and logs all other warnings.
        """
        found = find_warnings(self.registry, self.name, self._modules)
        found += [*unmatched_entries(self.config, self.registry), *self.registry.suppressed]
        return found + (find_live_warnings(self.config) if live else [])

    def workflow_builder[F: Callable[..., object]](
        self, *, cases: Sequence[Mapping[str, object]] = ()
    ) -> Callable[[F], F]:
        """Register a function that builds a workflow. `check` calls it with each of the cases, with sends suppressed.

        Args:
            cases: The keyword arguments of each call. Optional if the function has no required parameters.
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
        """Make a workflow of this app; see `WorkflowSpec` for the arguments.

        Raises:
            WorkflowValidationError: The workflow is invalid. Several problems are raised together as
                `MultipleValidationErrors`.
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
        """Return the handle of a task by its id.

        The result is decoded with the types of the task if this app defines it, and as plain JSON otherwise. An id that
        is not a UUID is treated like any unknown id.
        """
        return self.get_broker().handle(task_id)

    def get_result(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """Block until the task with this id has ended, and return its outcome; see `TaskHandle.get`."""
        return self.handle(task_id).get(timeout_ms)

    async def get_result_async(self, task_id: str, timeout_ms: int | None = None) -> TaskResult[Any, TaskError]:
        """Like `get_result`, for asyncio."""
        return await self.handle(task_id).get_async(timeout_ms)

    def send_many(
        self, calls: Iterable[TaskCall[Any, Any]], *, connection: object = UNSET
    ) -> TaskSendResult[list[TaskHandle[Any, Any]]]:
        """Send calls of different tasks in one transaction: ``app.send_many([add.args(1, 2), mail.args("x")])``.

        Args:
            calls: The calls, made with `TaskFunction.args`; see `TaskFunction.send_many`.
            connection: An open connection of the caller; see `TaskFunction.with_options`.
        """
        return self._drivers.run(send_many(self.producer, None, TaskSendOptions(connection=connection), calls))

    async def send_many_async(
        self, calls: Iterable[TaskCall[Any, Any]] | AsyncIterable[TaskCall[Any, Any]], *, connection: object = UNSET
    ) -> TaskSendResult[list[TaskHandle[Any, Any]]]:
        """Like `send_many`, for asyncio. The calls may come from an asynchronous iterable."""
        options = TaskSendOptions(connection=connection)
        return await self._drivers.run_async(send_many(self.producer, None, options, calls))

    def retry_send_many(self, error: TaskSendError) -> TaskSendResult[list[TaskHandle[Any, Any]]]:
        """Retry a `send_many` that failed with ENQUEUE_FAILED. Any number of retries creates each task at most once."""
        return self._drivers.run(resend_many(error, None, lambda _name, task_id: self.handle(str(task_id))))

    async def retry_send_many_async(self, error: TaskSendError) -> TaskSendResult[list[TaskHandle[Any, Any]]]:
        """Like `retry_send_many`, for asyncio."""
        retried = resend_many(error, None, lambda _name, task_id: self.handle(str(task_id)))
        return await self._drivers.run_async(retried)

    def rerun(self, task_id: str) -> BrokerResult[TaskHandle[Any]]:
        """Send an ended task again, as a new task that records its origin in `TaskInfo.rerun_of`.

        The new task has the same name, queue, priority, arguments, retry policy and timeout, but no `good_until`.

        Returns:
            The handle of the new task; or an error with TASK_NOT_FOUND, or with ENQUEUE_FAILED if the task has not
            ended or the database did not answer.
        """
        return self._drivers.run(rerun(self.producer, task_id, self.handle))

    async def rerun_async(self, task_id: str) -> BrokerResult[TaskHandle[Any]]:
        """Like `rerun`, for asyncio."""
        return await self._drivers.run_async(rerun(self.producer, task_id, self.handle))

    def get_broker(self, *, who: str | None = None) -> Broker:
        """Return the monitoring interface: queries and operations for all tasks, queues, schedules and workers.

        Args:
            who: The person or program in whose name it acts, for `Broker.get_audit`. Default: the user of the
                operating system and the host, ``user@host``.
        """
        codec_for, args_for = self.registry.result_codec, self.registry.read_args
        return Broker(
            self._drivers, codec_for, args_for, self.config.broker.resolve_url, who, traces=self.config.traces
        )

    def worker(self, **options: Unpack[WorkerKeywords]) -> "Worker":
        """Make a worker for this app, for a custom entry point: ``sys.exit(app.worker(processes=4).run())``.

        The keywords are the options of the command line; see `WorkerOptions`.
        """
        return Worker(self, WorkerOptions(**options))

    def close(self) -> None:
        """Close the connections of this process. They are reopened when they are needed again."""
        self._drivers.close()

    async def close_async(self) -> None:
        """Close the connections of this process and those of the running event loop."""
        await self._drivers.close_async()


@contextmanager
def _collected() -> Generator[None]:
    """Within this block, keep an error for the running check; if no check is running, raise it."""
    try:
        yield
    except HorsiesError as error:
        if not collect(error):
            raise


def _callers_frame() -> FrameType:
    """Return the frame that called the caller of this function."""
    here = inspect.currentframe()
    asking = here.f_back if here is not None else None
    if asking is None or asking.f_back is None:
        msg = "horsies requires a Python implementation with stack frames, such as CPython"
        raise RuntimeError(msg)
    return asking.f_back
