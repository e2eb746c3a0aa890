"""The workers: what each of their slots does, and which are silent."""

from dataclasses import dataclass

from horsies.db.queries.rows import WorkerStats
from horsies.monitoring import InFlightTask
from horsies.web.charts import Segment, gauge
from horsies.web.formats import line
from horsies.web.pages import common
from horsies.web.pages.queues import in_flight
from horsies.web.visit import Visit

_WORTH_A_WARNING_S = 5.0
_MOST_TASKS = 200


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A worker.

    Attributes:
        worker: What it has registered, and its last heartbeat.
        slots: How many tasks it can run at the same time.
        gauge: The tasks in its slots, and the free ones.
        tasks: The tasks that it holds.
        clock_is_wrong: Whether its clock differs from that of the database by more than five seconds.
    """

    worker: WorkerStats
    slots: int
    gauge: tuple[Segment, ...]
    tasks: tuple[InFlightTask, ...]
    clock_is_wrong: bool


@dataclass(frozen=True, slots=True)
class Workers:
    """The data of the page.

    Attributes:
        workers: The workers, the earliest started first.
        versions: The versions of horsies that they have.
    """

    workers: tuple[WorkerCard, ...]
    versions: tuple[str, ...]


async def load(visit: Visit) -> Workers:
    """Read the page."""
    workers, tasks = await common.workers(visit), await in_flight(visit)
    cards = tuple(_card(each, [task for task in tasks if task.worker_id == each.worker_id]) for each in workers)
    return Workers(cards, tuple(sorted({each.library_version for each in workers})))


def _card(worker: WorkerStats, tasks: list[InFlightTask]) -> WorkerCard:
    slots = worker.processes * worker.concurrency
    running = [each for each in tasks if each.status == "RUNNING"]
    parts = [("running", line(each.task_name, 80), each.task_id) for each in running]
    is_wrong = worker.clock_skew_s is not None and abs(worker.clock_skew_s) > _WORTH_A_WARNING_S
    return WorkerCard(worker, slots, gauge(parts, slots), tuple(tasks[:_MOST_TASKS]), is_wrong)
