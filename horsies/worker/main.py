"""`horsies worker`: starts the fork server and runs the supervisor, and again after a reload."""

import asyncio
import logging
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from horsies.config.app import AppConfig
from horsies.config.postgres import DEV_URL_VARIABLE
from horsies.db.connect import Database
from horsies.db.operations import CallFailedError
from horsies.embedded.server import EmbeddedError
from horsies.errors import ErrorCode, HorsiesError, caller_location, flatten, raise_all
from horsies.events import configure_logging, event
from horsies.metrics.packages import missing_packages
from horsies.process import INTERRUPTED, StopSignals, open_standard_files, raise_open_files_limit
from horsies.producer.send import Producer
from horsies.producer.suppression import sends_are_suppressed, sends_suppressed
from horsies.rendering import render_errors, use_color
from horsies.tasks.log_filter import TaskLogFilter
from horsies.tasks.registry import Registry
from horsies.version import __version__
from horsies.worker.fork_server import ForkServer, LoadedApp, StartErrors, start_fork_server
from horsies.worker.options import WorkerOptions, WorkerSettings
from horsies.worker.processes import ChildrenCannotStartError, ForkServerDiedError
from horsies.worker.reload import CHECK_EVERY_S, Watch, app_folders
from horsies.worker.runtime.child import PINGS_PER_THRESHOLD, report_start_failure, run_child, send_liveness_pings
from horsies.worker.served_app import make_executor, worker_settings
from horsies.worker.spawn import leftover_threads_error, log_native_threads
from horsies.worker.supervisor import Supervisor
from horsies.workflows.built_in_tasks import inner_tasks

if TYPE_CHECKING:
    from horsies.worker.metrics_service import MetricsService

_MISTYPED = {ErrorCode.CLI_INVALID_ARGS, ErrorCode.WORKER_INVALID_LOCATOR}
_BASE_FILES = 40
_FILES_OF_CHILD = 4


class ServableApp(Protocol):
    """The parts of an app that a worker uses."""

    name: str
    """The app's name in the log."""

    config: AppConfig
    """Its configuration."""

    registry: Registry
    """Its tasks."""

    producer: Producer
    """Sends tasks, and runs operations on the database."""

    def check(self) -> list[HorsiesError]:
        """Import all task modules, and return the errors in them and in the configuration."""
        ...

    def check_warnings(self) -> list[HorsiesError]:
        """Return probable mistakes that are allowed. Call `check` first."""
        ...


def run_worker(load: Callable[[], ServableApp], options: WorkerOptions) -> int:
    """Run a worker until a stop signal arrives.

    Args:
        load: returns the app. It is called in the fork server, never in this process, and with the start method
            ``spawn`` also in each child; then it must be a function that can be pickled.
        options: the command line.

    Returns:
        The exit code: 0 after a graceful shutdown, 1 if the worker could not start or has failed.
    """
    open_standard_files()
    configure_logging(options.loglevel, options.log_format, TaskLogFilter())
    problem = _start_problem(options)
    if problem is not None:
        return _refuse([problem])
    with StopSignals() as signals:
        return _run_reloading(load, options, signals) if options.reload else _run(load, options, signals, None) or 0


def _run_reloading(load: Callable[[], ServableApp], options: WorkerOptions, signals: StopSignals) -> int:
    """Run a worker, and restart it whenever the app has changed."""
    sys.dont_write_bytecode = True  # otherwise Python ignores a second change within one second
    has_worked = False
    while True:
        watch = Watch()
        ended = _run(load, options, signals, watch)
        has_worked |= ended is None
        if ended in {0, INTERRUPTED} or not (has_worked or watch.may_help):
            return ended or 0
        if ended is not None:
            event("worker.waiting", until="a file of the app changes")
            while not watch.has_changed():
                if stops := signals.wait(CHECK_EVERY_S):
                    return _exit_code(stops[0])
        event("worker.reloading")


def _exit_code(stop: signal.Signals) -> int:
    return INTERRUPTED if stop == signal.SIGINT else 0


