"""Finding entries of exception mappers that can never match, because another entry always takes precedence."""

from collections.abc import Iterator

from horsies.codes import ContractCode, OperationalErrorCode
from horsies.config.app import AppConfig
from horsies.config.retry import ExceptionMapper
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, SourceLocation
from horsies.tasks.registry import Registry, TaskDefinition
from horsies.workflows.nodes import WorkflowContextMissingIdError

_MOST_NAMED = 5


def unmatched_entries(config: AppConfig, registry: Registry) -> list[HorsiesError]:
    """Find entries and default codes that no exception can reach.

    The mapper of a task takes precedence over that of the app, and in each mapper the entry for the nearest base class
    of the exception applies. So for its own class, an entry takes precedence over all others of its mapper, whatever
    their order. An entry can never match in two cases only: the library assigns a fixed code to that exception, or the
    entry is in the app's mapper and the mappers of all tasks contain its class or one of its base classes.
    """
    tasks = [registry.get(name) for name in registry.names if not name.startswith("horsies.")]
    found = [*_taken_by_the_library(config.exception_mapper, "the app", None)]
    for task in tasks:
        owner = f"task {task.name!r}"
        found += _taken_by_the_library(task.exception_mapper or {}, owner, task.location)
    found += _taken_by_all_tasks(config.exception_mapper, tasks)
    found += _unused_defaults(config, tasks)
    return found


def _taken_by_the_library(
    mapper: ExceptionMapper, owner: str, location: SourceLocation | None
) -> Iterator[HorsiesError]:
    for kind, code in mapper.items():
        if issubclass(kind, WorkflowContextMissingIdError):
            message = f"{owner} maps {kind.__name__} to {code}, and this never happens"
            note = f"this exception always becomes {ContractCode.WORKFLOW_CTX_MISSING_ID}"
            yield _warning(message, note, "remove the entry", location)


def _taken_by_all_tasks(mapper: ExceptionMapper, tasks: list[TaskDefinition]) -> Iterator[HorsiesError]:
    for kind, code in mapper.items():
        taken = {task.name: base for task in tasks if (base := _nearest(task.exception_mapper or {}, kind)) is not None}
        if tasks and len(taken) == len(tasks):
            message = f"the app maps {kind.__name__} to {code}, and this never happens"
            shown = [f"task {name!r} maps {base.__name__}" for name, base in list(taken.items())[:_MOST_NAMED]]
            more = len(taken) - len(shown)
            note = f"the mappers of all tasks come first: {', '.join(shown)}" + (f" and {more} more" if more else "")
            yield _warning(message, note, "remove the entry of the app, or those of the tasks", None)


def _unused_defaults(config: AppConfig, tasks: list[TaskDefinition]) -> Iterator[HorsiesError]:
    for task in tasks:
        mappers = {f"task {task.name!r}": task.exception_mapper or {}, "the app": config.exception_mapper}
        owner = next((owner for owner, mapper in mappers.items() if BaseException in mapper), None)
        if owner is not None and task.default_unhandled_error_code is not None:
            message = (
                f"task {task.name!r} has the default_unhandled_error_code {task.default_unhandled_error_code}, "
                "and this is never used"
            )
            yield _warning(message, f"{owner} maps BaseException, which is every exception", "remove it", task.location)
    code = config.default_unhandled_error_code
    if BaseException in config.exception_mapper and code != OperationalErrorCode.UNHANDLED_EXCEPTION:
        message = f"the app has the default_unhandled_error_code {code}, and this is never used"
        yield _warning(message, "the app maps BaseException, which is every exception", "remove it", None)


def _nearest(mapper: ExceptionMapper, kind: type[BaseException]) -> type[BaseException] | None:
    return next((base for base in kind.__mro__ if base in mapper), None)


def _warning(message: str, note: str, fix: str, location: SourceLocation | None) -> HorsiesError:
    code = ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER
    return ConfigurationError(code, message, location=location, notes=[note], help_text=fix)
