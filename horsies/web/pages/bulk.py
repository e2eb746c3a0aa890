"""Actions on many tasks: their previews, their progress, and their results."""

from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException

from horsies.monitoring import BulkAction, BulkKind, all_tasks_async, bulk_action_async, bulk_actions_async
from horsies.monitoring.filters import FilterField, FilterTerm, TaskQuery
from horsies.producer.handle import parse_id
from horsies.producer.info import TaskInfo
from horsies.web.charts import Segment
from horsies.web.visit import Visit

_MOST_LISTED = 50
_SAMPLE_AGE_S = 2.0
_DONE = {BulkKind.CANCEL: "cancelled", BulkKind.RERUN: "sent again"}


@dataclass(frozen=True, slots=True)
class BulkLine:
    """An action on many tasks.

    Attributes:
        action: The action.
        skipped: How many of its processed tasks were not changed.
        is_interrupted: Whether it runs, and no process has worked on it for 10 seconds.
        done: The participle that says what happens to its tasks, such as ``cancelled``.
        bar: How many of its tasks were changed and skipped, and how many are left.
    """

    action: BulkAction
    skipped: int
    is_interrupted: bool
    done: str
    bar: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class BulkActions:
    """The data of the list.

    Attributes:
        actions: The latest actions.
    """

    actions: tuple[BulkLine, ...]


@dataclass(frozen=True, slots=True)
class BulkDetails:
    """The data of the page of an action.

    Attributes:
        line: The action.
        tasks: The first of its tasks, as they are now.
    """

    line: BulkLine
    tasks: tuple[TaskInfo, ...]


async def load_list(visit: Visit) -> BulkActions:
    """Read the list."""
    found = await visit.ask("bulk actions", lambda broker: bulk_actions_async(broker, limit=_MOST_LISTED))
    return BulkActions(tuple(map(_line, found)))


async def load(visit: Visit) -> BulkDetails:
    """Read the page of an action."""
    known = parse_id(visit.path["bulk_id"])
    action = None
    if known is not None:
        action = await visit.ask("bulk action", lambda broker: bulk_action_async(broker, str(known)), str(known))
    if action is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such action on tasks, or its record was deleted.")
    return BulkDetails(_line(action), await _sample(visit, action))


async def _sample(visit: Visit, action: BulkAction) -> tuple[TaskInfo, ...]:
    if not action.sample:
        return ()
    query = TaskQuery(tuple(FilterTerm(FilterField.ID, each) for each in action.sample))
    found = await visit.ask(
        "bulk sample",
        lambda broker: all_tasks_async(broker, query, limit=len(action.sample)),
        action.action_id,
        max_age_s=_SAMPLE_AGE_S,
    )
    return found.tasks


def _line(action: BulkAction) -> BulkLine:
    done = _DONE[action.kind]
    return BulkLine(action, action.skipped, action.is_interrupted, done, _bar(action, done))


def _bar(action: BulkAction, done: str) -> tuple[Segment, ...]:
    parts = [("completed", action.changed, done), ("cancelled", action.skipped, "skipped")]
    found: list[Segment] = []
    x = 0.0
    for kind, number, what in [*parts, ("free", action.total - action.processed, "left")]:
        width = 100 * number / max(action.total, 1)
        if number:
            found.append(Segment(round(x, 3), round(width, 3), kind, f"{number:,} {what}", None))
        x += width
    return tuple(found)
