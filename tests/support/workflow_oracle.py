"""A model of workflow runs in plain Python: no database, no time, no processes.

Its input is the document that `compile_run` writes and the events of a run. Its output is the state of every node, the
values that are passed between nodes, and the outcome of the run. Tests compare it with the database. Therefore it is
written for clarity and not for speed, and shares no code with the library.

Ended nodes are processed in waves. The first wave consists of the nodes that finish together. The next wave consists of
the nodes that they skip, and of the nodes of parent runs whose child run they end. The waves end when no further node
ends. Dependents are updated once per wave. Ready nodes are enqueued at the end, because a later wave may pause their
run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

type Json = Any

ENDED = {"COMPLETED", "FAILED", "SKIPPED"}
RUN_ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with a value, or with a `TaskError` as JSON."""

    is_ok: bool
    content: Json

    def as_result(self) -> dict[str, Json]:
        """Return the JSON form of a `TaskResult`."""
        return {"ok" if self.is_ok else "err": self.content}


def ok(value: Json = None) -> Outcome:
    """Return the outcome of a successful task."""
    return Outcome(is_ok=True, content=value)


def failed(code: str, data: Json = None) -> Outcome:
    """Return the outcome of a task that failed, was cancelled (TASK_CANCELLED) or expired (TASK_EXPIRED)."""
    return Outcome(is_ok=False, content=error(code, data))


def error(code: str, data: Json = None, **more: Json) -> dict[str, Json]:
    """Return an error without its message, which is text for people."""
    return {"error_code": code, "data": data, **more}


@dataclass(eq=False)
class Node:
    """A node of a run.

    Attributes:
        spec: The node in the document.
        status: The status. A RUNNING node is ENQUEUED here, with ``begun``.
        result: The value of a COMPLETED node; the error of a FAILED or SKIPPED one.
        begun: Whether its task was started at least once; retries do not reset it.
        is_running: Whether its task is running now.
        ended_deps: The ended dependencies, by their position in ``waits_for``: whether each completed.
        child: The child run of a workflow node.
        items: The outcomes of the items of an expanded map; None for an open item.
    """

    spec: Mapping[str, Json]
    status: str = "PENDING"
    result: Json = None
    begun: bool = False
    is_running: bool = False
    ended_deps: dict[int, bool] = field(default_factory=dict)
    child: "Run | None" = None
    items: list[Outcome | None] | None = None

    def end(self, status: str, result: Json) -> None:
        """Record how the node ended."""
        self.status, self.result, self.is_running = status, result, False

    @property
    def shown(self) -> str:
        """The status that users see."""
        is_running = self.begun or self.child is not None or self.items is not None
        return "RUNNING" if is_running and self.status in {"READY", "ENQUEUED"} else self.status

    def decide(self) -> str | None:
        """Return the new status that its ended dependencies determine; None if it still waits."""
        spec, count = self.spec, len(self.spec["waits_for"])
        unknown, completed = count - len(self.ended_deps), sum(self.ended_deps.values())
        if spec["join"] == "all":
            if unknown:
                return None
            return "READY" if completed == count or spec["allow_failed_deps"] else "SKIPPED"
        needed = 1 if spec["join"] == "any" else spec["min_success"]
        if completed >= needed:
            return "READY"
        return "SKIPPED" if completed + unknown < needed else None

    def first_failed_dependency(self) -> int:
        """The index of the first dependency, in the order of ``waits_for``, that is known not to have completed."""
        return self.spec["waits_for"][min(place for place, completed in self.ended_deps.items() if not completed)]


