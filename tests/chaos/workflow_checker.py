"""Checks the workflow runs of a chaos run: records and tables against the oracle. No I/O here."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.checker import CRASHED, Verdict, Violation
from tests.chaos.load.chaos_plans import FAILS, child_plan, plan, square_of
from tests.support import workflow_oracle as model


@dataclass(frozen=True, slots=True)
class Started:
    """The producer's record of a start: accepted, or given up after an error. The name determines the plan."""

    run_id: str
    name: str
    verdict: Verdict = "accepted"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of workflows, with the numbers of its nodes and edges. ``parent`` is the node of its parent run."""

    run_id: str
    parent: tuple[str, int] | None
    name: str
    status: str
    code: str | None
    total: int
    nodes: int
    edges: int


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A row of workflow_nodes."""

    run_id: str
    index: int
    status: str
    code: str | None
    result: Any


@dataclass(frozen=True, slots=True)
class NodeTask:
    """A task that was sent for a node, or for an item of a map."""

    run_id: str
    index: int
    item: int | None = None


@dataclass(slots=True)
class FlowEvidence:
    """All records of the workflows of a chaos run."""

    started: list[Started] = field(default_factory=list[Started])
    runs: list[RunRow] = field(default_factory=list[RunRow])
    nodes: list[NodeRow] = field(default_factory=list[NodeRow])
    tasks: list[NodeTask] = field(default_factory=list[NodeTask])


def check_flows(evidence: FlowEvidence) -> list[Violation]:
    """Return all violations about workflows that the evidence shows."""
    checks = (accepted_is_started_once, nodes_are_enqueued_once, runs_end_as_the_oracle_says)
    return [violation for each in checks for violation in each(evidence)]


def accepted_is_started_once(evidence: FlowEvidence) -> Iterator[Violation]:
    """Check that every accepted start created exactly one run, and every sub-workflow node at most one."""
    known = {row.run_id for row in evidence.runs}
    for start in evidence.started:
        if start.verdict == "accepted" and start.run_id not in known:
            yield Violation("accepted is kept", f"run {start.name} {start.run_id} was accepted and is nowhere")
    roots = Counter(row.name for row in evidence.runs if row.parent is None)
    children = Counter(row.parent for row in evidence.runs if row.parent is not None)
    for what, count in (*roots.items(), *children.items()):
        if count > 1:
            yield Violation("a replayed start is one run", f"{what} was started {count} times")
    for name in roots.keys() - {start.name for start in evidence.started}:
        yield Violation("nothing runs unasked", f"nobody started run {name}")


def nodes_are_enqueued_once(evidence: FlowEvidence) -> Iterator[Violation]:
    """Check that one task was sent for each node and item, and two for a map with items: one of them collects."""
    places = {(row.run_id, row.index) for row in evidence.nodes}
    sent = Counter(evidence.tasks)
    expanded = {(task.run_id, task.index) for task in sent if task.item is not None}
    for task, count in sent.items():
        place = (task.run_id, task.index)
        if place not in places:
            yield Violation("nothing runs unasked", f"{task} is of no node")
        if count > (2 if task.item is None and place in expanded else 1):
            yield Violation("nodes are enqueued once", f"{count} tasks were sent for {task}")


def runs_end_as_the_oracle_says(evidence: FlowEvidence) -> Iterator[Violation]:
    """Check that every run is complete, and that it, its nodes, results and child runs end as in the oracle."""
    rows: dict[str, list[NodeRow]] = defaultdict(list)
    for node in sorted(evidence.nodes, key=lambda row: row.index):
        rows[node.run_id].append(node)
    children = {row.parent: row for row in evidence.runs if row.parent is not None}
    sent = Counter((task.run_id, task.index, task.item is None) for task in evidence.tasks)
    for row in evidence.runs:
        if row.parent is None:
            yield from _Comparison(rows, children, sent).violations(row, model.Run(plan(row.name)))


