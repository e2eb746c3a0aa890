"""The metrics of the cluster: gauges that are read from the database, whatever runs the tasks."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from horsies.db.operations import Operation
from horsies.metrics.values import OTHER, Metric, Reading, Type
from horsies.monitoring.broker import Broker
from horsies.monitoring.status import (
    QueueStatus,
    ScheduleStatus,
    WaitingReason,
    WorkerState,
    read_queues,
    read_run_counts,
    read_schedules,
    read_waiting_reasons,
    read_workers,
    worker_state,
)
from horsies.producer.handle import BrokerResult
from horsies.rendering import printable_line
from horsies.result import Err, Ok

_MAX_NAMES = 500

QUEUE_TASKS = Metric("horsies_queue_tasks", Type.GAUGE, "Tasks of a queue by state.", ("queue", "state"))
QUEUE_OLDEST_DUE = Metric(
    "horsies_queue_oldest_due_seconds",
    Type.GAUGE,
    "For how long the oldest waiting task has been due; 0: no task is due; missing: unknown.",
    ("queue",),
)
QUEUE_CAP = Metric("horsies_queue_cap", Type.GAUGE, "The cap of a queue; missing: it has none.", ("queue",))
QUEUE_CLAIMED = Metric(
    "horsies_queue_in_hand", Type.GAUGE, "Claimed and running tasks, which count against the cap.", ("queue",)
)
QUEUE_PAUSED = Metric("horsies_queue_paused", Type.GAUGE, "1: the queue is paused; 0: it is not.", ("queue",))
WAITING_TASKS = Metric("horsies_waiting_tasks", Type.GAUGE, "Waiting tasks by reason, as of horsies why.", ("reason",))
UNCLAIMABLE_TASKS = Metric(
    "horsies_unclaimable_tasks", Type.GAUGE, "Waiting tasks that no live worker can run: the reason is no_worker."
)
WORKERS = Metric("horsies_workers", Type.GAUGE, "Registered workers by state: live or silent.", ("state",))
WORKFLOW_RUNS = Metric(
    "horsies_workflow_runs", Type.GAUGE, "Workflow runs: live ones, and those that ended in the last hour.", ("status",)
)
SCHEDULE_LATE = Metric(
    "horsies_schedule_late_seconds", Type.GAUGE, "For how long a due time of a schedule has passed.", ("schedule",)
)

CLUSTER_METRICS: Final = (
    QUEUE_TASKS,
    QUEUE_OLDEST_DUE,
    QUEUE_CAP,
    QUEUE_CLAIMED,
    QUEUE_PAUSED,
    WAITING_TASKS,
    UNCLAIMABLE_TASKS,
    WORKERS,
    WORKFLOW_RUNS,
    SCHEDULE_LATE,
)
"""All metrics of the cluster."""

WAITING_REASONS: Final = (
    "cluster_full",
    "held",
    "held_back",
    "key_full",
    "next",
    "no_worker",
    "overdue",
    "paused",
    "queue_full",
    "rate_limit",
    "retry",
    "scheduled",
)
"""The reasons for which tasks wait. A reason without tasks is shown as 0."""

type _Gauge = dict[tuple[str, ...], float]


def cluster_metrics(broker: Broker) -> BrokerResult[Reading]:
    """Read the metrics of the cluster, those that `horsies metrics` serves, from the database.

    Args:
        broker: The broker of the app: ``app.get_broker()``.

    Returns:
        Pairs of a metric and its values; the key of a value has one element for each of the metric's ``labels``. Or an
        error with MONITORING_QUERY_FAILED.
    """
    return broker.runner.run(_cluster_metrics())


async def cluster_metrics_async(broker: Broker) -> BrokerResult[Reading]:
    """Like `cluster_metrics`, for asyncio."""
    return await broker.runner.run_async(_cluster_metrics())


def _cluster_metrics() -> Operation[BrokerResult[Reading]]:
    queues = yield from read_queues()
    if isinstance(queues, Err):
        return queues
    reasons = yield from read_waiting_reasons()
    if isinstance(reasons, Err):
        return reasons
    workers = yield from read_workers()
    if isinstance(workers, Err):
        return workers
    runs = yield from read_run_counts()
    if isinstance(runs, Err):
        return runs
    schedules = yield from read_schedules()
    if isinstance(schedules, Err):
        return schedules
    states = [worker_state(each) for each in workers.ok_value]
    return Ok(
        [
            *_of_queues(queues.ok_value),
            *_of_waiting(reasons.ok_value),
            (WORKERS, {(state.value,): float(states.count(state)) for state in WorkerState}),
            (WORKFLOW_RUNS, {(each.status.value,): float(each.runs) for each in runs.ok_value}),
            (SCHEDULE_LATE, _of_schedules(schedules.ok_value)),
        ]
    )


def _of_queues(queues: Iterable[QueueStatus]) -> Reading:
    found = list(queues)
    label_of = _labels(each.queue_name for each in sorted(found, key=lambda each: (not each.workers, each.queue_name)))
    tasks: _Gauge = {}
    oldest: _Gauge = {}
    caps: _Gauge = {}
    against_cap: _Gauge = {}
    paused: _Gauge = {}
    for queue in found:
        label = label_of[queue.queue_name]
        for state, number in _states(queue).items():
            _put(tasks, (label, state), number, _sum)
        _put(against_cap, (label,), queue.in_flight, _sum)
        if queue.oldest_due is not None:
            _put(oldest, (label,), queue.oldest_due.total_seconds(), max)
        elif not queue.waiting.number:
            _put(oldest, (label,), 0.0, max)
        if label != OTHER:
            _put(paused, (label,), int(queue.paused), max)
            if queue.max_concurrency is not None:
                _put(caps, (label,), queue.max_concurrency, max)
    return [
        (QUEUE_TASKS, tasks),
        (QUEUE_OLDEST_DUE, oldest),
        (QUEUE_CAP, caps),
        (QUEUE_CLAIMED, against_cap),
        (QUEUE_PAUSED, paused),
    ]


def _states(queue: QueueStatus) -> dict[str, int]:
    return {
        "waiting": queue.waiting.number,
        "scheduled": queue.scheduled.number,
        "held": queue.held,
        "claimed": queue.claimed,
        "running": queue.running,
    }


def _of_waiting(reasons: Iterable[WaitingReason]) -> Reading:
    waiting: _Gauge = {(reason,): 0.0 for reason in WAITING_REASONS}
    for each in reasons:
        _put(waiting, (each.reason,), each.tasks.number, _sum)
    return [(WAITING_TASKS, waiting), (UNCLAIMABLE_TASKS, {(): waiting["no_worker",]})]


def _of_schedules(schedules: Iterable[ScheduleStatus]) -> _Gauge:
    found = list(schedules)
    label_of = _labels(each.name for each in found)
    late: _Gauge = {}
    for each in found:
        _put(late, (label_of[each.name],), each.late_by.total_seconds(), max)
    return late


def _labels(names: Iterable[str]) -> Mapping[str, str]:
    """Return the labels for names from the database: a program can make any number of them, of any characters."""
    return {name: printable_line(name) if number < _MAX_NAMES else OTHER for number, name in enumerate(names)}


def _sum(one: float, other: float) -> float:
    return one + other


def _put(gauge: _Gauge, labels: tuple[str, ...], value: float, together: Callable[[float, float], float]) -> None:
    """Set a value; values of names with the same label are put together."""
    gauge[labels] = together(gauge[labels], value) if labels in gauge else value
