"""The workers: what each of their slots does, which are silent, how children died, and names that nobody serves."""

from collections.abc import Sequence
from dataclasses import dataclass

from horsies.db.queries.rows import WorkerStats
from horsies.monitoring import ChildDeath, InFlightTask, WaitingReason, WorkerChildren, worker_children_async
from horsies.web.charts import Segment, gauge
from horsies.web.formats import line
from horsies.web.pages import common
from horsies.web.pages.queues import in_flight
from horsies.web.visit import Visit

_WORTH_A_WARNING_S = 5.0
_MOST_TASKS = 200
_MOST_SLOTS = 64
_MOST_UNSERVED = 50


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A worker.

    Attributes:
        worker: What it has registered, and its last heartbeat.
        app_version: Its version of the app; None: unknown.
        slots: How many tasks it can run at the same time.
        gauge: The tasks in its slots, and the free ones.
        tasks: The tasks that it holds.
        clock_is_wrong: Whether its clock differs from that of the database by more than five seconds.
        memory_mb: The resident memory of the child process in each slot, in megabytes; None for a slot without one.
            Empty: the worker has not reported it.
        more_processes: How many child processes ``memory_mb`` does not show.
        total_mb: The memory of all child processes; None: the worker has not reported it.
        deaths: The last unplanned deaths of its child processes, the latest first.
    """

    worker: WorkerStats
    app_version: str | None
    slots: int
    gauge: tuple[Segment, ...]
    tasks: tuple[InFlightTask, ...]
    clock_is_wrong: bool
    memory_mb: tuple[int | None, ...]
    more_processes: int
    total_mb: int | None
    deaths: tuple[ChildDeath, ...]


@dataclass(frozen=True, slots=True)
class Workers:
    """The data of the page.

    Attributes:
        workers: The workers, the earliest started first.
        versions: The versions of horsies that they have.
        app_versions: The versions of the app that they have.
        unserved: Names of waiting tasks that no live worker can run in their queue, the most frequent first.
    """

    workers: tuple[WorkerCard, ...]
    versions: tuple[str, ...]
    app_versions: tuple[str, ...]
    unserved: tuple[WaitingReason, ...]


async def load(visit: Visit) -> Workers:
    """Read the page."""
    workers, tasks = await common.workers(visit), await in_flight(visit)
    children = {each.worker_id: each for each in await visit.ask("worker children", worker_children_async)}
    cards = tuple(
        _card(each, [task for task in tasks if task.worker_id == each.worker_id], children.get(each.worker_id))
        for each in workers
    )
    return Workers(
        workers=cards,
        versions=tuple(sorted({each.library_version for each in workers})),
        app_versions=tuple(sorted({each.app_version for each in cards if each.app_version})),
        unserved=_unserved(await common.reasons(visit)),
    )


def _card(worker: WorkerStats, tasks: list[InFlightTask], children: WorkerChildren | None) -> WorkerCard:
    slots = worker.processes * worker.concurrency
    running = [each for each in tasks if each.status == "RUNNING"]
    parts = [("running", line(each.task_name, 80), each.task_id) for each in running]
    memory = () if children is None else children.memory_mb
    known = [each for each in memory if each is not None]
    return WorkerCard(
        worker=worker,
        app_version=None if children is None else children.app_version,
        slots=slots,
        gauge=gauge(parts, slots),
        tasks=tuple(tasks[:_MOST_TASKS]),
        clock_is_wrong=worker.clock_skew_s is not None and abs(worker.clock_skew_s) > _WORTH_A_WARNING_S,
        memory_mb=memory[:_MOST_SLOTS],
        more_processes=max(len(memory) - _MOST_SLOTS, 0),
        total_mb=sum(known) if known else None,
        deaths=() if children is None else children.deaths,
    )


def _unserved(reasons: Sequence[WaitingReason]) -> tuple[WaitingReason, ...]:
    found = sorted((each for each in reasons if each.reason == "no_worker"), key=lambda each: -each.tasks.number)
    return tuple(found[:_MOST_UNSERVED])
