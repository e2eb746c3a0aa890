"""When the nodes of a run were, or will be, ready and ended, and how much later each could end without harm.

A node is ready when the nodes that it waits for have ended. The time from there to its end contains the wait in the
queue. So the times of the nodes on the critical path add up to the time of the whole run. The times of nodes that have
not ended are estimated from the nodes of the same task that have.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from horsies.codes import WorkflowTaskStatus
from horsies.monitoring import NodeDetails
from horsies.web.graph_layout import targets_of, topological_order

_ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of a node in seconds after the start of the run.

    Attributes:
        ready_s: When its dependencies had ended, or will have.
        started_s: When its task started; None: it has not.
        end_s: When it ended, or will end.
        slack_s: How much later it could end without delaying the end of the run.
        is_critical: Whether it is on the critical path: it has run or will run, and has no slack.
        is_estimated: Whether the node has not ended, so that its end is estimated.
    """

    ready_s: float
    started_s: float | None
    end_s: float
    slack_s: float
    is_critical: bool
    is_estimated: bool


def timings(nodes: Sequence[NodeDetails], run_started: datetime, now: datetime) -> list[Timing]:
    """Return the times of the nodes, whose indexes are their places in the list.

    Args:
        nodes: The nodes of a run.
        run_started: When the run was started.
        now: The present, or the end of the run.
    """
    sources = [each.waits_for for each in nodes]
    order = topological_order(sources)
    usual = _usual_s(nodes)
    now_s = (now - run_started).total_seconds()
    ready, end = [0.0] * len(nodes), [0.0] * len(nodes)
    for index in order:
        node = nodes[index]
        ready[index] = _ready_s(node, nodes, end)
        end[index] = _end_s(node, ready[index], run_started, now_s, usual.get(node.task_name, 0.0))
        ready[index] = max(0.0, min(ready[index], end[index], _started_s(node, run_started, end[index])))
    slack = _slack(order, sources, ready, end)
    return [
        Timing(
            ready_s=ready[index],
            started_s=None if node.started_at is None else _started_s(node, run_started, 0.0),
            end_s=end[index],
            slack_s=slack[index],
            is_critical=slack[index] <= _ROUNDING_S and node.status is not WorkflowTaskStatus.SKIPPED,
            is_estimated=node.finished_at is None,
        )
        for index, node in enumerate(nodes)
    ]


def _usual_s(nodes: Sequence[NodeDetails]) -> dict[str, float]:
    """Return how many seconds the ended nodes of each task took from their start, half of them at least."""
    taken: dict[str, list[float]] = defaultdict(list)
    for each in nodes:
        if each.started_at is not None and each.finished_at is not None:
            taken[each.task_name].append((each.finished_at - each.started_at).total_seconds())
    return {name: median(values) for name, values in taken.items()}


def _ready_s(node: NodeDetails, nodes: Sequence[NodeDetails], end: Sequence[float]) -> float:
    if node.needed is None:
        return max((end[source] for source in node.waits_for), default=0.0)
    ended_badly = {WorkflowTaskStatus.FAILED, WorkflowTaskStatus.SKIPPED}
    ends = sorted(end[source] for source in node.waits_for if nodes[source].status not in ended_badly)
    if len(ends) < node.needed:
        return max((end[source] for source in node.waits_for), default=0.0)
    return ends[node.needed - 1] if node.needed else 0.0


def _end_s(node: NodeDetails, ready_s: float, run_started: datetime, now_s: float, usual_s: float) -> float:
    if node.finished_at is not None:
        return (node.finished_at - run_started).total_seconds()
    if node.started_at is not None:
        return max(now_s, (node.started_at - run_started).total_seconds() + usual_s)
    return max(now_s, ready_s) + usual_s


def _started_s(node: NodeDetails, run_started: datetime, otherwise: float) -> float:
    return otherwise if node.started_at is None else (node.started_at - run_started).total_seconds()


def _slack(
    order: Sequence[int], sources: Sequence[Sequence[int]], ready: Sequence[float], end: Sequence[float]
) -> list[float]:
    """Return the slack of each node, from the last one to the first.

    A source that ended after its target was ready, as with a quorum, does not delay that target.
    """
    whole = max(end, default=0.0)
    targets = targets_of(sources)
    slack = [0.0] * len(end)
    for index in reversed(order):
        limits = [
            slack[target] + ready[target] - end[index]
            for target in targets[index]
            if end[index] <= ready[target] + _ROUNDING_S
        ]
        slack[index] = max(min(limits, default=whole - end[index]), 0.0)
    return slack
