"""Entries of exception mappers that can never match are found, and no others."""

from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from horsies import AppConfig, ExceptionMapper, Horsies, PostgresConfig, TaskError, TaskResult
from horsies.errors import ErrorCode, HorsiesError
from horsies.workflows.nodes import WorkflowContextMissingIdError


def found(app_mapper: ExceptionMapper, *tasks: dict[str, Any], default: str | None = None) -> list[HorsiesError]:
    options = {} if default is None else {"default_unhandled_error_code": default}
    broker = PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/none")
    app = Horsies(AppConfig(broker=broker, exception_mapper=app_mapper, **options))
    for number, task in enumerate(tasks):

        def fetch() -> TaskResult[int, TaskError]:
            raise AssertionError

        fetch.__qualname__ = f"fetch_{number}"
        app.task(f"fetch_{number}", **task)(fetch)
    return [each for each in app.check_warnings() if each.code is not ErrorCode.APP_WITHOUT_TASKS]


MAPPED = {"exception_mapper": {OSError: "TASK_SYSTEM"}}


def test_an_entry_of_the_app_is_unreachable_if_the_mappers_of_all_tasks_come_first() -> None:
    [warning] = found({URLError: "APP_URL", KeyError: "APP_KEY"}, MAPPED, {"exception_mapper": {URLError: "TASK_URL"}})
    assert warning.code is ErrorCode.CONFIG_INVALID_EXCEPTION_MAPPER
    assert warning.message == "the app maps URLError to APP_URL, and this never happens"
    assert warning.notes == (
        "the mappers of all tasks come first: task 'fetch_0' maps OSError, task 'fetch_1' maps URLError",
    )


@pytest.mark.parametrize(
    ("app_mapper", "tasks"),
    [
        ({OSError: "A", URLError: "B", HTTPError: "C", Exception: "D"}, [{}]),
        ({HTTPError: "A", URLError: "B", OSError: "C"}, [{}]),
        ({URLError: "A"}, [MAPPED, {}]),
        ({OSError: "A"}, [{"exception_mapper": {URLError: "B"}}]),
        ({OSError: "A"}, []),
        ({Exception: "A"}, [{"default_unhandled_error_code": "B"}]),
        ({}, [{"exception_mapper": {URLError: "A", OSError: "B"}, "default_unhandled_error_code": "C"}]),
    ],
    ids=["general first", "special first", "one task without", "task has a subclass", "no task", "exits", "own"],
)
def test_an_entry_that_can_match_is_no_mistake(app_mapper: ExceptionMapper, tasks: list[dict[str, Any]]) -> None:
    assert found(app_mapper, *tasks) == []


def test_an_exception_with_a_code_of_the_library_needs_no_entry() -> None:
    [of_app, of_task] = found(
        {WorkflowContextMissingIdError: "A"}, {"exception_mapper": {WorkflowContextMissingIdError: "B"}}, {}
    )
    assert (of_app.location, of_app.message.split()[1]) == (None, "app")
    assert of_task.location is not None
    assert "task 'fetch_0' maps WorkflowContextMissingIdError to B" in of_task.message


def test_a_default_behind_a_mapper_of_every_exception_is_never_used() -> None:
    every: ExceptionMapper = {BaseException: "ANY"}
    [of_task] = found({}, {"exception_mapper": every, "default_unhandled_error_code": "A"})
    assert "default_unhandled_error_code A, and this is never used" in of_task.message
    assert of_task.location is not None
    [of_task, of_app] = found(every, {"default_unhandled_error_code": "A"}, default="B")
    assert of_task.notes == ("the app maps BaseException, which is every exception",)
    assert "the app has the default_unhandled_error_code B" in of_app.message
