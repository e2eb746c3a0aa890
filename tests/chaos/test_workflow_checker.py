"""The checker of workflow runs detects each violation in a record that is correct otherwise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.load.chaos_plans import plan
from tests.chaos.workflow_checker import FlowEvidence, NodeRow, NodeTask, RunRow, Started, check_flows

# The plan: node 0 fails, so nodes 1 and 2 are skipped; node 3 is a child run, and node 4 adds one to its output; node 5
# returns a list, node 6 maps it, and node 7 computes the total. The expected results below were derived by hand.
NAME = "s-118"
CHILD, MAP = 3, 6
SQUARES = [{"ok": 0}, {"ok": 1}, {"err": {"error_code": "BOOM", "message": "x"}}, {"ok": 9}, {"ok": 16}]
TOP: list[tuple[str, str | None, Any]] = [
    ("FAILED", "BOOM", {"error_code": "BOOM"}),
    ("SKIPPED", "UPSTREAM_SKIPPED", {"error_code": "UPSTREAM_SKIPPED"}),
    ("SKIPPED", "UPSTREAM_SKIPPED", {"error_code": "UPSTREAM_SKIPPED"}),
    ("COMPLETED", None, 7),
    ("COMPLETED", None, 8),
    ("COMPLETED", None, [0, 1, 2, 3, 4, 5]),
    ("COMPLETED", None, [*SQUARES, {"err": {"error_code": "BOOM"}}]),
    ("COMPLETED", None, 26),
]


@pytest.fixture
def correct() -> FlowEvidence:
    """Return a correct run with a child run, and a run of which the producer does not know whether it started."""
    return FlowEvidence(
        started=[Started("top", NAME), Started("lost", "s-1", "unsure")],
        runs=[
            RunRow("top", None, NAME, "FAILED", "BOOM", 8, 8, 6),
            RunRow("low", ("top", CHILD), "child", "COMPLETED", None, 2, 2, 1),
        ],
        nodes=[
            *(NodeRow("top", index, *row) for index, row in enumerate(TOP)),
            NodeRow("low", 0, "COMPLETED", None, 6),
            NodeRow("low", 1, "COMPLETED", None, 7),
        ],
        tasks=[
            *(NodeTask("top", index) for index in (0, 3, 4, 5, 6, 6, 7)),
            *(NodeTask("top", MAP, item) for item in range(6)),
            NodeTask("low", 0),
            NodeTask("low", 1),
        ],
    )


def promises(evidence: FlowEvidence) -> set[str]:
    return {violation.promise for violation in check_flows(evidence)}


def test_a_correct_run_has_no_violation(correct: FlowEvidence) -> None:
    assert check_flows(correct) == []


def test_the_plan_of_a_name_is_always_the_same() -> None:
    assert plan(NAME) == plan(NAME) != plan("s-119")


def test_a_run_that_disappeared(correct: FlowEvidence) -> None:
    correct.started.append(Started("nowhere", "s-2"))
    assert promises(correct) == {"accepted is kept"}


def test_a_start_that_was_refused(correct: FlowEvidence) -> None:
    correct.started.append(Started("None", "PAYLOAD_MISMATCH"))
    assert promises(correct) == {"accepted is kept"}


def test_a_run_that_nobody_started(correct: FlowEvidence) -> None:
    correct.started.clear()
    assert promises(correct) == {"nothing runs unasked"}


@pytest.mark.parametrize("number", [0, 1])
def test_a_run_that_was_started_twice(correct: FlowEvidence, number: int) -> None:
    again = replace(correct.runs[number], run_id="again")
    correct.nodes += [
        replace(node, run_id="again") for node in correct.nodes if node.run_id == correct.runs[number].run_id
    ]
    correct.runs.append(again)
    assert "a replayed start is one run" in promises(correct)


@pytest.mark.parametrize(
    "task", [NodeTask("top", 0), NodeTask("top", MAP), NodeTask("top", MAP, 3), NodeTask("low", 1)]
)
def test_a_node_that_was_enqueued_twice(correct: FlowEvidence, task: NodeTask) -> None:
    correct.tasks.append(task)
    assert "nodes are enqueued once" in promises(correct)


def test_a_skipped_node_with_a_task(correct: FlowEvidence) -> None:
    correct.tasks.append(NodeTask("top", 1))
    assert promises(correct) == {"nodes are enqueued once"}


@pytest.mark.parametrize("task", [NodeTask("top", 0), NodeTask("top", MAP, 3), NodeTask("low", 1)])
def test_a_node_that_ended_without_a_task(correct: FlowEvidence, task: NodeTask) -> None:
    correct.tasks.remove(task)
    assert promises(correct) == {"nodes are enqueued once"}


def test_a_task_of_no_node(correct: FlowEvidence) -> None:
    correct.tasks.append(NodeTask("elsewhere", 0))
    assert promises(correct) == {"nothing runs unasked"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("change", [{"total": 3}, {"nodes": 1}, {"edges": 0}])
def test_a_run_that_was_half_inserted(correct: FlowEvidence, number: int, change: dict[str, int]) -> None:
    correct.runs[number] = replace(correct.runs[number], **change)
    assert promises(correct) == {"runs are whole"}


@pytest.mark.parametrize("run_id", ["top", "low"])
def test_a_run_with_a_missing_node(correct: FlowEvidence, run_id: str) -> None:
    correct.nodes.remove(next(node for node in correct.nodes if node.run_id == run_id))
    assert "runs are whole" in promises(correct)


def test_a_node_without_its_run(correct: FlowEvidence) -> None:
    del correct.runs[1]
    assert "runs are whole" in promises(correct)


def breaks_with(correct: FlowEvidence, where: Callable[[NodeRow], bool], **change: Any) -> set[str]:
    correct.nodes = [replace(node, **change) if where(node) else node for node in correct.nodes]
    return promises(correct)


@pytest.mark.parametrize("place", [("top", 4), ("top", MAP), ("top", 7), ("low", 1)])
def test_a_wrong_result(correct: FlowEvidence, place: tuple[str, int]) -> None:
    assert breaks_with(correct, lambda node: (node.run_id, node.index) == place, result=99) == {"results are right"}


@pytest.mark.parametrize("place", [("top", 0), ("top", 1), ("top", 4), ("low", 0)])
def test_a_node_in_another_state(correct: FlowEvidence, place: tuple[str, int]) -> None:
    found = breaks_with(correct, lambda node: (node.run_id, node.index) == place, status="ENQUEUED", code=None)
    assert found == {"runs end as they have to"}


def test_a_node_that_failed_by_a_crash_although_it_is_retried(correct: FlowEvidence) -> None:
    found = breaks_with(correct, lambda node: node.index == 0 and node.run_id == "top", code="WORKER_CRASHED")
    assert found == {"runs end as they have to"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("change", [{"status": "RUNNING"}, {"code": "OTHER"}])
def test_a_run_in_another_state(correct: FlowEvidence, number: int, change: dict[str, str]) -> None:
    correct.runs[number] = replace(correct.runs[number], **change)
    assert promises(correct) == {"runs end as they have to"}


def test_a_run_may_fail_if_the_task_that_builds_it_crashed(correct: FlowEvidence) -> None:
    del correct.runs[1]
    correct.nodes = [node for node in correct.nodes if node.run_id == "top"]
    correct.tasks = [task for task in correct.tasks if task.run_id == "top" and task.index != CHILD + 1]
    correct.nodes[CHILD] = NodeRow("top", CHILD, "FAILED", "WORKER_CRASHED", {})
    assert promises(correct) == {"runs end as they have to"}, "what waits for it has to be skipped"
    correct.nodes[CHILD + 1] = NodeRow("top", CHILD + 1, "SKIPPED", "UPSTREAM_SKIPPED", {})
    correct.runs[0] = replace(correct.runs[0], code="WORKER_CRASHED")
    assert check_flows(correct) == []
