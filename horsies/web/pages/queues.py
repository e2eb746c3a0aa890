"""The queues: how much waits, what fills them, and when they will be empty."""

from collections.abc import Sequence
from dataclasses import dataclass

from horsies.db.queries.limits import KeyStats, QueueLimits
from horsies.db.queries.rows import WorkerStats
from horsies.monitoring import InFlightTask, QueueStatus, WaitingReason, in_flight_tasks_async
from horsies.monitoring.counts import Count
from horsies.monitoring.reasons import Reason, reason_of
from horsies.monitoring.summary import slots
from horsies.web.charts import Segment, gauge
from horsies.web.formats import line
from horsies.web.pages import common
from horsies.web.visit import Visit

_MOST_IN_FLIGHT = 2000
_MOST_LISTED = 50
_MOST_KEYS = 1000
_MOST_SHOWN_KEYS = 20


@dataclass(frozen=True, slots=True)
class QueueCard:
    """A queue.

    Attributes:
        status: Its state.
        places: How many tasks may be in flight: its cap; None: it has none.
        gauge: The tasks that fill its places, and the free ones; without a cap, the places are those of its workers.
        drain: ``steady``, ``grows`` or a number of seconds; None: unknown.
    """

    status: QueueStatus
    places: int | None
    gauge: tuple[Segment, ...]
    drain: str | None


@dataclass(frozen=True, slots=True)
class WaitingNames:
    """The waiting tasks of one name and reason in the chosen queue."""

    task_name: str
    reason: str
    words: Reason
    tasks: Count


@dataclass(frozen=True, slots=True)
class Chosen:
    """More about one queue.

    Attributes:
        card: The queue; None: the database knows nothing about it.
        limits: Its limits that are in effect.
        keys: Its keys, those with the most waiting tasks first.
        more_keys: How many keys are not listed, at least.
        waiting: Its waiting tasks by name and reason.
        in_flight: The tasks that workers hold.
    """

    name: str
    card: QueueCard | None
    limits: QueueLimits
    keys: tuple[KeyStats, ...]
    more_keys: int
    waiting: tuple[WaitingNames, ...]
    in_flight: tuple[InFlightTask, ...]


@dataclass(frozen=True, slots=True)
class Queues:
    """The data of the page.

    Attributes:
        queues: All queues.
        chosen: More about the queue that the URL names; None: it names none.
    """

    queues: tuple[QueueCard, ...]
    chosen: Chosen | None


async def load(visit: Visit) -> Queues:
    """Read the page."""
    name = visit.parameters.text("queue")
    queues, workers = await common.queues(visit), await common.workers(visit)
    tasks = await in_flight(visit)
    for each in queues:
        visit.trends.note(each.queue_name, each.waiting.number)
    cards = tuple(_card(visit, each, tasks, workers) for each in queues)
    return Queues(cards, await _chosen(visit, name, cards, tasks) if name else None)


async def in_flight(visit: Visit) -> tuple[InFlightTask, ...]:
    """Return the tasks that workers hold."""
    return await visit.ask("in flight", lambda broker: in_flight_tasks_async(broker, limit=_MOST_IN_FLIGHT))


def _card(visit: Visit, queue: QueueStatus, tasks: Sequence[InFlightTask], workers: Sequence[WorkerStats]) -> QueueCard:
    mine = [each for each in tasks if each.queue_name == queue.queue_name]
    parts = [(each.status.lower(), f"{line(each.task_name, 80)}, {each.status.lower()}", each.task_id) for each in mine]
    places_of_workers = slots(each for each in workers if queue.queue_name in each.queues)
    places = queue.max_concurrency
    return QueueCard(
        queue,
        places,
        gauge(parts, places_of_workers if places is None else places),
        visit.trends.drain(queue.queue_name),
    )


async def _chosen(visit: Visit, name: str, cards: Sequence[QueueCard], tasks: Sequence[InFlightTask]) -> Chosen:
    limits = await visit.ask("limits", lambda broker: broker.get_queue_limits_async(name), name, max_age_s=2.0)
    keys = await visit.ask("keys", lambda broker: broker.get_keys_async(name, limit=_MOST_KEYS), name, max_age_s=2.0)
    keys = sorted(keys, key=lambda each: (-each.waiting, -each.in_flight, each.key))
    reasons = [each for each in await common.reasons(visit) if each.queue_name == name]
    return Chosen(
        name=name,
        card=next((each for each in cards if each.status.queue_name == name), None),
        limits=limits,
        keys=tuple(keys[:_MOST_SHOWN_KEYS]),
        more_keys=max(len(keys) - _MOST_SHOWN_KEYS, 0),
        waiting=_waiting(reasons),
        in_flight=tuple(each for each in tasks if each.queue_name == name)[:_MOST_LISTED],
    )


def _waiting(reasons: Sequence[WaitingReason]) -> tuple[WaitingNames, ...]:
    found = [WaitingNames(each.task_name, each.reason, reason_of(each.reason), each.tasks) for each in reasons]
    return tuple(sorted(found, key=lambda each: -each.tasks.number)[:_MOST_LISTED])
