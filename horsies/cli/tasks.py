"""``horsies tasks``: shows, cancels and reruns tasks."""

import json
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Annotated
from uuid import UUID

import typer

from horsies.app import Horsies
from horsies.cli.bulk import (
    cancel_all,
    no_such_tasks,
    no_task,
    parse_time,
    refuse_conditions,
    rerun_all,
    rerun_named,
)
from horsies.cli.database import AS_JSON, IDS, LOCATOR, ask, granted, operator, split_ids, viewer
from horsies.cli.filters import query_of, with_options
from horsies.cli.output import print_documents, print_facts, print_rows, print_table, say, utc, with_bar
from horsies.codes import BrokerErrorCode, TaskStatus
from horsies.db.queries.tasks import cancel as cancel_task
from horsies.errors import ConfigurationError, ErrorCode
from horsies.monitoring.asking import answered
from horsies.monitoring.broker import rerun as rerun_task
from horsies.monitoring.texts import counted
from horsies.producer.handle import BrokerResult
from horsies.producer.info import TaskInfo
from horsies.result import Err
from horsies.task_result import TaskError, added_fields

tasks = typer.Typer(
    no_args_is_help=True,
    help="Show, cancel and rerun tasks.\n\nExample: horsies tasks list instance:app --status FAILED",
)

_STATUS = typer.Option("--status", case_sensitive=False, help="Only tasks with this status; may be repeated.")
_QUEUE = typer.Option("--queue", help="Only tasks in this queue.")
_NAME = typer.Option("--name", help="Only tasks with this name.")
_FILTER = typer.Argument(metavar="[FILTER]", help="Only tasks that match, for example 'status:failed since:2h'.")
_BEFORE = typer.Option(
    "--before", metavar="TASK_ID", help="Continue a list: only tasks that were sent before this one."
)
_LIMIT = typer.Option("--limit", min=1, max=1000, help="Maximum number of tasks.")
_ERROR_CODE = typer.Option("--error-code", metavar="CODE", help="Only errors with this code; may be repeated.")
_SINCE = typer.Option(parser=parse_time, metavar="TIME", help="Only tasks that ended at this time (UTC) or later.")
_UNTIL = typer.Option(parser=parse_time, metavar="TIME", help="Only tasks that ended before this time (UTC).")
_AGAIN = typer.Option("--again", help="Include tasks that already have a rerun.")
_YES = typer.Option("--yes", help="Do not ask for confirmation.")

_COLUMNS = "task_id task_name status queue_name sent_at ended_at retry_count error_code reruns"
_ATTEMPTS = "attempt outcome started_at finished_at worker_process_name error_code error_message"


@tasks.command("list")
def list_(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str | None, LOCATOR] = None,
    wanted: Annotated[str, _FILTER] = "",
    *,
    status: Annotated[list[TaskStatus] | None, _STATUS] = None,
    queue: Annotated[str | None, _QUEUE] = None,
    name: Annotated[str | None, _NAME] = None,
    error_code: Annotated[list[str] | None, _ERROR_CODE] = None,
    since: Annotated[datetime | None, _SINCE] = None,
    until: Annotated[datetime | None, _UNTIL] = None,
    before: Annotated[str | None, _BEFORE] = None,
    limit: Annotated[int, _LIMIT] = 20,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """List tasks, the most recently sent first.

    FILTER selects tasks: status:failed queue:mail task:send_* error:TIMEOUT worker:host key:tenant-7 run:ID id:ID
    since:2h until:10m. A "-" before a term excludes tasks, and quotes allow spaces. The times are those of sending for
    live tasks, and those of the end for ended ones. The options select tasks as well; with --error-code, --since or
    --until, only ended tasks are listed. Of the ended tasks and of the live ones, 100,000 each are searched at most.

    The column RERUNS shows how many reruns a task has.

    Example: horsies tasks list instance:app 'status:failed task:send_* since:2h'
    """
    query = with_options(
        query_of(wanted),
        statuses=status or (),
        queue=queue,
        name=name,
        error_codes=error_code or (),
        since=since,
        until=until,
    )
    app = viewer(locator)
    page = ask(app, lambda broker: broker.search_tasks(query, before=before, limit=limit))
    nothing = partial(no_such_tasks, app, queue, name, error_code)
    print_rows([_row(info) for info in page.tasks], _COLUMNS, nothing, page.tasks if as_json else None)
    if page.next_before is not None:
        searched = "the latest 100,000 tasks were searched" if page.is_cut else "there are more tasks"
        say(f"{searched}; to continue: --before {page.next_before}", err=True)


def _row(info: TaskInfo) -> SimpleNamespace:
    """Return a task as a row of the table, with the number of its reruns instead of their ids."""
    shown = {name: getattr(info, name) for name in _COLUMNS.split()}
    return SimpleNamespace(**shown | {"reruns": len(info.reruns) or None})


