"""The checker of workflow runs detects each violation in a record that is correct otherwise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.load.chaos_plans import plan
from tests.chaos.workflow_checker import FlowEvidence, NodeRow, NodeTask, RunRow, Started, check_flows

# By its plan: 0 fails and 1 and 2 are skipped with it; 3 is a run of its own, 4 adds one to its output; 5 is a list, 6 maps
# it, and 7 is the total. What comes of them is worked out by hand here.
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
def sound() -> FlowEvidence:
    """A run with a run below it, of which all went as planned, and one of which nobody knows whether it was started."""
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


def test_a_sound_run_has_no_violation(sound: FlowEvidence) -> None:
    assert check_flows(sound) == []


def test_the_plan_of_a_name_is_always_the_same() -> None:
    assert plan(NAME) == plan(NAME) != plan("s-119")


def test_a_run_that_is_nowhere(sound: FlowEvidence) -> None:
    sound.started.append(Started("nowhere", "s-2"))
    assert promises(sound) == {"accepted is kept"}


def test_a_start_that_was_refused(sound: FlowEvidence) -> None:
    sound.started.append(Started("None", "PAYLOAD_MISMATCH"))
    assert promises(sound) == {"accepted is kept"}


def test_a_run_that_nobody_started(sound: FlowEvidence) -> None:
    sound.started.clear()
    assert promises(sound) == {"nothing runs unasked"}


@pytest.mark.parametrize("number", [0, 1])
def test_a_run_that_was_started_twice(sound: FlowEvidence, number: int) -> None:
    again = replace(sound.runs[number], run_id="again")
    sound.nodes += [replace(node, run_id="again") for node in sound.nodes if node.run_id == sound.runs[number].run_id]
    sound.runs.append(again)
    assert "a replayed start is one run" in promises(sound)


@pytest.mark.parametrize(
    "task", [NodeTask("top", 0), NodeTask("top", MAP), NodeTask("top", MAP, 3), NodeTask("low", 1)]
)
def test_a_node_that_was_enqueued_twice(sound: FlowEvidence, task: NodeTask) -> None:
    sound.tasks.append(task)
    assert "nodes are enqueued once" in promises(sound)


def test_a_skipped_node_with_a_task(sound: FlowEvidence) -> None:
    sound.tasks.append(NodeTask("top", 1))
    assert promises(sound) == {"nodes are enqueued once"}


@pytest.mark.parametrize("task", [NodeTask("top", 0), NodeTask("top", MAP, 3), NodeTask("low", 1)])
def test_what_ended_without_a_task(sound: FlowEvidence, task: NodeTask) -> None:
    sound.tasks.remove(task)
    assert promises(sound) == {"nodes are enqueued once"}


def test_a_task_of_no_node(sound: FlowEvidence) -> None:
    sound.tasks.append(NodeTask("elsewhere", 0))
    assert promises(sound) == {"nothing runs unasked"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("change", [{"total": 3}, {"nodes": 1}, {"edges": 0}])
def test_a_run_that_was_half_inserted(sound: FlowEvidence, number: int, change: dict[str, int]) -> None:
    sound.runs[number] = replace(sound.runs[number], **change)
    assert promises(sound) == {"runs are whole"}


@pytest.mark.parametrize("run_id", ["top", "low"])
def test_a_run_of_which_a_node_is_missing(sound: FlowEvidence, run_id: str) -> None:
    sound.nodes.remove(next(node for node in sound.nodes if node.run_id == run_id))
    assert "runs are whole" in promises(sound)


def test_a_node_without_its_run(sound: FlowEvidence) -> None:
    del sound.runs[1]
    assert "runs are whole" in promises(sound)


def breaks_with(sound: FlowEvidence, where: Callable[[NodeRow], bool], **change: Any) -> set[str]:
    sound.nodes = [replace(node, **change) if where(node) else node for node in sound.nodes]
    return promises(sound)


@pytest.mark.parametrize("place", [("top", 4), ("top", MAP), ("top", 7), ("low", 1)])
def test_a_wrong_result(sound: FlowEvidence, place: tuple[str, int]) -> None:
    assert breaks_with(sound, lambda node: (node.run_id, node.index) == place, result=99) == {"results are right"}


@pytest.mark.parametrize("place", [("top", 0), ("top", 1), ("top", 4), ("low", 0)])
def test_a_node_in_another_state(sound: FlowEvidence, place: tuple[str, int]) -> None:
    found = breaks_with(sound, lambda node: (node.run_id, node.index) == place, status="ENQUEUED", code=None)
    assert found == {"runs end as they have to"}


def test_a_node_that_failed_by_a_crash_although_it_is_tried_again(sound: FlowEvidence) -> None:
    found = breaks_with(sound, lambda node: node.index == 0 and node.run_id == "top", code="WORKER_CRASHED")
    assert found == {"runs end as they have to"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("change", [{"status": "RUNNING"}, {"code": "OTHER"}])
def test_a_run_in_another_state(sound: FlowEvidence, number: int, change: dict[str, str]) -> None:
    sound.runs[number] = replace(sound.runs[number], **change)
    assert promises(sound) == {"runs end as they have to"}


def test_a_run_whose_building_crashed_is_what_a_crash_allows(sound: FlowEvidence) -> None:
    del sound.runs[1]
    sound.nodes = [node for node in sound.nodes if node.run_id == "top"]
    sound.tasks = [task for task in sound.tasks if task.run_id == "top" and task.index != CHILD + 1]
    sound.nodes[CHILD] = NodeRow("top", CHILD, "FAILED", "WORKER_CRASHED", {})
    assert promises(sound) == {"runs end as they have to"}, "what waits for it has to be skipped"
    sound.nodes[CHILD + 1] = NodeRow("top", CHILD + 1, "SKIPPED", "UPSTREAM_SKIPPED", {})
    sound.runs[0] = replace(sound.runs[0], code="WORKER_CRASHED")
    assert check_flows(sound) == []
