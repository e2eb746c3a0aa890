"""One workflow run: its graph, its time line, its critical path, and why its nodes wait."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from itertools import islice
from math import ceil

from starlette.exceptions import HTTPException

from horsies.codes import WorkflowStatus, WorkflowTaskStatus
from horsies.db.queries.rows import Why
from horsies.monitoring import NodeDetails, RunDetails, node_details_async, run_details_async
from horsies.monitoring.broker import Broker
from horsies.monitoring.reasons import Concern, reason_of
from horsies.producer.handle import BrokerResult, parse_id
from horsies.result import Err, Ok
from horsies.web.charts import Segment
from horsies.web.critical_path import Timing, timings
from horsies.web.formats import counted, line
from horsies.web.pages.runs import progress_bar
from horsies.web.run_drawing import (
    MOST_DRAWN,
    Drawing,
    Groups,
    TimeLine,
    blocked_by,
    draw,
    group_nodes,
    page_of,
    status_of,
    time_line,
    workflow_of,
)
from horsies.web.visit import Visit

_MOST_LISTED = 100
_MOST_WAITING = 20
_MOST_EXPLAINED = 8
_MOST_CRITICAL = 30
_MOST_NAMED = 3
_NODES_A_SECOND = 2500
_ENDED_AGE_S = 30.0
_STEPS = 200
_UNDER_WAY = (WorkflowTaskStatus.ENQUEUED, WorkflowTaskStatus.READY, WorkflowTaskStatus.PENDING)


@dataclass(frozen=True, slots=True)
class NodeLine:
    """A node in the list.

    Attributes:
        node: The node.
        time: Its times.
        page: The page that shows more, below the overview; None: there is none.
        workflow: The key of the workflow that a sub-workflow node runs; empty for other nodes.
    """

    node: NodeDetails
    time: Timing
    page: str | None
    workflow: str


@dataclass(frozen=True, slots=True)
class WaitingNode:
    """A node that waits.

    Attributes:
        line: The node.
        sentence: Why it waits.
        concern: How much that deserves attention.
    """

    line: NodeLine
    sentence: str
    concern: Concern


@dataclass(frozen=True, slots=True)
class RunView:
    """The data of the page.

    Attributes:
        run: The run.
        bar: Its nodes by how they ended, and those that have not.
        shown: ``graph`` or ``timeline``.
        drawing: The graph; None: the time line is shown.
        time_line: The time line; None: the graph is shown.
        critical: The nodes of the critical path, in their order.
        more_critical: How many of them are not listed.
        waiting: Nodes that wait, those first that could start first.
        more_waiting: How many of them are not listed.
        counts: The numbers of nodes by state, in small letters.
        status: The state of the listed nodes; None: any.
        nodes: The listed nodes.
        next_after: The parameter ``after`` of the next page of nodes; None: this is the last one.
    """

    run: RunDetails
    bar: tuple[Segment, ...]
    shown: str
    drawing: Drawing | None
    time_line: TimeLine | None
    critical: tuple[NodeLine, ...]
    more_critical: int
    waiting: tuple[WaitingNode, ...]
    more_waiting: int
    counts: dict[str, int]
    status: str | None
    nodes: tuple[NodeLine, ...]
    next_after: int | None


class Analysis:
    """The values that are computed from the nodes of a run, for all viewers and all parameters of the page.

    The drawings are made when they are shown first: only one of them is, and they take most of the time.

    Args:
        run: The run.
        nodes: Its nodes.
        now: The present.

    Attributes:
        weight: The number of nodes, by which the memory for kept answers is bounded.
        nodes: The nodes.
        critical: The indexes of the nodes on the critical path, in their order.
        waiting: The indexes of the nodes that wait, those first that could start first.
        blocked_by: For each pending node the nodes that it still waits for.
        counts: The numbers of nodes by state, in small letters.
    """

    def __init__(self, run: RunDetails, nodes: Sequence[NodeDetails], now: datetime) -> None:
        end = _present(run, now)
        self.weight = len(nodes)
        self.nodes = nodes
        self._now_s = (end - run.started_at).total_seconds()
        self._times = times = timings(nodes, run.started_at, end)
        self.critical = sorted(
            (index for index, time in enumerate(times) if time.is_critical), key=lambda index: times[index].end_s
        )
        self.blocked_by = blocked_by(nodes)
        self.waiting = sorted(
            (each.index for each in nodes if each.status in _UNDER_WAY),
            key=lambda index: (_UNDER_WAY.index(nodes[index].status), len(self.blocked_by.get(index, ()))),
        )
        counts = Counter(each.status for each in nodes)
        self.counts = {each.value.lower(): counts[each] for each in WorkflowTaskStatus}

    @cached_property
    def _groups(self) -> Groups:
        return group_nodes(self.nodes)

    @cached_property
    def drawing(self) -> Drawing:
        """The graph."""
        return draw(self.nodes, self._times, self._groups if len(self.nodes) > MOST_DRAWN else None)

    @cached_property
    def time_line(self) -> TimeLine:
        """The time line."""
        return time_line(self.nodes, self._times, self._now_s, self._groups if len(self.nodes) > MOST_DRAWN else None)

    def line(self, index: int) -> NodeLine:
        """Return a node for a list."""
        node = self.nodes[index]
        return NodeLine(node, self._times[index], page_of(node), workflow_of(node))

    def listed(self, after: int, status: str | None, limit: int) -> list[NodeLine]:
        """Return at most ``limit`` nodes with a larger index than ``after``, of a state or (None) of any."""
        matching = (each.index for each in self.nodes[after + 1 :] if status in {None, status_of(each)})
        return [self.line(index) for index in islice(matching, limit)]


async def load(visit: Visit) -> RunView:
    """Read the page."""
    shown = visit.parameters.choice("view", {"graph": "graph", "timeline": "timeline"}, default=None)
    choices = {each.value.lower(): each.value.lower() for each in WorkflowTaskStatus}
    status = visit.parameters.choice("status", choices, default=None)
    after = visit.parameters.number("after", -1, 0, 10**9)
    known_id = parse_id(visit.path["run_id"])
    if known_id is None:
        raise _unknown()
    run_id = str(known_id)
    run = await visit.ask("run", lambda broker: run_details_async(broker, run_id), run_id)
    if run is None:
        raise _unknown()
    found = await _analysis(visit, run)
    shown = shown or ("timeline" if run.nodes > MOST_DRAWN else "graph")
    listed = found.listed(after, status, _MOST_LISTED + 1)
    return RunView(
        run=run,
        bar=progress_bar(run),
        shown=shown,
        drawing=await asyncio.to_thread(lambda: found.drawing) if shown == "graph" else None,
        time_line=await asyncio.to_thread(lambda: found.time_line) if shown == "timeline" else None,
        critical=tuple(map(found.line, found.critical[:_MOST_CRITICAL])),
        more_critical=max(len(found.critical) - _MOST_CRITICAL, 0),
        waiting=await _waiting(visit, run, found),
        more_waiting=max(len(found.waiting) - _MOST_WAITING, 0),
        counts=found.counts,
        status=status,
        nodes=tuple(listed[:_MOST_LISTED]),
        next_after=listed[_MOST_LISTED - 1].node.index if len(listed) > _MOST_LISTED else None,
    )


def _unknown() -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, "There is no such run, or its record was deleted.")


async def _analysis(visit: Visit, run: RunDetails) -> Analysis:
    """Read and analyze the nodes. The larger a run, the less often it is read; an ended one hardly changes."""

    async def ask(broker: Broker) -> BrokerResult[Analysis]:
        nodes = await node_details_async(broker, run.run_id)
        if isinstance(nodes, Err):
            return nodes
        return Ok(await asyncio.to_thread(Analysis, run, nodes.ok_value, datetime.now(UTC)))

    age_s = _ENDED_AGE_S if run.finished_at is not None else max(1.0, run.nodes / _NODES_A_SECOND)
    ended_at = None if run.finished_at is None else run.finished_at.isoformat()
    return await visit.ask("run nodes", ask, run.run_id, run.status, ended_at, max_age_s=age_s)


def _present(run: RunDetails, now: datetime) -> datetime:
    """Return the end of the run or, of a live one, the present in steps of half a percent of its age.

    The regions of the page would otherwise change each second, and be fetched again.
    """
    if run.finished_at is not None:
        return run.finished_at
    age_s = max((now - run.started_at).total_seconds(), 0.0)
    step = max(age_s // _STEPS, 1.0)
    return run.started_at + timedelta(seconds=ceil(age_s / step) * step)


async def _waiting(visit: Visit, run: RunDetails, found: Analysis) -> tuple[WaitingNode, ...]:
    listed = [found.line(index) for index in found.waiting[:_MOST_WAITING]]
    enqueued = [each.node for each in listed if each.node.status is WorkflowTaskStatus.ENQUEUED]
    ids = [each.task_id for each in enqueued if each.task_id is not None][:_MOST_EXPLAINED]
    reasons = await visit.ask("why nodes", lambda broker: _why_all(broker, ids), run.run_id, *ids) if ids else {}
    return tuple(_explained(each, run, found, reasons) for each in listed)


async def _why_all(broker: Broker, task_ids: Sequence[str]) -> BrokerResult[dict[str, Why]]:
    found: dict[str, Why] = {}
    for task_id in task_ids:
        answer = await broker.why(task_id)
        if isinstance(answer, Err):
            return answer
        found[task_id] = answer.ok_value
    return Ok(found)


def _explained(each: NodeLine, run: RunDetails, found: Analysis, reasons: dict[str, Why]) -> WaitingNode:
    node = each.node
    if node.status is WorkflowTaskStatus.READY:
        return WaitingNode(each, "Its dependencies have ended. It starts when the run is resumed.", Concern.BLOCKED)
    if node.status is WorkflowTaskStatus.PENDING:
        concern = Concern.BLOCKED if run.status is WorkflowStatus.PAUSED else Concern.NONE
        return WaitingNode(each, _dependencies(node, found), concern)
    why = reasons.get(node.task_id or "")
    if why is None:
        return WaitingNode(
            each, f"Its task waits in queue {line(node.queue_name, 80)}; the page of the task says why.", Concern.NONE
        )
    sentence = why.sentence[:1].upper() + why.sentence[1:]
    return WaitingNode(each, f"{sentence}.", reason_of(why.reason).concern)


def _dependencies(node: NodeDetails, found: Analysis) -> str:
    """Say for which nodes a node waits."""
    left = found.blocked_by.get(node.index, [])
    names = [line(found.nodes[index].node_id, 60) for index in left[:_MOST_NAMED]]
    more = f" and {counted(len(left) - _MOST_NAMED, 'more node')}" if len(left) > _MOST_NAMED else ""
    listed = ", ".join(names) + more
    if node.needed is None:
        return f"Waits for {listed or 'its dependencies'}."
    done = sum(found.nodes[index].status is WorkflowTaskStatus.COMPLETED for index in node.waits_for)
    return (
        f"{done:,} of {node.needed:,} dependencies that it needs have completed. Waits for one of {listed or 'them'}."
    )
