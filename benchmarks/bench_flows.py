"""Benchmarks of workflow runs with no-op tasks: wide runs, long runs, many runs, and the time to start them."""

import itertools
import statistics
import time
from typing import Any

import bench_tasks
from bench_tasks import app
from setting import measure, worker

from horsies import TaskError, TaskNode, TaskResult, WorkflowHandle, WorkflowSpec, from_node

PATIENCE_MS = 120_000


@app.task("hop")
def hop(before: TaskResult[int, TaskError]) -> TaskResult[int, TaskError]:
    """Pass a number on."""
    return TaskResult(ok=before.unwrap() + 1)


@app.workflow_builder(cases=[{"count": 2}])
def fan_out(count: int) -> WorkflowSpec[int]:
    """Return a workflow of one node, many nodes that wait for it, and one node that waits for all of those."""
    first = TaskNode(bench_tasks.noop, kwargs={"number": 0})
    wide = [TaskNode(bench_tasks.noop, kwargs={"number": number}, waits_for=[first]) for number in range(count)]
    join = TaskNode(bench_tasks.noop, kwargs={"number": 1}, waits_for=wide)
    return app.workflow("wide", [first, *wide, join], output=join, definition_key="bench.wide")


@app.workflow_builder(cases=[{"count": 2}])
def chain(count: int) -> WorkflowSpec[int]:
    """Return a chain of nodes that pass on a number."""
    nodes = [TaskNode(bench_tasks.noop, kwargs={"number": 0})]
    for _ in range(count - 1):
        nodes.append(hop.node()(from_node(nodes[-1])))
    return app.workflow("long", nodes, output=nodes[-1], definition_key="bench.long")


@app.workflow_builder(cases=[{"side": 2}])
def lattice(side: int) -> WorkflowSpec[Any]:
    """Return rows of nodes, in which each node waits for two nodes of the previous row."""
    rows = [[TaskNode(bench_tasks.noop, kwargs={"number": 0}) for _ in range(side)]]
    for _ in range(side - 1):
        above = rows[-1]
        rows.append(
            [
                TaskNode(bench_tasks.noop, kwargs={"number": 0}, waits_for=[above[at], above[(at + 1) % side]])
                for at in range(side)
            ]
        )
    return app.workflow("lattice", [node for row in rows for node in row], definition_key="bench.lattice")


def seconds_of(*specs: WorkflowSpec[Any]) -> float:
    """Measure the seconds from the first start to the last end."""
    start = time.perf_counter()
    handles = [spec.start().unwrap() for spec in specs]
    finish(handles)
    return time.perf_counter() - start


def finish(handles: list[WorkflowHandle[Any]]) -> None:
    """Wait for runs to complete."""
    for handle in handles:
        handle.get(PATIENCE_MS).unwrap()


def flows(runs: int, scale: int) -> None:
    """Run all benchmarks; ``scale`` is the size in percent."""
    wide, many, side = 10 * scale, 10 * scale, scale

    def start_ms(spec: WorkflowSpec[Any]) -> float:
        begin = time.perf_counter()
        handle = spec.start().unwrap()
        spent = (time.perf_counter() - begin) * 1000
        handle.cancel().unwrap()
        return spent

    def hops() -> float:
        handle = chain(2 * scale).start().unwrap()
        handle.get(PATIENCE_MS).unwrap()
        ends = [info.completed_at for info in handle.tasks().unwrap() if info.completed_at is not None]
        return statistics.median((b - a).total_seconds() * 1000 for a, b in itertools.pairwise(ends))

    measure(f"start of a chain of {2 * scale} nodes", "ms", runs, lambda: start_ms(chain(2 * scale)))
    measure(f"start of {10 * wide:,} nodes", "ms", runs, lambda: start_ms(fan_out(10 * wide)))
    with worker("--processes=2", app="bench_flows:app"):
        finish([chain(2).start().unwrap()])
        measure("chain p50, a hop", "ms", runs, hops)
        measure(f"fan-out and join of {wide:,}", "/s", runs, lambda: wide / seconds_of(fan_out(wide)))
        measure(f"fan-out and join of {10 * wide:,}", "/s", runs, lambda: 10 * wide / seconds_of(fan_out(10 * wide)))
        measure(f"lattice of {side} x {side}", "/s", runs, lambda: side * side / seconds_of(lattice(side)))
        small = [fan_out(3)] * many
        measure(f"{many:,} runs of 5 nodes", "/s", runs, lambda: 5 * many / seconds_of(*small))
