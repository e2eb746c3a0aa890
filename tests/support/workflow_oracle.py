"""A model of workflow runs in plain Python: no database, no time, no processes.

It takes what `compile_run` writes and the events that happen to a run, and says where every node stands, what is passed
on, and how the run ends. It is made to be compared with the database, so it is written for being read, not for speed, and
shares no code with it.

Ends move in waves. The first wave are the nodes that finish together; what they skip, and the nodes of parent runs whose
child run they end, are the next; and so on until nothing moves. A node learns of its dependencies wave by wave. What
became ready is enqueued at the end, for a later wave may have paused its run.
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
        """The form that a `TaskResult` has inside of JSON."""
        return {"ok" if self.is_ok else "err": self.content}


def ok(value: Json = None) -> Outcome:
    """A task that succeeded."""
    return Outcome(is_ok=True, content=value)


def failed(code: str, data: Json = None) -> Outcome:
    """A task that failed, was cancelled (TASK_CANCELLED) or expired (TASK_EXPIRED)."""
    return Outcome(is_ok=False, content=error(code, data))


def error(code: str, data: Json = None, **more: Json) -> dict[str, Json]:
    """An error without its message, which is for people."""
    return {"error_code": code, "data": data, **more}


@dataclass(eq=False)
class Node:
    """A node of a run.

    Attributes:
        spec: as the document describes it.
        status: without RUNNING, which is an ENQUEUED one that has begun.
        result: the value if it COMPLETED, the error if it FAILED or was SKIPPED.
        begun: its task was started once; it stays so over retries.
        in_hand: its task runs now.
        told: what is known of its dependencies, by their place in ``waits_for``: whether they completed.
        child: the run that it is.
        items: of an expanded map: what became of each, None while it is open.
    """

    spec: Mapping[str, Json]
    status: str = "PENDING"
    result: Json = None
    begun: bool = False
    in_hand: bool = False
    told: dict[int, bool] = field(default_factory=dict)
    child: "Run | None" = None
    items: list[Outcome | None] | None = None

    def end(self, status: str, result: Json) -> None:
        """Note how it ended."""
        self.status, self.result, self.in_hand = status, result, False

    @property
    def shown(self) -> str:
        """The status that users see."""
        is_running = self.begun or self.child is not None or self.items is not None
        return "RUNNING" if is_running and self.status in {"READY", "ENQUEUED"} else self.status

    def decide(self) -> str | None:
        """What it becomes by what it was told; None: it waits on."""
        spec, count = self.spec, len(self.spec["waits_for"])
        unknown, completed = count - len(self.told), sum(self.told.values())
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
        return self.spec["waits_for"][min(place for place, completed in self.told.items() if not completed)]


@dataclass(eq=False)
class Run:
    """A run of a workflow, with the runs below it.

    Attributes:
        document: what `compile_run` wrote, read.
        parent: the run that it is a node of, and which.
        error: of a run that FAILED or was CANCELLED.
        first_failure: the index of the node whose failure counts.
        counted: how many nodes have ended in waves so far.
    """

    document: Mapping[str, Json]
    parent: "tuple[Run, int] | None" = None
    status: str = "RUNNING"
    error: Json = None
    first_failure: int | None = None
    counted: int = 0
    nodes: list[Node] = field(init=False)

    def __post_init__(self) -> None:
        """Begin: nodes that wait for nothing are ready."""
        self.nodes = [Node(spec) for spec in self.document["nodes"]]
        for node in self.nodes:
            if not node.spec["waits_for"]:
                node.status = "READY"
        _enqueue([(self, index) for index in range(len(self.nodes))])

    def statuses(self) -> list[str]:
        """Of all nodes, as users see them."""
        return [node.shown for node in self.nodes]

    def waiting(self) -> list[int]:
        """Nodes whose task a worker may start now."""
        if self.status != "RUNNING":
            return []
        at = [index for index, node in enumerate(self.nodes) if node.status == "ENQUEUED" and not node.in_hand]
        return [index for index in at if self.nodes[index].child is None and not self.open_items(index)]

    def running(self) -> list[int]:
        """Nodes whose own task runs now."""
        return [index for index, node in enumerate(self.nodes) if node.in_hand]

    def open_items(self, index: int) -> list[int]:
        """Items of an expanded map that may run or do so."""
        items = self.nodes[index].items or []
        most = self.nodes[index].spec["max_parallel"] or len(items)
        return [item for item, outcome in enumerate(items) if outcome is None][:most]

    def tree(self) -> "list[Run]":
        """This run and those below it that have not ended."""
        below = [child for node in self.nodes if node.child is not None for child in node.child.tree()]
        return [self, *below] if self.status not in RUN_ENDED else []

    def inputs(self, index: int) -> dict[str, Json]:
        """What a node gets from those before it, as far as they have ended; results as `Outcome.as_result`."""
        spec = self.nodes[index].spec
        passed = {name: self._passed_on(source) for name, source in spec["args_from"].items()}
        told = {source: self._passed_on(source) for source in spec["ctx_from"] or ()}
        return {
            "args_from": {name: result for name, result in passed.items() if result is not None},
            "ctx": None if spec["ctx_from"] is None else told,
        }

    def _passed_on(self, source: int) -> Json:
        node = self.nodes[source]
        if node.status not in ENDED:
            return None
        if node.status == "SKIPPED":
            return {"err": error("UPSTREAM_SKIPPED", {"dependency_index": source})}
        return Outcome(node.status == "COMPLETED", node.result).as_result()

    def outcome(self) -> Outcome | None:
        """What `get` gives; None while the run goes on."""
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
        """The `SubWorkflowSummary` of a child run that has ended."""
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
    """A worker starts the task of a node, or the attempt after a retry."""
    node = run.nodes[index]
    assert run.status == "RUNNING"
    assert node.status == "ENQUEUED"
    node.begun = node.in_hand = True


def retry(run: Run, index: int) -> None:
    """An attempt failed and another one follows; while the run is paused, it waits."""
    run.nodes[index].in_hand = False


def finish(ends: Iterable[tuple[Run, int, Outcome]]) -> None:
    """Tasks of nodes end together. Outcomes of nodes that have ended, or that are child runs, change nothing."""
    moved: list[Place] = []
    for run, index, outcome in ends:
        node = run.nodes[index]
        if node.status == "ENQUEUED" and node.child is None:
            node.end("COMPLETED" if outcome.is_ok else "FAILED", outcome.content)
            moved.append((run, index))
    _advance(moved)


def attach(run: Run, index: int, document: Mapping[str, Json]) -> Run:
    """The task of a sub-workflow has built its run: it begins as its parent stands."""
    node = run.nodes[index]
    assert node.status == "ENQUEUED"
    node.in_hand = False
    node.child = Run(document, (run, index), run.status)
    return node.child


def expand(run: Run, index: int) -> int:
    """The task of a map makes items of its source's list; how many."""
    node = run.nodes[index]
    source = run.nodes[node.spec["over"]]
    node.in_hand = False
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
    """Tasks of items end together; after the last one a task collects them."""
    node = run.nodes[index]
    assert node.items is not None
    for item, outcome in outcomes.items():
        node.items[item] = outcome
    if None not in node.items and node.status == "ENQUEUED":
        node.status = "READY"
        _enqueue([(run, index)])