@tasks.command()
def show(
    arguments: Annotated[list[str], IDS],
    *,
    no_args: Annotated[bool, typer.Option("--no-args", help="Do not show the arguments.")] = False,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Show everything about a task: its state, arguments, result and attempts. Exits with 1 if it does not exist.

    Example: horsies tasks show instance:app 01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e
    """
    locator, ids = split_ids(arguments, needed="task")
    app = viewer(locator)
    found: list[TaskInfo] = []
    for task_id in ids:
        info = granted(
            app, app.handle(task_id).info(include_result=True, include_attempts=True, include_args=not no_args)
        )
        if info is None:
            raise no_task(task_id)
        found.append(info)
        if not as_json:
            _print_task(info)
    if as_json:
        print_documents(found)
    app.close()


def _print_task(info: TaskInfo) -> None:
    apart = {"attempts", "result", "args"}
    facts = {name: getattr(info, name) for name in TaskInfo.__slots__ if name not in apart}
    if (last := info.postponed) is not None:
        facts["postponed"] = (
            f"{counted(last.count, 'time')}, last {last.code} at {utc(last.at)} until {utc(last.until)}"
            + ("" if last.message is None else f": {last.message}")
        )
    if info.args is not None:
        facts["args"] = json.dumps(info.args, ensure_ascii=False)
    result = info.result
    if result is not None:
        if result.is_ok():
            facts["result"] = json.dumps(result.ok_value, ensure_ascii=False)
        else:
            facts |= _error_facts(result.err_value)
    print_facts(facts)
    if info.attempts:
        say()
        print_table(info.attempts, _ATTEMPTS)


def _error_facts(error: TaskError) -> dict[str, object]:
    """Return the parts of an error by name. A subclass field whose name is already taken gets the prefix ``error.``."""
    facts: dict[str, object] = {
        "message": error.message,
        "data": None if error.data is None else json.dumps(error.data, ensure_ascii=False),
    }
    taken = facts.keys() | set(TaskInfo.__slots__) | {"exception"}
    for name, value in added_fields(error).items():
        facts[f"error.{name}" if name in taken else name] = json.dumps(value, ensure_ascii=False)
    if isinstance(error.exception, dict):
        facts["exception"] = str(error.exception["traceback"]).rstrip()
    return facts


@tasks.command()
def cancel(
    arguments: Annotated[list[str] | None, IDS] = None,
    *,
    queue: Annotated[str | None, _QUEUE] = None,
    name: Annotated[str | None, _NAME] = None,
    yes: Annotated[bool, _YES] = False,
) -> None:
    """Cancel live tasks: those with the given ids, or all tasks of a queue or name. Running tasks are stopped.

    With --queue or --name, the command cancels the tasks that are live when it asks, and none that are sent later.

    Example: horsies tasks cancel instance:app --name add_numbers
    """
    locator, ids = split_ids(arguments or [])
    app = viewer(locator)
    if not ids:
        cancel_all(app, queue, name, yes=yes)
        return
    refuse_conditions(queue, name)
    ended = sum(_cancel(app, task_id) for task_id in with_bar(ids, "cancelling"))
    say(f"cancelled {ended} of {len(ids)}")
    app.close()


def _cancel(app: Horsies, task_id: str) -> bool:
    """Cancel a task, which must exist; returns whether this call ended it."""
    verdict = granted(app, app.producer.runner.run(answered(cancel_task(UUID(task_id), who=operator()))))
    if verdict == "unknown":
        raise no_task(task_id)
    return verdict == "cancelled"


@tasks.command()
def rerun(  # noqa: PLR0913 - one parameter an option
    arguments: Annotated[list[str] | None, IDS] = None,
    *,
    status: Annotated[list[TaskStatus] | None, _STATUS] = None,
    queue: Annotated[str | None, _QUEUE] = None,
    name: Annotated[str | None, _NAME] = None,
    error_code: Annotated[list[str] | None, _ERROR_CODE] = None,
    since: Annotated[datetime | None, _SINCE] = None,
    until: Annotated[datetime | None, _UNTIL] = None,
    again: Annotated[bool, _AGAIN] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number; the first to end are chosen.")] = 1000,
    yes: Annotated[bool, _YES] = False,
) -> None:
    """Send ended tasks again, as new tasks: those with the given ids, or all of a queue, name or error code.

    The command prints the new ids. With --queue, --name or --error-code it sends failed tasks, unless --status names
    another status. It leaves out tasks that already have a rerun, and it refuses such a task if its id is given;
    --again sends them as well.

    Example: horsies tasks rerun instance:app --name add_numbers --error-code WORKER_CRASHED --since 2026-11-25T20:00
    """
    locator, ids = split_ids(arguments or [])
    app = viewer(locator)
    if not ids:
        conditions = {
            "statuses": status or [TaskStatus.FAILED],
            "queue_name": queue,
            "task_name": name,
            "error_codes": error_code,
            "since": since,
            "until": until,
            "again": again,
        }
        rerun_all(app, limit, conditions, yes=yes)
        return
    refuse_conditions(status, queue, name, error_code, since, until)
    if not again:
        rerun_named(app, ids)
        return
    for task_id in with_bar(ids, "sending"):
        sent = app.producer.runner.run(rerun_task(app.producer, task_id, app.handle, operator()))
        say(_answer(app, task_id, sent).task_id)
    app.close()


def _answer[R](app: Horsies, task_id: str, answer: BrokerResult[R]) -> R:
    if isinstance(answer, Err) and answer.err_value.code is BrokerErrorCode.TASK_NOT_FOUND:
        raise no_task(task_id)
    if isinstance(answer, Err) and answer.err_value.exception is None:  # the database did answer
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, answer.err_value.message)
    return granted(app, answer)
