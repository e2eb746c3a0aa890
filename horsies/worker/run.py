"""`horsies worker`: from a way to get the app to an exit code."""

import asyncio
import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from horsies.config import AppConfig
from horsies.db.connect import Database
from horsies.db.operations import CallFailedError
from horsies.embedded import EmbeddedError
from horsies.errors import ErrorCode, HorsiesError, flatten, raise_all
from horsies.registry import Registry
from horsies.render import render_errors, use_color
from horsies.sending import sends_suppressed
from horsies.telemetry import configure_logging, event
from horsies.version import __version__
from horsies.worker.child import run_child
from horsies.worker.execute import Executor
from horsies.worker.pool import ChildrenCannotStartError, TemplateDiedError
from horsies.worker.settings import WorkerOptions, WorkerSettings
from horsies.worker.supervisor import Supervisor
from horsies.worker.template import StartErrors, Template, TemplateProcess, fork_template

_INTERRUPTED = 130


class ServableApp(Protocol):
    """What a worker needs of an app."""

    @property
    def name(self) -> str:
        """The app's name in the log."""
        ...

    @property
    def config(self) -> AppConfig:
        """Its configuration."""
        ...

    @property
    def registry(self) -> Registry:
        """Its tasks."""
        ...

    def check(self) -> list[HorsiesError]:
        """Import all task modules; what is wrong with them and the configuration."""
        ...


def run_worker(load: Callable[[], ServableApp], options: WorkerOptions) -> int:
    """Run a worker until it is told to stop.

    Args:
        load: gets the app; called in the template process, never in this one.
        options: the command line.

    Returns:
        The exit code: 0 after a stop in good order, 1 if the worker could not start or had to give up.
    """
    configure_logging(options.loglevel, options.log_format)
    template = fork_template(lambda: _load(load, options))
    try:
        loaded = template.loaded()
    except KeyboardInterrupt:
        os.kill(template.pid, signal.SIGKILL)
        return _INTERRUPTED
    if isinstance(loaded, StartErrors):
        return _refuse(loaded.errors)
    settings: WorkerSettings = pickle.loads(loaded)  # noqa: S301 - from our own fork
    _banner(settings, options)
    try:
        asyncio.run(_supervise(template, settings, options))
    except CallFailedError as failure:
        return _refuse([settings.broker.unusable(failure.message)])
    except (ChildrenCannotStartError, TemplateDiedError) as error:
        event("worker.failed", level=logging.ERROR, reason=str(error))
        return 1
    return 0


def _load(load: Callable[[], ServableApp], options: WorkerOptions) -> Template | StartErrors:
    """In the template process: import the app and all its tasks, and check them."""
    try:
        with sends_suppressed():
            app = load()
        raise_all([*app.check(), *app.config.unsupported(), *_unknown_queues(app.config, options)])
        database = Database(app.config.broker)
        _ = database.url  # starts the embedded server, if it is that; what is wrong with it is said here
    except HorsiesError as error:
        return StartErrors(flatten([error]))
    except EmbeddedError as error:
        return StartErrors((HorsiesError(ErrorCode.BROKER_INIT_FAILED, str(error)),))
    config = app.config
    settings = WorkerSettings(
        app_name=app.name,
        broker=config.broker,
        recovery=config.recovery,
        resilience=config.resilience,
        queues=config.queue_names(),
        task_names=tuple(app.registry.names),
        async_names=frozenset(name for name in app.registry.names if app.registry.get(name).is_async),
    )
    executor = Executor(app.registry, config.exception_mapper, config.default_unhandled_error_code)
    child_main = partial(run_child, executor=executor, concurrency=options.concurrency)
    return Template(pickle.dumps(settings), database, child_main)


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


async def _supervise(template: TemplateProcess, settings: WorkerSettings, options: WorkerOptions) -> None:
    await Supervisor(template, settings, options).run()


def _banner(settings: WorkerSettings, options: WorkerOptions) -> None:
    event(
        "worker.starting",
        app=settings.app_name,
        version=__version__,
        database=settings.broker.masked_url(),
        queues=",".join(options.queues or settings.queues),
        processes=options.processes,
        concurrency=options.concurrency,
        tasks=",".join(settings.task_names),
    )


def _refuse(errors: Iterable[HorsiesError]) -> int:
    sys.stderr.write(render_errors(list(errors), color=use_color(sys.stderr)))
    return 1
