"""Commands on many tasks: they show a preview, ask, and then process exactly the previewed tasks, in batches."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer

from horsies.app import Horsies
from horsies.cli.database import ask, did_you_mean
from horsies.cli.output import batches_with_bar, confirm, print_table, say, utc
from horsies.codes import TASK_TERMINAL_STATES, TaskStatus
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, raise_all
from horsies.monitoring.answers import RerunCandidate, RerunOutcome, RerunPreview
from horsies.monitoring.broker import Broker
from horsies.monitoring.texts import counted
from horsies.producer.handle import BrokerResult
from horsies.producer.info import TaskInfo
from horsies.result import Err, Ok

_BATCH = 500
_SAMPLE = 5
_SAMPLE_COLUMNS = "task_id task_name error_code ended_at"
_LATEST = 1000
_WHY_LEFT_OUT = {
    "changed": "sent again by somebody else since the preview",
    "unknown": "pruned since the preview",
    "live": "not ended",
}


def parse_time(text: str) -> datetime:
    """Parse a time in ISO 8601 from the command line. A time without a zone is in UTC.

    Raises:
        BadParameter: the text is not such a time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a time: write it as 2026-11-25, 2026-11-25T20:52:30 or 2026-11-25T20:52:30+01:00"
        raise typer.BadParameter(message) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def require_condition(options: str, *conditions: object) -> None:
    """Refuse a command that would act on all tasks, because it has no condition.

    Args:
        options: the options that set conditions. The caller must give at least one of them.
        conditions: the value of each option; None if it was not given.
    """
    if all(condition is None for condition in conditions):
        message = f"name tasks by their ids, or give {options}"
        raise typer.BadParameter(message, param_hint="TASK_ID")


def refuse_conditions(*conditions: object) -> None:
    """Refuse conditions that are given together with ids, because they would have no effect."""
    if any(condition is not None for condition in conditions):
        message = "give either ids or conditions such as --name, not both"
        raise typer.BadParameter(message, param_hint="TASK_ID")


def cancel_all(app: Horsies, queue: str | None, name: str | None, *, yes: bool) -> None:
    """Cancel all tasks of a queue or name that are live now, after asking for confirmation."""
    require_condition("--queue or --name", queue, name)
    ids = ask(app, lambda broker: broker.get_live_ids(queue_name=queue, task_name=name))
    if not ids:
        say(no_such_tasks(app, queue, name), err=True)
        return
    if not yes:
        confirm(f"cancel {counted(len(ids), 'task')}?")
    ended: list[str] = []
    try:
        ask(app, lambda broker: _in_batches(ids, "cancelling", broker.cancel_tasks, ended.extend))
    finally:  # also after an error or Ctrl-C
        say(f"cancelled {len(ended):,} of {len(ids):,}")


def rerun_all(app: Horsies, limit: int, conditions: Mapping[str, Any], *, yes: bool) -> None:
    """Rerun all tasks that match the conditions of `Broker.preview_rerun`, after a preview and a confirmation."""
    selected = conditions["queue_name"], conditions["task_name"], conditions["error_codes"]
    require_condition("--queue, --name or --error-code", *selected)
    _refuse_live(conditions["statuses"])
    preview, sample = ask(app, lambda broker: _preview(broker, limit, conditions))
    if not preview.candidates:
        say(_left_out(preview) or no_such_tasks(app, *selected), err=True)
        return
    _show_preview(preview, sample, conditions)
    if not yes:
        confirm(f"rerun {counted(len(preview.candidates), 'task')}?")

    outcomes: list[RerunOutcome] = []

    def keep(found: Sequence[RerunOutcome]) -> None:
        outcomes.extend(found)
        for each in found:
            if each.new_task_id is not None:
                say(each.new_task_id)

    try:
        ask(app, lambda broker: _in_batches(preview.candidates, "sending", broker.rerun_tasks, keep))
    finally:
        sent = sum(each.new_task_id is not None for each in outcomes)
        say(f"sent {sent:,} of {len(preview.candidates):,}", err=True)
        for verdict, reason in _WHY_LEFT_OUT.items():
            count = sum(each.verdict == verdict for each in outcomes)
            if count:
                say(f"left out {counted(count, 'task')}: {reason}", err=True)


def rerun_named(app: Horsies, ids: Sequence[str]) -> None:
    """Rerun the tasks with these ids, except those that already have a rerun, and print the new ids.

    Raises:
        ConfigurationError: HRS-206, one task was not sent; the others were.
        MultipleValidationErrors: several tasks were not sent.
    """
    refused: list[HorsiesError] = []

    def keep(found: Sequence[RerunOutcome]) -> None:
        for each in found:
            if each.new_task_id is not None:
                say(each.new_task_id)
            else:
                refused.append(_not_sent(each))

    candidates = [RerunCandidate(task_id, reruns=0) for task_id in dict.fromkeys(ids)]
    ask(app, lambda broker: _in_batches(candidates, "sending", broker.rerun_tasks, keep))
    raise_all(refused)


