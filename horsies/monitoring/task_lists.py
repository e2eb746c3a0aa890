"""Lists of tasks that match a filter, page by page."""

from collections.abc import Sequence
from uuid import UUID

from horsies.codes import TASK_TERMINAL_STATES, TaskStatus
from horsies.db.operations import Operation
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.rows import TaskInfoRow
from horsies.monitoring.answers import TaskPage
from horsies.monitoring.asking import answered, refused, wrong_limit
from horsies.monitoring.filters import FilterField, FilterTerm, TaskQuery, parse_filter
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult, parse_id
from horsies.producer.info import ArgsFor, task_info
from horsies.result import Err, Ok
from horsies.tasks.registry import LARGEST_NUMBER

LIVE = [status for status in TaskStatus if status not in TASK_TERMINAL_STATES]
"""The statuses of tasks that have not ended."""


def search(
    args_for: ArgsFor, wanted: str | TaskQuery, before: str | None, limit: int, *, with_args: bool
) -> Operation[BrokerResult[TaskPage]]:
    """Return a page of the tasks that match a filter; see `Broker.search_tasks`."""
    parsed = Ok(wanted) if isinstance(wanted, TaskQuery) else parse_filter(wanted)
    if isinstance(parsed, Err):
        return refused(f"invalid filter: {parsed.err_value}")
    if (wrong := wrong_limit(limit, 0, LARGEST_NUMBER)) is not None:
        return wrong
    cursor = None if before is None else parse_id(before)
    if before is not None and cursor is None:
        return refused(f"before must be the id of a task, got {short_repr(before)}")

    def page(answer: tuple[list[TaskInfoRow], UUID | None, bool]) -> TaskPage:
        rows, next_before, is_cut = answer
        infos = [task_info(row, None, None, with_reason=False, args_for=args_for) for row in rows]
        return TaskPage(tuple(infos), None if next_before is None else str(next_before), is_cut)

    call = monitoring_queries.find_tasks(parsed.ok_value.document(), cursor, limit, with_args=with_args)
    return (yield from answered(call)).map(page)


def search_live(
    args_for: ArgsFor, wanted: str | TaskQuery, before: str | None, limit: int
) -> Operation[BrokerResult[TaskPage]]:
    """Return a page of the live tasks that match a filter. Ended tasks are not searched."""
    parsed = Ok(wanted) if isinstance(wanted, TaskQuery) else parse_filter(wanted)
    if isinstance(parsed, Err):
        return refused(f"invalid filter: {parsed.err_value}")
    query = _only_live(parsed.ok_value)
    if query is None:
        return Ok(TaskPage((), None, is_cut=False))
    return (yield from search(args_for, query, before, limit, with_args=False))


def _only_live(query: TaskQuery) -> TaskQuery | None:
    """Return a filter that selects only the live tasks of the given one; None: it selects no live tasks."""
    kept = selected_statuses(query, LIVE, LIVE)
    return with_statuses(query, kept) if kept else None


def selected_statuses(
    query: TaskQuery, possible: Sequence[TaskStatus], unless_named: Sequence[TaskStatus]
) -> list[TaskStatus]:
    """Return those of the possible statuses that a filter selects.

    Args:
        query: The filter.
        possible: The statuses that can be returned.
        unless_named: The statuses that a filter selects if it names none; those that it excludes are left out.
    """
    terms = [each for each in query.terms if each.field is FilterField.STATUS]
    named = {each.value for each in terms if not each.is_negated} or set(unless_named)
    excluded = {each.value for each in terms if each.is_negated}
    return [status for status in possible if status in named - excluded]


def with_statuses(query: TaskQuery, statuses: Sequence[TaskStatus]) -> TaskQuery:
    """Return a filter that selects only tasks with these statuses, and otherwise the same as the given one."""
    others = [each for each in query.terms if each.field is not FilterField.STATUS]
    return TaskQuery((*others, *(FilterTerm(FilterField.STATUS, status) for status in statuses)))