@dataclass(eq=False)
class Run:
    """A run of a workflow, with the runs below it.

    Attributes:
        document: The decoded document that `compile_run` wrote.
        parent: The parent run, and the index of the node there.
        error: The error of a FAILED or CANCELLED run.
        first_failure: The index of the node whose failure determines the error of the run.
        counted: The number of nodes that have ended in waves so far.
    """

    document: Mapping[str, Json]
    parent: "tuple[Run, int] | None" = None
    status: str = "RUNNING"
    error: Json = None
    first_failure: int | None = None
    counted: int = 0
    nodes: list[Node] = field(init=False)

    def __post_init__(self) -> None:
        """Make the nodes without dependencies ready."""
        self.nodes = [Node(spec) for spec in self.document["nodes"]]
        for node in self.nodes:
            if not node.spec["waits_for"]:
                node.status = "READY"
        _enqueue([(self, index) for index in range(len(self.nodes))])

    def statuses(self) -> list[str]:
        """Return the statuses of all nodes, as users see them."""
        return [node.shown for node in self.nodes]

    def waiting(self) -> list[int]:
        """Return the nodes whose task a worker may start now."""
        if self.status != "RUNNING":
            return []
        at = [index for index, node in enumerate(self.nodes) if node.status == "ENQUEUED" and not node.is_running]
        return [index for index in at if self.nodes[index].child is None and not self.open_items(index)]

    def running(self) -> list[int]:
        """Return the nodes whose own task is running."""
        return [index for index, node in enumerate(self.nodes) if node.is_running]

    def open_items(self, index: int) -> list[int]:
        """Return the items of an expanded map that are running or may start."""
        items = self.nodes[index].items or []
        most = self.nodes[index].spec["max_parallel"] or len(items)
        return [item for item, outcome in enumerate(items) if outcome is None][:most]

    def tree(self) -> "list[Run]":
        """Return this run and all runs below it that have not ended."""
        below = [child for node in self.nodes if node.child is not None for child in node.child.tree()]
        return [self, *below] if self.status not in RUN_ENDED else []

    def inputs(self, index: int) -> dict[str, Json]:
        """Return the inputs of a node from its ended dependencies, with results as in `Outcome.as_result`."""
        spec = self.nodes[index].spec
        passed = {name: self._passed_on(source) for name, source in spec["args_from"].items()}
        context = {source: self._passed_on(source) for source in spec["ctx_from"] or ()}
        return {
            "args_from": {name: result for name, result in passed.items() if result is not None},
            "ctx": None if spec["ctx_from"] is None else context,
        }

    def _passed_on(self, source: int) -> Json:
        node = self.nodes[source]
        if node.status not in ENDED:
            return None
        if node.status == "SKIPPED":
            return {"err": error("UPSTREAM_SKIPPED", {"dependency_index": source})}
        return Outcome(node.status == "COMPLETED", node.result).as_result()

    def outcome(self) -> Outcome | None:
        """Return the outcome that `get` returns; None if the run has not ended."""
        if self.status not in RUN_ENDED:
            return None
        if self.error is not None:
            return Outcome(is_ok=False, content=self.error)
        if self.document["output"] is None:
            depended_on = {source for node in self.nodes for source in node.spec["waits_for"]}
            leaves = [node for index, node in enumerate(self.nodes) if index not in depended_on]
            return ok({node.spec["node_id"]: _result(node).as_result() for node in leaves})
        return _result(self.nodes[self.document["output"]])

    def summary(self) -> dict[str, Json]:
        """Return the `SubWorkflowSummary` of an ended child run."""
        counts = {state: sum(node.status == state for node in self.nodes) for state in ENDED}
        output = None if self.document["output"] is None else self.nodes[self.document["output"]]
        has_output = self.status == "COMPLETED" and output is not None and output.status == "COMPLETED"
        return {
            "status": self.status,
            "output": output.result if has_output and output is not None else None,
            "total_tasks": len(self.nodes),
            "completed_tasks": counts["COMPLETED"],
            "failed_tasks": counts["FAILED"],
            "skipped_tasks": counts["SKIPPED"],
        }


def _result(node: Node) -> Outcome:
    return Outcome(node.status == "COMPLETED", node.result)


type Place = tuple[Run, int]


def begin(run: Run, index: int) -> None:
    """Start the task of a node, or its next attempt."""
    node = run.nodes[index]
    assert run.status == "RUNNING"
    assert node.status == "ENQUEUED"
    node.begun = node.is_running = True


def retry(run: Run, index: int) -> None:
    """End a failed attempt that is retried. While the run is paused, the next attempt waits."""
    run.nodes[index].is_running = False


def finish(ends: Iterable[tuple[Run, int, Outcome]]) -> None:
    """End the tasks of several nodes together. Outcomes of ended nodes and of child runs change nothing."""
    moved: list[Place] = []
    for run, index, outcome in ends:
        node = run.nodes[index]
        if node.status == "ENQUEUED" and node.child is None:
            node.end("COMPLETED" if outcome.is_ok else "FAILED", outcome.content)
            moved.append((run, index))
    _advance(moved)


def attach(run: Run, index: int, document: Mapping[str, Json]) -> Run:
    """Attach the run that the task of a sub-workflow has built. It starts with the status of its parent run."""
    node = run.nodes[index]
    assert node.status == "ENQUEUED"
    node.is_running = False
    node.child = Run(document, (run, index), run.status)
    return node.child


def expand(run: Run, index: int) -> int:
    """Create the items of a map from the list of its source; return their number."""
    node = run.nodes[index]
    source = run.nodes[node.spec["over"]]
    node.is_running = False
    if source.status != "COMPLETED":
        node.end("FAILED", source.result)
    elif not isinstance(source.result, list):
        node.end("FAILED", error("WORKFLOW_ENQUEUE_FAILED"))
    elif not source.result:
        node.end("COMPLETED", [])
    else:
        node.items = [None] * len(source.result)
        return len(node.items)
    _advance([(run, index)])
    return 0


def finish_items(run: Run, index: int, outcomes: Mapping[int, Outcome]) -> None:
    """End the tasks of several items together. After the last item, a task collects the results."""
    node = run.nodes[index]
    assert node.items is not None
    for item, outcome in outcomes.items():
        node.items[item] = outcome
    if None not in node.items and node.status == "ENQUEUED":
        node.status = "READY"
        _enqueue([(run, index)])