def collect(run: Run, index: int) -> None:
    """The task that collects the results of items does so."""
    node = run.nodes[index]
    assert node.items is not None
    node.end("COMPLETED", [item.as_result() for item in node.items if item is not None])
    _advance([(run, index)])


def pause(run: Run) -> bool:
    """Somebody pauses a run; whether that changed anything."""
    going = [each for each in run.tree() if each.status == "RUNNING"]
    for each in going:
        each.status = "PAUSED"
    return bool(going)


def resume(run: Run) -> bool:
    """Somebody lets a run go on: what is ready is enqueued, what has no open node ends."""
    resumed = [each for each in run.tree() if each.status == "PAUSED"]
    for each in resumed:
        each.status = "RUNNING"
        _enqueue([(each, index) for index in range(len(each.nodes))])
    _advance(_settle(resumed))
    return bool(resumed)


def cancel(run: Run) -> bool:
    """Somebody cancels a run: what has begun fails, what waits is skipped; the parent run goes on without it."""
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
        for run, index in _told(wave):
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


def _told(wave: list[Place]) -> list[Place]:
    """Tell the dependents of a wave; who they are."""
    told: list[Place] = []
    for run, ended in wave:
        for index, node in enumerate(run.nodes):
            if ended in node.spec["waits_for"]:
                node.told[node.spec["waits_for"].index(ended)] = run.nodes[ended].status == "COMPLETED"
                told.append((run, index))
    return list(dict.fromkeys(told))


def _enqueue(places: Iterable[Place]) -> None:
    for run, index in places:
        if run.status == "RUNNING" and run.nodes[index].status == "READY":
            run.nodes[index].status = "ENQUEUED"


def _settle(runs: Iterable[Run]) -> list[Place]:
    """End the runs in which nothing is left; the nodes of parent runs that end with them."""
    ended = [run for run in runs if run.status == "RUNNING" and run.counted == len(run.nodes)]
    for run in ended:
        run.error = _verdict(run)
        run.status = "COMPLETED" if run.error is None else "FAILED"
    return [place for run in ended for place in _end_of_parent(run)]


def _verdict(run: Run) -> Json:
    """The error of a run in which nothing is left; None if it succeeded."""
    cases = run.document["cases"]
    if cases is None:
        return None if run.first_failure is None else run.nodes[run.first_failure].result
    if any(all(run.nodes[index].status == "COMPLETED" for index in case) for case in cases):
        return None
    failures = sorted(index for case in cases for index in case if run.nodes[index].status == "FAILED")
    return run.nodes[failures[0]].result if failures else error("WORKFLOW_SUCCESS_CASE_NOT_MET")


def _end_of_parent(run: Run) -> list[Place]:
    """End the node that a run is, which has ended."""
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
