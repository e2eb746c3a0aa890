"""The drawings on the page of a run: a graph of boxes, and a time line. Their size is bounded for runs of any size."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from horsies.codes import WorkflowTaskStatus
from horsies.monitoring import NodeDetails
from horsies.web.charts import visible_widths
from horsies.web.critical_path import Timing
from horsies.web.formats import counted, duration, line
from horsies.web.graph_layout import WIDTH, Edge, Layout, lay_out, levels_of
from horsies.workflows.nodes import BUILD_TASK

MOST_DRAWN = 300
"""How many nodes are drawn one by one. Larger runs are drawn as groups of nodes, and their time line comes first."""

_MOST_EDGES = 2000
_MOST_ROWS = 300
_TITLE_CHARACTERS = 22
_SUBTITLE_CHARACTERS = 30
_BAR_X = 12
_BAR_WIDTH = WIDTH - 2 * _BAR_X
_LEAST_WIDTH = 0.35

_SIGNS = {
    "completed": "✓",
    "failed": "✗",
    "skipped": "-",
    "running": "▶",
    "ready": "‖",
    "enqueued": "…",
    "pending": "○",
}
_WORST_FIRST = ("failed", "running", "ready", "enqueued", "pending", "skipped", "completed")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the bar in a box, in pixels from the left edge of the box.

    Attributes:
        kind: The class that gives it a colour.
        x: Its left edge.
        width: Its width.
    """

    kind: str
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class Box:
    """A node, or a group of nodes.

    Attributes:
        kind: ``task``, ``map``, ``workflow`` or ``group``; templates use it as a class.
        status: The state in small letters; of a group, the most remarkable one. Templates use it as a class.
        sign: A character for the state.
        title: The id of the node, or the name of the task of a group, cut to fit.
        subtitle: The name of the task, or the progress, cut to fit.
        hint: All of it, for a tooltip and for screen readers.
        x: The left edge in pixels.
        y: The upper edge.
        bar: The progress of a map, of a child run or of a group.
        page: The page that shows more, below the overview; None: there is none.
        is_critical: Whether it is on the critical path.
    """

    kind: str
    status: str
    sign: str
    title: str
    subtitle: str
    hint: str
    x: int
    y: int
    bar: tuple[Part, ...]
    page: str | None
    is_critical: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph in layers.

    Attributes:
        width: The width in pixels.
        height: The height.
        boxes: The nodes, or groups of them.
        edges: Which boxes wait for which.
        critical_edges: Those between boxes on the critical path.
        are_groups: Whether each box stands for the nodes of one task in one layer.
        more_boxes: How many groups are not drawn.
        more_edges: How many edges are not drawn.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    critical_edges: tuple[Edge, ...]
    are_groups: bool
    more_boxes: int
    more_edges: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the time line: a node, or a group of nodes.

    Attributes:
        title: Its name.
        kind: The class of its bar.
        hint: The times in words.
        page: The page that shows more, below the overview; None: there is none.
        waited_x: The left edge of the wait until the start, in percent of the width.
        waited_width: Its width.
        x: The left edge of the bar.
        width: Its width; 0: it has not started.
        lasted_s: How long it ran, or has run, in seconds; None: it has not started.
        is_critical: Whether it is on the critical path.
    """

    title: str
    kind: str
    hint: str
    page: str | None
    waited_x: float
    waited_width: float
    x: float
    width: float
    lasted_s: float | None
    is_critical: bool


@dataclass(frozen=True, slots=True)
class TimeLine:
    """A time line.

    Attributes:
        rows: The rows, in the order of their begin.
        more_rows: How many are not shown.
        whole_s: The time that its width stands for, in seconds.
        are_groups: Whether each row stands for the nodes of one task in one layer.
    """

    rows: tuple[Row, ...]
    more_rows: int
    whole_s: float
    are_groups: bool


def status_of(node: NodeDetails) -> str:
    """Return the state of a node in small letters."""
    return node.status.value.lower()


def page_of(node: NodeDetails) -> str | None:
    """Return the page that shows more about a node, below the overview."""
    if node.child is not None:
        return f"runs/{node.child.run_id}"
    return None if node.task_id is None else f"tasks/{node.task_id}"


def workflow_of(node: NodeDetails) -> str:
    """Return the key of the workflow that a sub-workflow node runs; empty for other nodes."""
    return node.task_name.removeprefix(BUILD_TASK) if node.kind == "workflow" else ""


def draw(nodes: Sequence[NodeDetails], times: Sequence[Timing], groups: "Groups | None" = None) -> Drawing:
    """Draw a run as a graph.

    Args:
        nodes: Its nodes.
        times: The times of the nodes.
        groups: The groups of the nodes, if they are known.
    """
    if len(nodes) > MOST_DRAWN:
        return _draw_groups(nodes, times, groups or group_nodes(nodes))
    layout = lay_out([each.waits_for for each in nodes])
    boxes = tuple(
        _box(node, time, *layout.places[index]) for index, (node, time) in enumerate(zip(nodes, times, strict=True))
    )
    return _drawing(layout, boxes, more_boxes=0, are_groups=False)


def _drawing(layout: Layout, boxes: tuple[Box, ...], *, more_boxes: int, are_groups: bool) -> Drawing:
    edges = layout.edges
    critical = tuple(each for each in edges if boxes[each.source].is_critical and boxes[each.target].is_critical)
    others = [each for each in edges if not (boxes[each.source].is_critical and boxes[each.target].is_critical)]
    return Drawing(
        width=layout.width,
        height=layout.height,
        boxes=boxes,
        edges=tuple(others[:_MOST_EDGES]),
        critical_edges=critical[:_MOST_EDGES],
        are_groups=are_groups,
        more_boxes=more_boxes,
        more_edges=max(len(others) - _MOST_EDGES, 0) + max(len(critical) - _MOST_EDGES, 0),
    )


def _box(node: NodeDetails, time: Timing, x: int, y: int) -> Box:
    status = status_of(node)
    progress, bar = _progress(node)
    return Box(
        kind=node.kind,
        status=status,
        sign=_SIGNS[status],
        title=line(node.node_id, _TITLE_CHARACTERS),
        subtitle=line(progress or workflow_of(node) or node.task_name, _SUBTITLE_CHARACTERS),
        hint=_hint(node, time, progress),
        x=x,
        y=y,
        bar=bar,
        page=page_of(node),
        is_critical=time.is_critical,
    )


def declared_box(kind: str, node_id: str, task_name: str, x: int, y: int) -> Box:
    """Return the box of a node of a workflow that is declared, and not of a run."""
    return Box(
        kind=kind,
        status="declared",
        sign="",
        title=line(node_id, _TITLE_CHARACTERS),
        subtitle=line(task_name, _SUBTITLE_CHARACTERS),
        hint=f"{line(node_id, 130)}: {kind} {line(task_name, 80)}",
        x=x,
        y=y,
        bar=(),
        page=None,
        is_critical=False,
    )


def _progress(node: NodeDetails) -> tuple[str | None, tuple[Part, ...]]:
    """Return how far a map or a child run is, in words and as a bar."""
    if node.kind == "map" and node.items is not None:
        done = node.ended_items or 0
        return f"{done:,} of {counted(node.items, 'item')}", _bar({_bar_kind(node): done}, node.items)
    if node.child is not None:
        child = node.child
        return f"{child.ended:,} of {counted(child.nodes, 'node')}", _bar({_bar_kind(node): child.ended}, child.nodes)
    return None, ()


def _bar_kind(node: NodeDetails) -> str:
    return {"completed": "completed", "failed": "failed"}.get(status_of(node), "running")


def _bar(counts: dict[str, int], whole: int) -> tuple[Part, ...]:
    """Return a bar of parts and, behind them, the whole."""
    parts = [Part("free", _BAR_X, _BAR_WIDTH)]
    x = 0.0
    widths = visible_widths([*counts.values(), max(whole - sum(counts.values()), 0)])
    for kind, percent in zip(counts, widths, strict=False):  # the last one is the rest
        width = _BAR_WIDTH * percent / 100
        if width:
            parts.append(Part(kind, _BAR_X + round(x), max(round(width), 1)))
        x += width
    return tuple(parts)


def _hint(node: NodeDetails, time: Timing, progress: str | None) -> str:
    parts = [f"{line(node.node_id, 130)}: {status_of(node)}"]
    if node.error_code is not None:
        parts.append(f"error {line(node.error_code, 80)}")
    parts.append(f"task {line(node.task_name, 80)} in queue {line(node.queue_name, 60)}")
    if progress is not None:
        parts.append(progress)
    if node.started_at is not None and node.finished_at is not None:
        parts.append(f"ran {duration(node.finished_at - node.started_at)}")
    if time.is_critical:
        parts.append("on the critical path")
    elif not time.is_estimated:
        parts.append(f"slack {duration(time.slack_s)}")
    return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class _Group:
    """The nodes of one task in one layer."""

    task_name: str
    kind: str
    members: list[int]


@dataclass(frozen=True, slots=True)
class Groups:
    """The nodes of a run, grouped by task and layer.

    Attributes:
        groups: The groups.
        group_of: For each node, the place of its group.
    """

    groups: list[_Group]
    group_of: list[int]


def group_nodes(nodes: Sequence[NodeDetails]) -> Groups:
    """Group the nodes of a run by task and layer."""
    levels = levels_of([each.waits_for for each in nodes])
    found: dict[tuple[int, str, str], _Group] = {}
    for index, (node, level) in enumerate(zip(nodes, levels, strict=True)):
        key = (level, node.task_name, node.kind)
        found.setdefault(key, _Group(node.task_name, node.kind, [])).members.append(index)
    groups = list(found.values())
    group_of = [0] * len(nodes)
    for place, each in enumerate(groups):
        for index in each.members:
            group_of[index] = place
    return Groups(groups, group_of)


def _draw_groups(nodes: Sequence[NodeDetails], times: Sequence[Timing], groups: Groups) -> Drawing:
    drawn, group_of = groups.groups[:MOST_DRAWN], groups.group_of
    sources: list[set[int]] = [set() for _ in drawn]
    for index, node in enumerate(nodes):
        if group_of[index] < len(drawn):
            sources[group_of[index]].update(group_of[each] for each in node.waits_for if group_of[each] < len(drawn))
    layout = lay_out([sorted(each) for each in sources])
    boxes = tuple(_group_box(each, nodes, times, *layout.places[place]) for place, each in enumerate(drawn))
    hidden = len(groups.groups) - len(drawn)
    return _drawing(layout, boxes, more_boxes=hidden, are_groups=True)


def _group_box(group: _Group, nodes: Sequence[NodeDetails], times: Sequence[Timing], x: int, y: int) -> Box:
    counts = _counts(nodes[index] for index in group.members)
    number = len(group.members)
    status = next(each for each in _WORST_FIRST if counts[each])
    words = ", ".join(f"{counts[each]:,} {each}" for each in _WORST_FIRST if counts[each])
    shown = {each: counts[each] for each in ("completed", "failed", "running") if counts[each]}
    return Box(
        kind="group" if number > 1 else group.kind,
        status=status,
        sign=_SIGNS[status],
        title=line(group.task_name, _TITLE_CHARACTERS),
        subtitle=f"{counted(number, 'node')}" if status == "completed" else line(words, _SUBTITLE_CHARACTERS),
        hint=f"{line(group.task_name, 130)}, {counted(number, 'node')}: {words}",
        x=x,
        y=y,
        bar=_bar(shown, number),
        page=page_of(nodes[group.members[0]]) if number == 1 else None,
        is_critical=any(times[index].is_critical for index in group.members),
    )


def _counts(nodes: Iterable[NodeDetails]) -> Counter[str]:
    return Counter(status_of(each) for each in nodes)


def time_line(
    nodes: Sequence[NodeDetails], times: Sequence[Timing], now_s: float, groups: Groups | None = None
) -> TimeLine:
    """Draw a run along the time, from its start to ``now_s`` seconds later.

    Args:
        nodes: Its nodes.
        times: The times of the nodes.
        now_s: The present in seconds after the start, or the end of the run.
        groups: The groups of the nodes, if they are known.
    """
    whole = max(now_s, max((each.end_s for each in times if not each.is_estimated), default=0.0), 1e-3)
    if len(nodes) > _MOST_ROWS:
        known = groups or group_nodes(nodes)
        rows = [_group_row(each, nodes, times, now_s, whole) for each in known.groups]
    else:
        rows = [_row(node, time, now_s, whole) for node, time in zip(nodes, times, strict=True)]
    rows.sort(key=lambda each: (each.lasted_s is None, each.waited_x, each.x))
    return TimeLine(tuple(rows[:_MOST_ROWS]), max(len(rows) - _MOST_ROWS, 0), whole, len(nodes) > _MOST_ROWS)


def _row(node: NodeDetails, time: Timing, now_s: float, whole: float) -> Row:
    has_run = time.started_s is not None
    is_over = node.status in {WorkflowTaskStatus.SKIPPED, WorkflowTaskStatus.PENDING}
    started = time.started_s if time.started_s is not None else now_s
    end = time.end_s if node.finished_at is not None else max(now_s, started)
    return Row(
        title=node.node_id,
        kind=status_of(node),
        hint=_hint(node, time, _progress(node)[0]),
        page=page_of(node),
        waited_x=_percent(time.ready_s, whole),
        waited_width=0.0 if is_over else _percent(started - time.ready_s, whole),
        x=min(_percent(started, whole), 100 - _LEAST_WIDTH),
        width=max(_percent(end - started, whole), _LEAST_WIDTH) if has_run else 0.0,
        lasted_s=end - started if has_run else None,
        is_critical=time.is_critical,
    )


def _group_row(group: _Group, nodes: Sequence[NodeDetails], times: Sequence[Timing], now_s: float, whole: float) -> Row:
    counts = _counts(nodes[index] for index in group.members)
    status = next(each for each in _WORST_FIRST if counts[each])
    starts = [start for index in group.members if (start := times[index].started_s) is not None]
    ends = [times[index].end_s if nodes[index].finished_at is not None else now_s for index in group.members]
    started = min(starts, default=now_s)
    words = ", ".join(f"{counts[each]:,} {each}" for each in _WORST_FIRST if counts[each])
    number = len(group.members)
    ready = min(times[index].ready_s for index in group.members)
    return Row(
        title=f"{group.task_name} \N{MULTIPLICATION SIGN} {number:,}"
        if number > 1
        else nodes[group.members[0]].node_id,
        kind=status,
        hint=f"{line(group.task_name, 130)}, {counted(number, 'node')}: {words}",
        page=page_of(nodes[group.members[0]]) if number == 1 else None,
        waited_x=_percent(ready, whole),
        waited_width=_percent(started - ready, whole) if starts else 0.0,
        x=min(_percent(started, whole), 100 - _LEAST_WIDTH),
        width=max(_percent(max(ends) - started, whole), _LEAST_WIDTH) if starts else 0.0,
        lasted_s=max(ends) - started if starts else None,
        is_critical=any(times[index].is_critical for index in group.members),
    )


def _percent(seconds: float, whole: float) -> float:
    return round(min(max(100 * seconds / whole, 0.0), 100.0), 3)


def blocked_by(nodes: Sequence[NodeDetails]) -> dict[int, list[int]]:
    """Return for each pending node the nodes that it still waits for."""
    found: dict[int, list[int]] = defaultdict(list)
    for node in nodes:
        if node.status is WorkflowTaskStatus.PENDING:
            found[node.index] = [each for each in node.waits_for if not nodes[each].status.is_terminal]
    return found