def collect(run: Run, index: int) -> None:
    """Collect the results of the items."""
    node = run.nodes[index]
    assert node.items is not None
    node.end("COMPLETED", [item.as_result() for item in node.items if item is not None])
    _advance([(run, index)])


def pause(run: Run) -> bool:
    """Pause a run; return whether that changed anything."""
    going = [each for each in run.tree() if each.status == "RUNNING"]
    for each in going:
        each.status = "PAUSED"
    return bool(going)


def resume(run: Run) -> bool:
    """Resume a run: enqueue ready nodes, and end runs without open nodes. Return whether that changed anything."""
    resumed = [each for each in run.tree() if each.status == "PAUSED"]
    for each in resumed:
        each.status = "RUNNING"
        _enqueue([(each, index) for index in range(len(each.nodes))])
    _advance(_settle(resumed))
    return bool(resumed)


def cancel(run: Run) -> bool:
    """Cancel a run: started nodes fail, waiting nodes are skipped, and the parent run continues."""
    ending = run.tree()
    for each in ending:
        for node in each.nodes:
            if node.status not in ENDED:
                is_begun = node.shown == "RUNNING"
                code = "TASK_CANCELLED" if is_begun else "WORKFLOW_CANCELLED"
                node.end("FAILED" if is_begun else "SKIPPED", error(code))
    for each in ending:
        each.status, each.error = "CANCELLED", error("WORKFLOW_CANCELLED")
    _advance([place for each in ending[:1] for place in _end_of_parent(each)])
    return bool(ending)


def _advance(wave: list[Place]) -> None:
    ready: list[Place] = []
    while wave:
        touched = list(dict.fromkeys(run for run, _ in wave))
        for run in touched:
            _note_failures(run, [index for each, index in wave if each is run])
        skipped: list[Place] = []
        for run, index in _update_dependents(wave):
            node, becomes = run.nodes[index], run.nodes[index].decide()
            if node.status != "PENDING" or becomes is None:
                continue
            if becomes == "READY":
                node.status = "READY"
                ready.append((run, index))
            else:
                node.end("SKIPPED", error("UPSTREAM_SKIPPED", {"dependency_index": node.first_failed_dependency()}))
                skipped.append((run, index))
        wave = [*skipped, *_settle(touched)]
    _enqueue(ready)


def _note_failures(run: Run, ended: list[int]) -> None:
    run.counted += len(ended)
    failures = sorted(index for index in ended if run.nodes[index].status == "FAILED")
    if failures and run.first_failure is None:
        run.first_failure = failures[0]
    pauses = set(failures) - set(run.document["optional"])
    if run.document["on_error"] == "pause" and pauses and run.status == "RUNNING":
        pause(run)


def _update_dependents(wave: list[Place]) -> list[Place]:
    """Update the dependents of a wave, and return them."""
    dependents: list[Place] = []
    for run, ended in wave:
        for index, node in enumerate(run.nodes):
            if ended in node.spec["waits_for"]:
                node.ended_deps[node.spec["waits_for"].index(ended)] = run.nodes[ended].status == "COMPLETED"
                dependents.append((run, index))
    return list(dict.fromkeys(dependents))


def _enqueue(places: Iterable[Place]) -> None:
    for run, index in places:
        if run.status == "RUNNING" and run.nodes[index].status == "READY":
            run.nodes[index].status = "ENQUEUED"


def _settle(runs: Iterable[Run]) -> list[Place]:
    """End the runs without open nodes; return the nodes of parent runs that end with them."""
    ended = [run for run in runs if run.status == "RUNNING" and run.counted == len(run.nodes)]
    for run in ended:
        run.error = _verdict(run)
        run.status = "COMPLETED" if run.error is None else "FAILED"
    return [place for run in ended for place in _end_of_parent(run)]


def _verdict(run: Run) -> Json:
    """Return the error of a run without open nodes; None if it succeeded."""
    cases = run.document["cases"]
    if cases is None:
        return None if run.first_failure is None else run.nodes[run.first_failure].result
    if any(all(run.nodes[index].status == "COMPLETED" for index in case) for case in cases):
        return None
    failures = sorted(index for case in cases for index in case if run.nodes[index].status == "FAILED")
    return run.nodes[failures[0]].result if failures else error("WORKFLOW_SUCCESS_CASE_NOT_MET")


def _end_of_parent(run: Run) -> list[Place]:
    """End the node of the parent run that this ended run belongs to."""
    if run.parent is None:
        return []
    above, index = run.parent
    node = above.nodes[index]
    if node.status != "ENQUEUED":
        return []
    if run.error is not None:
        node.end("FAILED", error("SUBWORKFLOW_FAILED", sub_workflow_summary=run.summary()))
    elif run.document["output"] is None:
        node.end("COMPLETED", None)
    else:
        output = run.nodes[run.document["output"]]
        node.end("COMPLETED" if output.status == "COMPLETED" else "FAILED", output.result)
    return [run.parent]
