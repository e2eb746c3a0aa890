"""The model with which runs in the database are compared. Each rule about runs is tested on the model."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.workflow_oracle import (
    ENDED,
    RUN_ENDED,
    Outcome,
    Run,
    attach,
    begin,
    cancel,
    collect,
    error,
    expand,
    failed,
    finish,
    finish_items,
    ok,
    pause,
    resume,
    retry,
)

BAD = failed("BAD")


def node(*waits_for: int, **options: Any) -> dict[str, Any]:
    plain = {"join": "all", "min_success": None, "allow_failed_deps": False, "args_from": {}, "ctx_from": None}
    return {"kind": "task", "waits_for": list(waits_for), "over": None, "max_parallel": None} | plain | options


def document(*nodes: dict[str, Any], **options: Any) -> dict[str, Any]:
    named = [{"node_id": f"n{index}"} | each for index, each in enumerate(nodes)]
    return {"nodes": named, "on_error": "fail", "output": None, "cases": None, "optional": []} | options


def start(*nodes: dict[str, Any], **options: Any) -> Run:
    return Run(document(*nodes, **options))


def end(run: Run, *ends: int, as_: Outcome | None = None) -> list[str]:
    """End nodes together; return the states of all nodes after that."""
    for index in ends:
        begin(run, index)
    finish([(run, index, as_ or ok(index)) for index in ends])
    return run.statuses()


def skipped_by(run: Run, index: int) -> int:
    result = run.nodes[index].result
    assert result["error_code"] == "UPSTREAM_SKIPPED"
    return result["data"]["dependency_index"]


def test_a_chain() -> None:
    run = start(node(), node(0, args_from={"x": 0}), output=1)
    assert run.statuses() == ["ENQUEUED", "PENDING"]
    begin(run, 0)
    assert run.statuses() == ["RUNNING", "PENDING"]
    finish([(run, 0, ok("value"))])
    assert run.statuses() == ["COMPLETED", "ENQUEUED"]
    assert run.inputs(1) == {"args_from": {"x": {"ok": "value"}}, "ctx": None}
    assert run.outcome() is None
    end(run, 1)
    assert (run.status, run.outcome()) == ("COMPLETED", ok(1))


def test_all_waits_for_all() -> None:
    run = start(node(), node(), node(0, 1))
    assert end(run, 0)[2] == "PENDING"
    assert end(run, 1)[2] == "ENQUEUED"


def test_all_decides_when_the_last_has_ended() -> None:
    run = start(node(), node(), node(0, 1), node(2))
    assert end(run, 1, as_=BAD) == ["ENQUEUED", "FAILED", "PENDING", "PENDING"]
    assert end(run, 0) == ["COMPLETED", "FAILED", "SKIPPED", "SKIPPED"]
    assert (skipped_by(run, 2), skipped_by(run, 3)) == (1, 2)
    assert (run.status, run.error) == ("FAILED", error("BAD"))


def test_failed_dependencies_may_be_allowed() -> None:
    run = start(node(), node(0), node(0, 1, allow_failed_deps=True, args_from={"a": 0, "b": 1}, ctx_from=[1]), output=2)
    assert end(run, 0, as_=BAD) == ["FAILED", "SKIPPED", "ENQUEUED"]
    skipped = {"err": error("UPSTREAM_SKIPPED", {"dependency_index": 1})}
    assert run.inputs(2) == {"args_from": {"a": {"err": error("BAD")}, "b": skipped}, "ctx": {1: skipped}}
    end(run, 2)
    assert (run.status, run.error) == ("FAILED", error("BAD"))


def test_any_starts_with_the_first_that_completes() -> None:
    run = start(node(), node(), node(), node(0, 1, 2, join="any", args_from={"a": 0, "b": 2}))
    assert end(run, 0, as_=BAD)[3] == "PENDING"
    assert end(run, 1)[3] == "ENQUEUED"
    assert run.inputs(3)["args_from"] == {"a": {"err": error("BAD")}}
    assert end(run, 2, as_=BAD)[3] == "ENQUEUED"


def test_any_is_skipped_when_none_can() -> None:
    run = start(node(), node(), node(0, 1, join="any"))
    assert end(run, 1, as_=BAD)[2] == "PENDING"
    assert end(run, 0, as_=BAD)[2] == "SKIPPED"


def test_a_quorum_is_skipped_as_soon_as_it_cannot_be_reached() -> None:
    run = start(*(node() for _ in range(4)), node(0, 1, 2, 3, join="quorum", min_success=3))
    assert end(run, 1, as_=BAD)[4] == "PENDING"
    assert end(run, 2, as_=BAD)[4] == "SKIPPED"
    assert skipped_by(run, 4) == 1
    run = start(*(node() for _ in range(4)), node(0, 1, 2, 3, join="quorum", min_success=3))
    assert end(run, 1, as_=BAD)[4] == "PENDING"
    assert end(run, 0, 2)[4] == "PENDING"
    assert end(run, 3)[4] == "ENQUEUED"


def test_the_lowest_of_failures_that_come_together_counts() -> None:
    run = start(node(), node(), node())
    begin(run, 1)
    begin(run, 2)
    finish([(run, 2, failed("TWO")), (run, 1, failed("ONE"))])
    assert run.status == "RUNNING"
    end(run, 0, as_=failed("ZERO"))
    assert (run.status, run.error) == ("FAILED", error("ONE"))


def test_without_an_output_the_results_of_the_leaves_are_returned() -> None:
    run = start(node(), node(0), node(0))
    end(run, 0)
    end(run, 1, 2)
    assert run.outcome() == ok({"n1": {"ok": 1}, "n2": {"ok": 2}})


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], ok(2)),
        ([1], ok(2)),
        ([0], Outcome(is_ok=False, content=error("BAD0"))),
        ([0, 1], Outcome(is_ok=False, content=error("BAD0"))),
    ],
)
def test_a_policy_decides_by_cases(bad: Sequence[int], expected: Outcome) -> None:
    run = start(node(), node(), node(), cases=[[0, 1], [0, 2]], output=2)
    end(run, 2)
    for index in (1, 0):
        end(run, index, as_=failed(f"BAD{index}") if index in bad else None)
    assert run.outcome() == expected


def test_a_skipped_node_does_not_meet_a_case() -> None:
    run = start(node(), node(0), cases=[[1]], output=1)
    end(run, 0, as_=BAD)
    assert run.outcome() == failed("WORKFLOW_SUCCESS_CASE_NOT_MET")


def test_a_skipped_output_of_a_run_that_completed() -> None:
    run = start(node(), node(), node(0), cases=[[1]], output=2)
    end(run, 0, as_=BAD)
    end(run, 1)
    assert run.status == "COMPLETED"
    assert run.outcome() == failed("UPSTREAM_SKIPPED", {"dependency_index": 0})


def test_a_failure_may_pause() -> None:
    run = start(node(), node(), node(), node(1), on_error="pause")
    begin(run, 1)
    end(run, 0, as_=BAD)
    assert (run.status, run.waiting(), run.running()) == ("PAUSED", [], [1])
    finish([(run, 1, ok())])
    assert run.statuses() == ["FAILED", "COMPLETED", "ENQUEUED", "READY"]
    assert resume(run)
    assert (run.statuses(), run.waiting()) == (["FAILED", "COMPLETED", "ENQUEUED", "ENQUEUED"], [2, 3])
    end(run, 2, 3)
    assert (run.status, run.error) == ("FAILED", error("BAD"))
    assert not resume(run)


def test_an_optional_failure_does_not() -> None:
    run = start(node(), node(), on_error="pause", optional=[0], cases=[[1]])
    end(run, 0, as_=BAD)
    assert run.status == "RUNNING"
    end(run, 1)
    assert run.status == "COMPLETED"


def test_nothing_that_gets_ready_beside_the_failure_starts() -> None:
    run = start(node(), node(), node(0), on_error="pause")
    begin(run, 0)
    begin(run, 1)
    finish([(run, 0, ok()), (run, 1, BAD)])
    assert (run.status, run.statuses()) == ("PAUSED", ["COMPLETED", "FAILED", "READY"])


def test_a_paused_run_ends_when_it_is_resumed() -> None:
    run = start(node())
    begin(run, 0)
    assert pause(run)
    assert not pause(run)
    finish([(run, 0, ok(5))])
    assert run.status == "PAUSED"
    assert resume(run)
    assert run.status == "COMPLETED"


def test_a_retry_waits_while_the_run_is_paused() -> None:
    run = start(node())
    begin(run, 0)
    pause(run)
    retry(run, 0)
    assert (run.statuses(), run.waiting()) == (["RUNNING"], [])
    resume(run)
    assert run.waiting() == [0]


def test_cancel_fails_started_nodes_and_skips_the_others() -> None:
    run = start(node(), node(), node(1))
    begin(run, 0)
    assert cancel(run)
    assert not cancel(run)
    assert run.statuses() == ["FAILED", "SKIPPED", "SKIPPED"]
    assert run.nodes[0].result == error("TASK_CANCELLED")
    assert run.outcome() == failed("WORKFLOW_CANCELLED")
    finish([(run, 0, ok())])
    assert run.statuses()[0] == "FAILED"


def test_a_cancelled_task_is_a_failed_node() -> None:
    run = start(node(), node(0))
    finish([(run, 0, failed("TASK_CANCELLED"))])
    assert (run.statuses(), run.error) == (["FAILED", "SKIPPED"], error("TASK_CANCELLED"))


def test_a_child_gives_its_output_to_its_node() -> None:
    run = start(node(kind="workflow"), node(0, args_from={"x": 0}))
    begin(run, 0)
    child = attach(run, 0, document(node(), output=0))
    assert run.statuses() == ["RUNNING", "PENDING"]
    assert run.waiting() == []
    end(child, 0, as_=ok("out"))
    assert (child.status, run.statuses()) == ("COMPLETED", ["COMPLETED", "ENQUEUED"])
    assert run.inputs(1)["args_from"] == {"x": {"ok": "out"}}


def test_a_child_without_output_gives_none() -> None:
    run = start(node(kind="workflow"), output=0)
    begin(run, 0)
    end(attach(run, 0, document(node())), 0)
    assert run.outcome() == ok(None)


def test_a_child_that_fails_is_summed_up() -> None:
    run = start(node(kind="workflow"), on_error="pause")
    begin(run, 0)
    child = attach(run, 0, document(node(), node(0), node()))
    end(child, 2)
    end(child, 0, as_=BAD)
    summary = {"status": "FAILED", "output": None, "total_tasks": 3}
    summary |= {"completed_tasks": 1, "failed_tasks": 1, "skipped_tasks": 1}
    assert run.nodes[0].result == error("SUBWORKFLOW_FAILED", sub_workflow_summary=summary)
    assert run.status == "PAUSED"


def test_pause_resume_and_cancel_go_down_to_children() -> None:
    run = start(node(kind="workflow"), node())
    begin(run, 0)
    child = attach(run, 0, document(node(), node(0)))
    begin(child, 0)
    pause(run)
    finish([(child, 0, ok())])
    assert (child.status, child.statuses()) == ("PAUSED", ["COMPLETED", "READY"])
    resume(run)
    assert (child.status, child.waiting()) == ("RUNNING", [1])
    cancel(run)
    assert (child.status, child.statuses()) == ("CANCELLED", ["COMPLETED", "SKIPPED"])
    assert run.statuses() == ["FAILED", "SKIPPED"]


def test_a_child_of_a_paused_run_begins_paused() -> None:
    run = start(node(kind="workflow"))
    begin(run, 0)
    pause(run)
    child = attach(run, 0, document(node()))
    assert (child.status, child.statuses()) == ("PAUSED", ["READY"])
    resume(run)
    assert child.waiting() == [0]


def test_a_child_that_is_cancelled_alone_fails_its_node() -> None:
    run = start(node(kind="workflow"), node())
    begin(run, 0)
    child = attach(run, 0, document(node()))
    assert cancel(child)
    assert (run.status, run.statuses()) == ("RUNNING", ["FAILED", "ENQUEUED"])
    assert run.nodes[0].result["error_code"] == "SUBWORKFLOW_FAILED"


def test_a_map_runs_once_an_item_and_collects() -> None:
    run = start(node(), node(0, kind="map", over=0, max_parallel=2), node(1, args_from={"all": 1}))
    end(run, 0, as_=ok(["a", "b", "c"]))
    begin(run, 1)
    assert expand(run, 1) == 3
    assert (run.open_items(1), run.waiting()) == ([0, 1], [])
    finish_items(run, 1, {1: BAD})
    assert run.open_items(1) == [0, 2]
    finish_items(run, 1, {0: ok(1), 2: ok(3)})
    assert (run.statuses(), run.waiting()) == (["COMPLETED", "RUNNING", "PENDING"], [1])
    collect(run, 1)
    assert run.inputs(2)["args_from"] == {"all": {"ok": [{"ok": 1}, {"err": error("BAD")}, {"ok": 3}]}}


def test_a_map_over_nothing_completes() -> None:
    run = start(node(), node(0, kind="map", over=0), output=1)
    end(run, 0, as_=ok([]))
    begin(run, 1)
    assert expand(run, 1) == 0
    assert run.outcome() == ok([])


def test_a_map_over_an_error_fails_with_it() -> None:
    run = start(node(), node(0, kind="map", over=0, allow_failed_deps=True))
    end(run, 0, as_=BAD)
    begin(run, 1)
    expand(run, 1)
    assert run.nodes[1].result == error("BAD")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw workflows of up to ten nodes."""
    nodes: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 10))):
        waits_for = sorted(draw(st.sets(st.integers(0, index - 1), max_size=4))) if index else []
        join = draw(st.sampled_from(["all", "any", "quorum"])) if waits_for else "all"
        needed = draw(st.integers(1, len(waits_for))) if join == "quorum" else None
        nodes.append(node(*waits_for, join=join, min_success=needed, allow_failed_deps=draw(st.booleans())))
    return document(*nodes, on_error=draw(st.sampled_from(["fail", "pause"])))


@given(documents(), st.data())
def test_every_run_ends_and_every_node_with_it(described: dict[str, Any], data: st.DataObject) -> None:
    run = Run(described)
    while run.status not in RUN_ENDED:
        if run.status == "PAUSED":
            assert resume(run)
            continue
        together = data.draw(st.lists(st.sampled_from(run.waiting()), min_size=1, unique=True))
        for index in together:
            begin(run, index)
        before = run.statuses()
        finish([(run, index, BAD if data.draw(st.booleans()) else ok()) for index in together])
        assert all(was == now for was, now in zip(before, run.statuses(), strict=True) if was in ENDED)
    assert set(run.statuses()) <= ENDED
    assert (run.status == "FAILED") == ("FAILED" in run.statuses())
    for each in run.nodes:
        completed = sum(run.nodes[index].status == "COMPLETED" for index in each.spec["waits_for"])
        needed = {"any": 1, "quorum": each.spec["min_success"]}.get(each.spec["join"], len(each.spec["waits_for"]))
        if each.spec["join"] != "all" or not each.spec["allow_failed_deps"]:
            assert (each.status == "SKIPPED") == (completed < needed)
        else:
            assert each.status != "SKIPPED"