def _run(
    load: Callable[[], ServableApp], options: WorkerOptions, signals: StopSignals, watch: Watch | None
) -> int | None:
    """Run a worker once; returns its exit code, or None if the app has changed."""
    fork_server = _start(load, options, signals)
    if fork_server is None:
        return 1
    loaded = fork_server.loaded(signals)
    if isinstance(loaded, signal.Signals):
        fork_server.kill()
        event("worker.stopped", while_importing=True)
        return _exit_code(loaded)
    if isinstance(loaded, StartErrors):
        fork_server.channel.close()
        if watch is not None:
            watch.folders = loaded.folders or watch.folders
            watch.may_help = all(error.code not in _MISTYPED for error in loaded.errors)
        return _refuse(loaded.errors)
    settings: WorkerSettings = pickle.loads(loaded)  # noqa: S301 - from our own fork
    if watch is not None:
        watch.folders = settings.folders
    _banner(settings, options)
    try:
        has_changed = asyncio.run(_supervise(fork_server, settings, options, signals, watch))
    except (CallFailedError, HorsiesError) as failure:
        problem = failure if isinstance(failure, HorsiesError) else settings.broker.unusable(failure.message)
        return _refuse([problem])
    except (ChildrenCannotStartError, ForkServerDiedError) as error:
        event("worker.failed", level=logging.ERROR, reason=str(error))
        return 1
    return None if has_changed else 0


def _start(load: Callable[[], ServableApp], options: WorkerOptions, signals: StopSignals) -> ForkServer | None:
    """Start the fork server; returns None after an error, which is reported to the user."""
    try:
        fork_server = start_fork_server(partial(_load, load, options), options.start_method, signals)
    except OSError as error:
        event("worker.failed", level=logging.ERROR, reason=f"no process can be started: {error.strerror}")
        return None
    too_many = _too_many_files(options.processes)
    if too_many is None:
        return fork_server
    fork_server.kill()
    _refuse([too_many])
    return None


def _start_problem(options: WorkerOptions) -> HorsiesError | None:
    """Return an error if no worker can be started in this process."""
    if sends_are_suppressed():
        return HorsiesError(
            ErrorCode.MODULE_EXEC_ERROR,
            "a worker is run while the app is imported",
            location=caller_location(),
            help_text='call it only below: if __name__ == "__main__":',
        )
    if options.metrics_port is not None and (missing := missing_packages("--metrics-port")) is not None:
        return missing
    if options.start_method == "spawn":
        return None
    log_native_threads(options.start_method)
    return leftover_threads_error("this process has threads, so no worker can be forked from it")


def _too_many_files(processes: int) -> HorsiesError | None:
    """Raise the limit of open files to what the children need; returns an error if that is not possible.

    Only the supervisor needs the files. So call this after the start of the fork server, which keeps the old limit.
    """
    needed = _BASE_FILES + _FILES_OF_CHILD * (processes + 1)
    allowed = raise_open_files_limit(_BASE_FILES + 2 * _FILES_OF_CHILD * processes)  # a child and its replacement
    if allowed >= needed:
        return None
    return HorsiesError(
        ErrorCode.CLI_INVALID_ARGS,
        f"--processes={processes} needs {needed} open files, and the limit of this process is {allowed}",
        help_text="raise the limit (ulimit -n in a shell, LimitNOFILE= in a systemd unit), or use fewer processes",
    )


def _load(load: Callable[[], ServableApp], options: WorkerOptions) -> LoadedApp | StartErrors:
    """Import and check the app and all its tasks. Runs in the fork server."""
    try:
        app = _import(load, options)
        raise_all([*app.check(), *_unknown_queues(app.config, options)])
        _report_warnings(app)
        _add_inner_tasks(app)
        database = Database(app.config.broker)
        _ = database.url  # starts the embedded server, if the app uses it, so that its errors are reported here
    except HorsiesError as error:
        errors = flatten([error])
        return StartErrors(errors, app_folders(errors))
    except EmbeddedError as error:
        return StartErrors((HorsiesError(ErrorCode.BROKER_INIT_FAILED, str(error)),))
    settings = worker_settings(app.name, app.config, app.registry, app_folders())
    source = partial(_spawned_child, load) if options.start_method == "spawn" else partial(_forked_child, app)
    return LoadedApp(pickle.dumps(settings), settings.stale_after_s, database, partial(source, options))


