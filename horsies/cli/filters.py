"""Filters on the command line: the argument FILTER, and the options that select tasks as well."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from horsies.codes import TASK_TERMINAL_STATES, TaskStatus
from horsies.errors import ConfigurationError, ErrorCode
from horsies.monitoring.filters import FilterField, FilterTerm, TaskQuery, literal_pattern, parse_filter
from horsies.result import Err


def query_of(text: str) -> TaskQuery:
    """Parse a filter of the command line.

    Raises:
        ConfigurationError: HRS-206, with the place of the mistake and the fix.
    """
    parsed = parse_filter(text)
    if isinstance(parsed, Err):
        mistake = parsed.err_value
        message = f"{mistake.message}\n{mistake.marked()}"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text=mistake.help_text)
    return parsed.ok_value


def with_options(  # noqa: PLR0913 - one keyword an option
    query: TaskQuery,
    *,
    statuses: Sequence[TaskStatus],
    queue: str | None,
    name: str | None,
    error_codes: Sequence[str],
    since: datetime | None,
    until: datetime | None,
) -> TaskQuery:
    """Add the conditions of options to a filter.

    Raises:
        ConfigurationError: HRS-206, the filter has terms of the same field already, which would become alternatives.
    """
    exact = ((FilterField.QUEUE, queue), (FilterField.TASK, name))
    times = ((FilterField.SINCE, since), (FilterField.UNTIL, until))
    added = [
        *(FilterTerm(FilterField.STATUS, status) for status in statuses),
        *(FilterTerm(field, literal_pattern(value)) for field, value in exact if value is not None),
        *(FilterTerm(FilterField.ERROR, literal_pattern(code)) for code in error_codes),
        *(FilterTerm(field, time.isoformat()) for field, time in times if time is not None),
    ]
    twice = {term.field for term in added} & {term.field for term in query.terms if not term.is_negated}
    if twice:
        message = f"the filter and an option both select by {min(twice).value!r}"
        raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text="give the condition in the filter only")
    if error_codes or since is not None or until is not None:
        added.extend(_not_live())
    return TaskQuery((*query.terms, *added))


def _not_live() -> Iterator[FilterTerm]:
    for status in TaskStatus:
        if status not in TASK_TERMINAL_STATES:
            yield FilterTerm(FilterField.STATUS, status, is_negated=True)