@dataclass(frozen=True, slots=True)
class _Comparison:
    rows: Mapping[str, Sequence[NodeRow]]
    children: Mapping[tuple[str, int], RunRow]
    sent: Mapping[tuple[str, int, bool], int]

    def violations(self, row: RunRow, run: model.Run) -> Iterator[Violation]:
        """Yield the differences between a run in the database and a new run of the oracle."""
        what = f"run {row.name} {row.run_id}"
        nodes = self.rows.get(row.run_id, ())
        edges = sum(len(node.spec["waits_for"]) for node in run.nodes)
        if (row.total, row.nodes, row.edges) != (len(run.nodes), len(run.nodes), edges):
            yield Violation("runs are whole", f"{what} is to have {len(run.nodes)} nodes and {edges} edges: {row}")
        if [node.index for node in nodes] != list(range(len(run.nodes))):
            yield Violation("runs are whole", f"{what} has the nodes {[node.index for node in nodes]}")
            return
        while waiting := run.waiting():
            for index in waiting:
                yield from self._carry_out(row, run, index, nodes[index])
        for found, node in zip(nodes, run.nodes, strict=True):
            yield from self._differences(what, found, node)
        # With cases, the oracle determines the error. Without, the first failure does, which depends on timing.
        codes = {node.result["error_code"] for node in run.nodes if node.status == "FAILED"}
        if run.error is not None and run.document["cases"] is not None:
            codes = {run.error["error_code"]}
        if row.status != run.status or (row.code not in codes if run.error is not None else row.code is not None):
            expected = f"{run.status} with {codes if run.error is not None else None}"
            yield Violation("runs end as they have to", f"{what} is {row.status} with {row.code}, not {expected}")

    def _carry_out(self, row: RunRow, run: model.Run, index: int, found: NodeRow) -> Iterator[Violation]:
        spec = run.nodes[index].spec
        model.begin(run, index)
        if spec["kind"] == "task":
            model.finish([(run, index, _outcome(run, index))])
        elif spec["kind"] == "map":
            count = model.expand(run, index)
            if count:
                squares = [square_of(value) for value in range(count)]
                outcomes = [model.failed(FAILS) if square is None else model.ok(square) for square in squares]
                model.finish_items(run, index, dict(enumerate(outcomes)))
                model.begin(run, index)
                model.collect(run, index)
            if self.sent.get((row.run_id, index, False), 0) != count:
                yield Violation("nodes are enqueued once", f"map {row.run_id} {index} has not sent {count} items")
        elif found.code == CRASHED:  # the task that builds the run crashed; it has no retry policy
            model.finish([(run, index, model.failed(CRASHED))])
        else:
            child = self.children.get((row.run_id, index))
            below = model.attach(run, index, child_plan(spec["value"]))
            if child is None:
                yield Violation("runs are whole", f"node {index} of {row.run_id} has no run")
                return
            yield from self.violations(child, below)

    def _differences(self, what: str, found: NodeRow, node: model.Node) -> Iterator[Violation]:
        place = f"node {found.index} of {what}"
        expected = None if node.status == "COMPLETED" or node.result is None else node.result["error_code"]
        if (found.status, found.code) != (node.status, expected):
            detail = f"{place} is {found.status} with {found.code}, not {node.status} with {expected}"
            yield Violation("runs end as they have to", detail)
        elif found.status == "COMPLETED" and _plain(found.result) != _plain(node.result):
            yield Violation("results are right", f"{place} has the result {found.result}, not {node.result}")
        sent = self.sent.get((found.run_id, found.index, True), 0)
        if (sent > 0) != (node.status in {"COMPLETED", "FAILED"}):
            yield Violation("nodes are enqueued once", f"{place}, {found.status}, has {sent} tasks")


def _outcome(run: model.Run, index: int) -> model.Outcome:
    """Return the planned outcome of a node's task."""
    spec, given = run.nodes[index].spec, run.inputs(index)["args_from"]
    if spec["fails"]:
        return model.failed(FAILS)
    if spec["work"] == "numbers":
        return model.ok(list(range(spec["value"])))
    if spec["work"] == "total":
        return model.ok(sum(part.get("ok") or 0 for part in given["parts"]["ok"]))
    return model.ok(spec["value"] + (given["before"].get("ok") or 0 if given else 0))


def _plain(value: Any) -> Any:
    """Return a result without the parts of errors that the oracle does not know."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {"err": value["err"]["error_code"]} if "err" in value else value
    return value
