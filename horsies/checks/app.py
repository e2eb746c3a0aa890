"""Checks of an app before it is served. They run in phases; a phase runs only if the earlier ones found no mistakes."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast, get_origin

import psycopg

from horsies.codec.problems import show_value
from horsies.codec.signature import function_location
from horsies.config.app import AppConfig, validate_default_code
from horsies.config.base import Settings
from horsies.config.retry import RetryPolicy, validate_exception_mapper
from horsies.db import migrate, rights
from horsies.db.connect import Database
from horsies.db.errors import call_failed
from horsies.db.migrate import Condition
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.rows import WaitingNameRow
from horsies.db.restrictions import find_restrictions
from horsies.db.rights import Kind
from horsies.embedded.server import EmbeddedError
from horsies.errors import (
    ConfigurationError,
    ErrorCode,
    HorsiesError,
    SourceLocation,
    TaskDefinitionError,
    WorkflowValidationError,
    collecting,
    flatten,
    raised_at,
    report,
)
from horsies.masking import mask_secrets
from horsies.producer.suppression import Suppression, sends_suppressed
from horsies.scheduler.plan import plan_schedules
from horsies.suggestions import similar_name
from horsies.tasks.discovery import import_tasks, loaded_module
from horsies.tasks.registry import Registry, WorkflowBuilder
from horsies.workflows.definition import AnyDefinition, WorkflowDefinition, definitions
from horsies.workflows.spec import App, WorkflowSpec

_MOST = 1000
_LISTED = 20

type Phase = Callable[[], Iterable[HorsiesError]]


def check_app(  # noqa: PLR0913 - one parameter a subject
    app: App, config: AppConfig, home: str, modules: Sequence[str], *, live: bool, kind: Kind | None = None
) -> list[HorsiesError]:
    """Run the phases, and return the mistakes of the first phase that finds any, or an empty list.

    Args:
        app: The app. Its registry keeps its ``problems``, because modules are imported only once.
        config: The configuration of the app.
        home: The module that made the app.
        modules: The modules that the app discovers.
        live: Whether to check the database as well.
        kind: The purpose of the database role; None: the kinds that were granted to it, or else a worker.
    """
    met: list[HorsiesError] = []
    registry = app.registry
    with sends_suppressed(found=registry.suppressed), collecting(registry.problems):
        phases: list[Phase] = [
            partial(_check_config, config),
            partial(_import, modules, registry, met),
            lambda: met,  # mistakes in workflow specs that earlier phases built
            partial(_check_copies, registry),
            _check_keys,
            partial(_check_definitions, app),
            partial(_check_builders, registry),
            partial(_check_undecorated, registry, [home, *modules]),
            partial(_check_policies, config, registry),
            partial(_check_schedules, config, registry),
        ]
        if live:
            phases.append(partial(_check_database, config, registry, kind))
        for phase in phases:
            if problems := list(phase()):
                return problems
    return []


def _check_config(config: AppConfig) -> Iterator[HorsiesError]:
    """Check settings again, because they may have been changed after their constructor checked them."""
    for settings in (config, *(value for _, value in config if isinstance(value, Settings))):
        yield from (wrong.error for wrong in settings.contradictions())


def _import(modules: Sequence[str], registry: Registry, met: list[HorsiesError]) -> list[HorsiesError]:
    """Import all modules. A later phase checks workflows, because an invalid task makes its workflows invalid."""
    raised = import_tasks(modules)  # a module that raised is imported again by the next check
    met += {str(error): error for error in (*registry.problems, *raised)}.values()
    return [error for error in met if not isinstance(error, WorkflowValidationError)]


def _check_copies(registry: Registry) -> Iterator[HorsiesError]:
    """Find a second copy of the app that received the tasks, because a file was imported under two names."""
    for copy in registry.copies():
        lost = [name for name in copy.names if name not in registry]
        if lost:
            yield ConfigurationError(
                ErrorCode.APP_IMPORTED_TWICE,
                f"the module of the app was imported twice, as {registry.module!r} and as {copy.module!r}, "
                "so there are two apps",
                location=registry.location,
                notes=[f"only the app of {copy.module!r} has the tasks {', '.join(lost)}"],
                help_text=f"use one name everywhere: import the app from {copy.module!r} in all modules of tasks, and "
                f"start with the locator {copy.module}:app",
            )


def _check_keys() -> Iterator[HorsiesError]:
    """Find definitions without a key. Nothing has built them yet, so no error was reported."""
    classes = cast("AnyDefinition", WorkflowDefinition).__subclasses__()
    for each in classes:  # the list grows during the loop
        classes.extend(each.__subclasses__())
        if each.can_be_built() and not each.__subclasses__() and not getattr(each, "definition_key", None):
            fix = f'add definition_key = "{each.__name__.lower()}.v1", which must not change while runs of it exist'
            yield WorkflowValidationError(
                ErrorCode.WORKFLOW_NO_DEFINITION_KEY,
                f"{each.__name__} has no definition_key",
                location=each.location,
                help_text=fix,
            )


def _check_definitions(app: App) -> list[HorsiesError]:
    """Build the definitions that use tasks of this app, as far as possible; others may belong to another app."""
    found: list[HorsiesError] = []
    with sends_suppressed(Suppression.CHECK), collecting(found):
        for definition in definitions().values():
            tasks = [getattr(getattr(node, "fn", None), "definition", None) for node in definition.nodes()]
            ours = all(task is None or app.registry.has(task) for task in tasks)
            if tasks and ours:
                (definition.partial_spec if definition.has_own_build_with() else definition.build)(app)
    return found


def _check_builders(registry: Registry) -> list[HorsiesError]:
    found: list[HorsiesError] = []
    with sends_suppressed(Suppression.CHECK), collecting(found):
        for builder in registry.builders:
            for case in builder.cases or [{}]:
                _try_builder(builder, case)
    return found


def _try_builder(builder: WorkflowBuilder, case: object) -> None:
    """Call a builder with each of its cases, and collect the errors of the calls and of the specs."""
    name = getattr(builder.fn, "__qualname__", repr(builder.fn))

    def wrong(code: ErrorCode, message: str, fix: str, at: SourceLocation | None = None) -> None:
        report([WorkflowValidationError(code, message, location=at or builder.location, help_text=fix)])

    try:
        bound = inspect.signature(builder.fn).bind(**cast("Mapping[str, Any]", case))
    except TypeError as error:
        if builder.cases:
            message = f"{name}() cannot be called with the case {show_value(case)}: {error}"
            wrong(ErrorCode.WORKFLOW_CHECK_CASE_INVALID, message, "a case is a dict of the builder's arguments by name")
        else:
            message, fix = f"{name}() needs cases: {error}", "write @app.workflow_builder(cases=[{…}])"
            wrong(ErrorCode.WORKFLOW_CHECK_CASES_REQUIRED, message, fix)
        return
    code = ErrorCode.WORKFLOW_CHECK_BUILDER_EXCEPTION
    try:
        built = builder.fn(*bound.args, **bound.kwargs)
    except HorsiesError as error:
        report([error])
    except Exception as error:  # noqa: BLE001 - user code
        message = f"{name}() raised {type(error).__name__} with the case {show_value(case)}: {error}"
        wrong(code, mask_secrets(message), "fix the builder or the case", raised_at(error))
    else:
        if not isinstance(built, WorkflowSpec):
            wrong(code, f"{name}() returned {show_value(built)}, which is not a WorkflowSpec", "return app.workflow(…)")


def _check_undecorated(registry: Registry, modules: Sequence[str]) -> Iterator[HorsiesError]:
    """Find functions that are annotated to return a `WorkflowSpec` but that no check calls."""
    known = {id(builder.fn) for builder in registry.builders}
    for module in dict.fromkeys(map(loaded_module, modules)):
        for name, fn in vars(module).items() if module is not None else ():
            is_own = inspect.isfunction(fn) and fn.__module__ == getattr(module, "__name__", None)
            if is_own and id(fn) not in known and _returns_spec(fn):
                yield WorkflowValidationError(
                    ErrorCode.WORKFLOW_CHECK_UNDECORATED_BUILDER,
                    f"{name}() returns a WorkflowSpec, and is not checked",
                    location=function_location(fn),
                    help_text="decorate it with @app.workflow_builder(cases=[…])",
                )


def _returns_spec(fn: Callable[..., object]) -> bool:
    returned = fn.__annotations__.get("return")
    if isinstance(returned, str):
        return returned.partition("[")[0].rpartition(".")[2] == WorkflowSpec.__name__
    return (get_origin(returned) or returned) is WorkflowSpec


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
    """Find mistakes in the policies of a task or an app: HRS-102, HRS-209, HRS-212. None means: there is no policy."""
    if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
        problem = f"retry_policy must be a RetryPolicy, got a {type(retry_policy).__name__}"
        fix = "write retry_policy=RetryPolicy.fixed([60, 300], auto_retry_for=[…])"
        yield TaskDefinitionError(ErrorCode.TASK_INVALID_OPTIONS, problem, help_text=fix)
    if exception_mapper is not None:
        yield from validate_exception_mapper(exception_mapper)
    if default_code is not None:
        yield from validate_default_code(default_code)


def _check_database(config: AppConfig, registry: Registry, kind: Kind | None) -> Iterator[HorsiesError]:
    """Check the database without changing it; not even the schema is created.

    Without a kind of rights to check, those that were granted to the role are checked, or else those of a worker.
    """
    broker = config.broker
    database = Database(broker)
    try:
        with database.connect() as connection:
            kinds = {kind} if kind else rights.own_kinds(connection, broker.schema_name) or {Kind.WORKER}
            lacking = rights.lacking_rights(
                connection,
                broker.schema_name,
                rights.functions_of(kinds),
                rights.views_of(kinds),
                to_create=broker.auto_migrate,
            )
            if lacking:
                yield broker.unusable(rights.describe_lacking(connection.info.user, lacking, kinds))
                return
            found = migrate.status(connection, broker.schema_name)
            migrate.check_usable(found, broker.schema_name)
            if found.condition is Condition.ROW_MISSING and not broker.auto_migrate:
                yield broker.unusable(f"schema {broker.schema_name!r} is {found.describe()}")
            if found.is_current and not rights.lacking_rights(connection, broker.schema_name, ["waiting_names"]):
                waiting = database.ask(connection, monitoring_queries.waiting_names(_MOST))
                orphaned = [each for each in waiting if each.task_name not in registry and not each.is_served]
                yield from (_orphaned(each, registry) for each in orphaned[:_LISTED])
                if len(orphaned) > _LISTED:
                    yield _more_orphaned(len(orphaned) - _LISTED)
            elif not found.is_current and not broker.auto_migrate:
                yield broker.unusable(f"schema {broker.schema_name!r} is {found.describe()}")
            elif not found.is_current and not migrate.may_migrate(connection, broker.schema_name):
                reason = f"schema {broker.schema_name!r} is {found.describe()}"
                yield broker.unusable(f"{reason}, run by the owner of the tables")
    except HorsiesError as error:
        yield error
    except (psycopg.Error, EmbeddedError, *migrate.MIGRATION_ERRORS) as error:
        yield broker.unusable(call_failed(error).message)


def find_live_warnings(config: AppConfig) -> list[HorsiesError]:
    """Find what restricts workers and programs in the database of an app, and can be a reason for later errors."""
    try:
        with Database(config.broker).connect() as connection:
            found = find_restrictions(connection, with_scheduler=config.schedule is not None)
    except (HorsiesError, psycopg.Error, EmbeddedError):
        return []  # `_check_database` reports it as an error
    return [HorsiesError(ErrorCode.DATABASE_RESTRICTED, each.found, help_text=each.fix) for each in found]


def _more_orphaned(count: int) -> HorsiesError:
    return HorsiesError(
        ErrorCode.TASK_NOT_REGISTERED,
        f"tasks wait under {count:,} other names that neither this app nor a live worker has",
        help_text="see: horsies doctor",
    )


def _orphaned(waiting: WaitingNameRow, registry: Registry) -> HorsiesError:
    name, count = waiting.task_name, f"{waiting.waiting}{'+' if waiting.waiting == _MOST else ''}"
    similar = similar_name(name, registry.names)
    return HorsiesError(
        ErrorCode.TASK_NOT_REGISTERED,
        f"{count} tasks wait in queue {waiting.queue!r} as {name!r}, which neither this app nor a live worker has",
        notes=[] if similar is None else [f"the app has {similar!r}"],
        help_text=f"keep a task of that name until they have run, or run: horsies tasks cancel --name {name}",
    )