def _report_warnings(app: ServableApp) -> None:
    """Raise for an app without tasks, because a worker would have nothing to do, and log other warnings.

    Suppressed sends were logged when they were attempted.
    """
    warnings = app.check_warnings()
    raise_all(warning for warning in warnings if warning.code is ErrorCode.APP_WITHOUT_TASKS)
    for warning in warnings:
        if warning.code is ErrorCode.SENT_AT_IMPORT:
            continue
        event("app.warned", level=logging.WARNING, code=warning.code, at=warning.location, problem=warning.message)


def _import(load: Callable[[], ServableApp], options: WorkerOptions) -> ServableApp:
    # Logging is not configured in a fresh interpreter.
    configure_logging(options.loglevel, options.log_format, TaskLogFilter())
    with sends_suppressed():
        return load()


def _forked_child(
    app: ServableApp, options: WorkerOptions, channel: socket.socket, tokens: int, liveness_pipe: int
) -> None:
    """Run a child that has inherited the app from the fork server."""
    config = app.config
    app.producer.runner.assume_prepared()  # by the supervisor; since then, the schema may have been upgraded
    executor = make_executor(config, app.registry, app.producer.runner)
    send_liveness_pings(liveness_pipe, config.recovery.running_stale_threshold_ms / 1000 / PINGS_PER_THRESHOLD)
    run_child(channel, tokens, executor, options, app.registry.hooks)


def _spawned_child(
    load: Callable[[], ServableApp], options: WorkerOptions, channel: socket.socket, tokens: int, liveness_pipe: int
) -> None:
    """Run a child that imports the app itself."""
    try:
        app = _import(load, options)
        raise_all(app.check())
        _add_inner_tasks(app)
    except HorsiesError as error:
        report_start_failure(channel, f"a child could not import the app: {error}")
    else:
        _forked_child(app, options, channel, tokens, liveness_pipe)


def _add_inner_tasks(app: ServableApp) -> None:
    """Register the built-in tasks that workflows need besides the app's own tasks."""
    for definition in inner_tasks(app):
        app.registry.add(definition)


def _unknown_queues(config: AppConfig, options: WorkerOptions) -> list[HorsiesError]:
    known = config.queue_names()
    return [
        HorsiesError(
            ErrorCode.CLI_INVALID_ARGS,
            f"--queues names {name!r}, which the app does not have",
            help_text=f"its queues are {', '.join(known)}",
        )
        for name in options.queues
        if name not in known
    ]


async def _supervise(
    fork_server: ForkServer,
    settings: WorkerSettings,
    options: WorkerOptions,
    signals: StopSignals,
    watch: Watch | None,
) -> bool:
    try:  # after the fork server has started, so that no child inherits the socket
        metrics = None if options.metrics_port is None else _metrics_service(settings, options)
    except HorsiesError:
        fork_server.kill()
        raise
    return await Supervisor(fork_server, settings, options, signals, watch, metrics=metrics).run()


def _metrics_service(settings: WorkerSettings, options: WorkerOptions) -> "MetricsService":
    from horsies.worker.metrics_service import MetricsService  # noqa: PLC0415 - its packages are optional

    return MetricsService(settings, options)


def _banner(settings: WorkerSettings, options: WorkerOptions) -> None:
    if ignored := settings.broker.ignored_url():
        event("database.url_ignored", url=ignored, because=f"{DEV_URL_VARIABLE} is set")
    event(
        "worker.starting",
        app=settings.app_name,
        version=__version__,
        database=settings.broker.masked_url(),
        queues=",".join(_with_cap(name, settings.queues[name]) for name in options.queues or settings.queues),
        cluster_cap=settings.cluster_cap,
        processes=options.processes,
        concurrency=options.concurrency,
        tasks=",".join(name for name in settings.task_names if not name.startswith("horsies.")),
    )


def _with_cap(queue: str, cap: int | None) -> str:
    return queue if cap is None else f"{queue}({cap})"


def _refuse(errors: Iterable[HorsiesError]) -> int:
    sys.stderr.write(render_errors(list(errors), color=use_color(sys.stderr)))
    return 1