def _not_sent(outcome: RerunOutcome) -> ConfigurationError:
    task_id = outcome.task_id
    match outcome.verdict:
        case "changed":
            message = f"task {task_id} has a rerun already"
            fix = "add --again to send it once more; `horsies tasks show` names its reruns"
        case "live":
            message, fix = f"task {task_id} has not ended", "wait for its end, or cancel it first"
        case _:
            return no_task(task_id)
    return ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text=fix)


def no_task(task_id: str) -> ConfigurationError:
    """Return the error for an id that no task has."""
    message = f"there is no task {task_id}; its record may have been pruned"
    return ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text="see: horsies tasks list")


def no_such_tasks(app: Horsies, queue: str | None, name: str | None, codes: Sequence[str] | None = None) -> str:
    """Return the message that no task matches; it suggests a similar queue, name or code for an unknown one."""
    workers = ask(app, lambda broker: broker.get_worker_stats())
    waiting = ask(app, lambda broker: broker.get_waiting_names())
    latest = ask(app, lambda broker: broker.list_tasks(limit=_LATEST))
    names = {each.task_name for each in waiting} | {each.task_name for each in latest}
    queues = {each.queue for each in waiting} | {each.queue_name for each in latest}
    for worker in workers:
        names.update(worker.task_names)
        queues.update(worker.queues)
    ended = ask(app, lambda broker: broker.get_ended_codes()) if codes else []
    given = [(name, names), (queue, queues), *((code, ended) for code in codes or [])]
    suggestions = [did_you_mean(each, known) for each, known in given if each]
    return "no such tasks" + next(filter(None, suggestions), "")


async def _preview(
    broker: Broker, limit: int, conditions: Mapping[str, Any]
) -> BrokerResult[tuple[RerunPreview, list[TaskInfo]]]:
    """Fetch the preview and the details of its first tasks."""
    found = await broker.preview_rerun(limit=limit, **conditions)
    if isinstance(found, Err):
        return found
    sample: list[TaskInfo] = []
    for candidate in found.ok_value.candidates[:_SAMPLE]:
        info = await broker.get_task_info_async(candidate.task_id)
        if isinstance(info, Err):
            return info
        if info.ok_value is not None:
            sample.append(info.ok_value)
    return Ok((found.ok_value, sample))


async def _in_batches[T, R](
    items: Sequence[T],
    doing: str,
    act: Callable[[Sequence[T]], Awaitable[BrokerResult[list[R]]]],
    keep: Callable[[Sequence[R]], object],
) -> BrokerResult[None]:
    """Process items batch by batch until an error occurs. ``keep`` receives the results of each batch."""
    for batch in batches_with_bar(items, doing, _BATCH):
        answer = await act(batch)
        if isinstance(answer, Err):
            return answer
        keep(answer.ok_value)
    return Ok(None)


def _refuse_live(statuses: Sequence[TaskStatus]) -> None:
    live = [status for status in statuses if status not in TASK_TERMINAL_STATES]
    if live:
        message = f"tasks that are {live[0]} have not ended: cancel them first, or wait for their end"
        raise typer.BadParameter(message, param_hint="--status")


def _show_preview(preview: RerunPreview, sample: Sequence[TaskInfo], conditions: Mapping[str, Any]) -> None:
    """Print to standard error how many tasks will be sent, the first few of them, and how many are left out."""
    kinds = ", ".join(status.value for status in conditions["statuses"])
    count = len(preview.candidates)
    limited = f", those of {preview.matching:,} that ended first (see --limit)" if count < preview.matching else ""
    say(f"to be sent again: {counted(count, 'task')} ({kinds}){limited}", err=True)
    say(f"cut-off: tasks that ended after {utc(preview.cut_off)} are not among them", err=True)
    if preview.left_out:
        say(_left_out(preview), err=True)
    print_table(sample, _SAMPLE_COLUMNS, err=True)
    if count > len(sample):
        say(f"and {count - len(sample):,} more", err=True)


def _left_out(preview: RerunPreview) -> str:
    """Return a sentence about the tasks that already have a rerun, or an empty string if there are none."""
    if not preview.left_out:
        return ""
    verb, them = ("has", "it") if preview.left_out == 1 else ("have", "them")
    return f"left out: {counted(preview.left_out, 'task')} that {verb} a rerun already; --again includes {them}"
