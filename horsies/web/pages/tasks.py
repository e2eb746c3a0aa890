"""The list of tasks that match a filter."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from horsies.codes import TaskStatus
from horsies.monitoring import all_tasks_async
from horsies.monitoring.filters import FilterField, FilterMistake, parse_filter, term
from horsies.producer.handle import parse_id
from horsies.producer.info import TaskInfo
from horsies.result import Err
from horsies.web.pages import common
from horsies.web.parameters import refuse
from horsies.web.visit import Visit

_LIMIT = 50
_MOST = 500
_MOST_FACETS = 8
_MOST_COMPLETIONS = 300


@dataclass(frozen=True, slots=True)
class Facet:
    """A value that several of the listed tasks have.

    Attributes:
        name: The field of the filter language.
        value: The value.
        number: How many of the listed tasks have it.
        filter: The filter with this term added.
    """

    name: str
    value: str
    number: int
    filter: str


@dataclass(frozen=True, slots=True)
class Tasks:
    """The data of the page.

    Attributes:
        filter: The filter, as it was given.
        mistake: A mistake in the filter; None: it is valid.
        tasks: The tasks, the most recently sent first.
        next_before: The parameter ``before`` of the next page; None: this is the last one.
        is_cut: Whether the search ended because the latest 100,000 tasks were searched.
        facets: The most frequent values of the listed tasks, by field.
        completions: Terms to complete the filter with.
        limit: The largest number of tasks on a page.
    """

    filter: str
    mistake: FilterMistake | None
    tasks: tuple[TaskInfo, ...]
    next_before: str | None
    is_cut: bool
    facets: dict[str, tuple[Facet, ...]]
    completions: tuple[str, ...]
    limit: int


async def load(visit: Visit) -> Tasks:
    """Read the page."""
    wanted = visit.parameters.text("filter")
    before = visit.parameters.text("before") or None
    limit = visit.parameters.number("limit", _LIMIT, 1, _MOST)
    if before is not None and parse_id(before) is None:
        refuse("before must be the id of a task")
    parsed = parse_filter(wanted)
    completions = await _completions(visit)
    if isinstance(parsed, Err):
        return Tasks(wanted, parsed.err_value, (), None, is_cut=False, facets={}, completions=completions, limit=limit)
    query = parsed.ok_value
    found = await visit.ask(
        "tasks", lambda broker: all_tasks_async(broker, query, before=before, limit=limit), wanted, before, limit
    )
    return Tasks(
        filter=wanted,
        mistake=None,
        tasks=found.tasks,
        next_before=found.next_before,
        is_cut=found.is_cut,
        facets=_facets(wanted, found.tasks),
        completions=completions,
        limit=limit,
    )


def _facets(wanted: str, tasks: Sequence[TaskInfo]) -> dict[str, tuple[Facet, ...]]:
    values = {
        "status": [each.status.lower() for each in tasks],
        "queue": [each.queue_name for each in tasks],
        "task": [each.task_name for each in tasks],
        "error": [str(each.error_code) for each in tasks if each.error_code is not None],
    }
    return {
        name: tuple(
            Facet(name, value, number, f"{wanted} {term(name, value)}".strip())
            for value, number in Counter(given).most_common(_MOST_FACETS)
        )
        for name, given in values.items()
        if given and f"{name}:" not in wanted
    }


async def _completions(visit: Visit) -> tuple[str, ...]:
    """Return terms of the filter language, with the names that live workers and queues have."""
    queues, workers = await common.queues(visit), await common.workers(visit)
    names = sorted({name for each in workers for name in each.task_names})
    hosts = sorted({each.hostname for each in workers})
    terms = [
        *(f"{FilterField.STATUS}:{each.lower()}" for each in TaskStatus),
        *(f"{FilterField.SINCE}:{each}" for each in ("10m", "1h", "24h", "7d")),
        *(term("queue", each.queue_name) for each in queues),
        *(term("task", each) for each in names),
        *(term("worker", each) for each in hosts),
        *(f"{each}:" for each in (FilterField.ERROR, FilterField.KEY, FilterField.RUN, FilterField.ID)),
    ]
    return tuple(terms[:_MOST_COMPLETIONS])
