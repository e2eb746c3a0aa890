"""Checking an app before it is served: phases, each gated on the one before, which report all they find."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import partial

import psycopg

from horsies.config import AppConfig, validate_default_code
from horsies.db import calls_monitor, migrate
from horsies.db.connect import Database
from horsies.db.failures import call_failed
from horsies.db.rows import WaitingNameRow
from horsies.embedded import EmbeddedError
from horsies.errors import ErrorCode, HorsiesError, TaskDefinitionError, WorkflowValidationError, collecting, flatten
from horsies.modules import import_tasks
from horsies.registry import Registry
from horsies.retry import RetryPolicy, validate_exception_mapper
from horsies.scheduler.plan import plan_schedules
from horsies.sending import sends_suppressed
from horsies.settings import Settings

_MOST = 1000

type Phase = Callable[[], Iterable[HorsiesError]]


def check_app(config: AppConfig, registry: Registry, modules: Sequence[str], *, live: bool) -> list[HorsiesError]:
    """Go through the phases; what the first that finds something found, or an empty list."""
    found = registry.problems  # modules are imported once: what was collected while they were stays known
    with sends_suppressed(), collecting(found):
        phases: list[Phase] = [
            partial(_check_config, config),
            partial(_import, modules, found),
            lambda: found,  # workflow specs that were met on the way
            partial(_check_policies, config, registry),
            partial(_check_schedules, config, registry),
        ]
        if live:
            phases.append(partial(_check_database, config, registry))
        for phase in phases:
            if problems := list(phase()):
                return problems
    return []


def _check_config(config: AppConfig) -> Iterator[HorsiesError]:
    """Settings that were changed without their constructor, which has checked them once."""
    for settings in (config, *(value for _, value in config if isinstance(value, Settings))):
        yield from (wrong.error for wrong in settings.contradictions())


def _import(modules: Sequence[str], found: list[HorsiesError]) -> list[HorsiesError]:
    """Import all modules. A wrong task makes workflows wrong that have it, so these come later."""
    problems = import_tasks(modules)
    return [error for error in (*found, *problems) if not isinstance(error, WorkflowValidationError)]


def _check_policies(config: AppConfig, registry: Registry) -> Iterator[HorsiesError]:
    yield from wrong_policies(None, config.exception_mapper, config.default_unhandled_error_code)
    for name in registry.names:
        task = registry.get(name)
        for problem in wrong_policies(task.retry_policy, task.exception_mapper, task.default_unhandled_error_code):
            problem.location = problem.location or task.location
            yield problem


def _check_schedules(config: AppConfig, registry: Registry) -> Iterable[HorsiesError]:
    try:
        plan_schedules(config, registry)
    except HorsiesError as error:
        return flatten([error])
    return ()


def wrong_policies(retry_policy: object, exception_mapper: object, default_code: object) -> Iterator[HorsiesError]:
    """Find what is wrong with a task's policies, or an app's: HRS-102, HRS-209, HRS-212. None stands for none."""
    if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
        problem = f"retry_policy must be a RetryPolicy, got a {type(retry_policy).__name__}"
        fix = "write retry_policy=RetryPolicy.fixed([60, 300], auto_retry_for=[…])"
        yield TaskDefinitionError(ErrorCode.TASK_INVALID_OPTIONS, problem, help_text=fix)
    if exception_mapper is not None:
        yield from validate_exception_mapper(exception_mapper)
    if default_code is not None:
        yield from validate_default_code(default_code)


def _check_database(config: AppConfig, registry: Registry) -> Iterator[HorsiesError]:
    """Ask the database: nothing is changed there, not even a schema made."""
    broker = config.broker
    database = Database(broker)
    try:
        with database.connect() as connection:
            lacking = migrate.lacking_rights(connection, broker.schema_name)
            if lacking:
                yield broker.unusable(f"the user {connection.info.user!r} lacks {', '.join(lacking)}")
                return
            found = migrate.status(connection, broker.schema_name)
            migrate.check_not_newer(found, broker.schema_name)
            if found.is_current:
                for waiting in database.ask(connection, calls_monitor.waiting_names(_MOST)):
                    if waiting.task_name not in registry and not waiting.is_served:
                        yield _orphaned(waiting, registry)
            elif not broker.auto_migrate:
                yield broker.unusable(f"schema {broker.schema_name!r} is {found.describe()}")
    except HorsiesError as error:
        yield error
    except (psycopg.Error, EmbeddedError, migrate.SchemaTooNewError) as error:
        yield broker.unusable(call_failed(error).message)


def _orphaned(waiting: WaitingNameRow, registry: Registry) -> HorsiesError:
    name, count = waiting.task_name, f"{waiting.waiting}{'+' if waiting.waiting == _MOST else ''}"
    near = get_close_matches(name, registry.names, n=1)
    return HorsiesError(
        ErrorCode.TASK_NOT_REGISTERED,
        f"{count} tasks wait in queue {waiting.queue!r} as {name!r}, which neither this app nor a live worker has",
        notes=[f"the app has {near[0]!r}"] if near else [],
        help_text=f"keep a task of that name until they have run, or run: horsies tasks cancel --name {name}",
    )
