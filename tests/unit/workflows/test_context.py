"""The information that a task receives about its run."""

from typing import Any

import pytest

from horsies import (
    NodeKey,
    SubWorkflowError,
    SubWorkflowNode,
    SubWorkflowSummary,
    WorkflowContext,
    WorkflowContextMissingIdError,
    WorkflowDefinition,
    WorkflowMeta,
    WorkflowStatus,
    from_node,
)
from horsies.codec.signature import SignatureCodec
from tests.support.flows import app, fetch, listing, report, resize


class Child(WorkflowDefinition[str]):
    name = "child"
    definition_key = "test_workflow_context.child"
    first = fetch.node()("x")

    class Meta:
        output = "first"


FETCHED = fetch.node(node_id="fetched")("x")
EACH = resize.map(over=from_node(listing.node(node_id="found")()), node_id="each")(size=1)
CHILD = SubWorkflowNode(Child, node_id="child")
SUMMARY = {
    "status": "FAILED",
    "output": None,
    "total_tasks": 3,
    "completed_tasks": 1,
    "failed_tasks": 1,
    "skipped_tasks": 1,
    "error_summary": "first failed",
}
CHILD_ERROR = {
    "error_code": "SUBWORKFLOW_FAILED",
    "message": "m",
    "data": None,
    "exception": None,
    "sub_workflow_id": "id",
    "sub_workflow_summary": SUMMARY,
}


def entry(node_id: str, status: str, result: Any, **more: Any) -> dict[str, Any]:
    return {"index": 0, "node_id": node_id, "status": status, "result": result, **more}


def context(*entries: dict[str, Any]) -> WorkflowContext:
    inputs = {"workflow_id": "run", "index": 4, "task_name": "report", "ctx": list(entries)}
    return WorkflowContext(inputs, app.registry.result_codec)


def test_it_has_the_ids_of_its_run_and_node() -> None:
    here = context()
    assert (here.workflow_id, here.task_index, here.task_name) == ("run", 4, "report")


def test_a_result_is_found_by_node_and_by_key() -> None:
    received = context(entry("fetched", "COMPLETED", "page", kind="task", task_name="fetch"))
    assert received.result_for(FETCHED).ok_value == "page"
    assert received.result_for(NodeKey("fetched")).ok_value == "page"
    assert received.has_result(FETCHED)


def test_a_map_has_a_list_of_results() -> None:
    received = context(entry("each", "COMPLETED", [{"ok": 1}, {"ok": 2}], kind="map", task_name="resize"))
    for asked in (EACH, EACH.key()):
        assert [each.unwrap() for each in received.result_for(asked).unwrap()] == [1, 2]


def test_errors_are_returned_as_errors() -> None:
    skipped = {"error_code": "UPSTREAM_SKIPPED", "message": "m", "data": {"dependency_index": 1}, "exception": None}
    received = context(entry("fetched", "SKIPPED", skipped), entry("child", "FAILED", CHILD_ERROR, summary=SUMMARY))
    assert received.result_for(FETCHED).err_value.error_code == "UPSTREAM_SKIPPED"
    error = received.result_for(CHILD).err_value
    assert isinstance(error, SubWorkflowError)
    assert error.sub_workflow_id == "id"
    assert error.sub_workflow_summary == SubWorkflowSummary(WorkflowStatus.FAILED, None, 3, 1, 1, 1, "first failed")


def test_a_summary_has_the_output_in_its_type() -> None:
    summary = SUMMARY | {"status": "COMPLETED", "output": "page", "error_summary": None}
    received = context(entry("child", "COMPLETED", "page", summary=summary), entry("other", "SKIPPED", None))
    assert received.has_summary(CHILD)
    assert received.summary_for(CHILD) == SubWorkflowSummary(WorkflowStatus.COMPLETED, "page", 3, 1, 1, 1, None)
    assert not received.has_summary(SubWorkflowNode(Child, node_id="other"))
    with pytest.raises(KeyError, match="no summary of <workflow node 'other'>"):
        received.summary_for(SubWorkflowNode(Child, node_id="other"))


def test_a_node_that_was_not_waited_for_has_no_result_yet() -> None:
    received = context(entry("fetched", "RUNNING", None))
    assert not received.has_result(FETCHED)
    assert received.result_for(FETCHED).err_value.error_code == "RESULT_NOT_READY"


def test_a_node_that_is_not_listed_is_named() -> None:
    received = context(entry("fetched", "COMPLETED", "x"))
    assert not received.has_result(EACH)
    with pytest.raises(
        KeyError, match="<map node 'each'> is not in the workflow_ctx_from of this node, which contains fetch"
    ):
        received.result_for(EACH)


def test_a_node_without_an_id_cannot_be_found() -> None:
    with pytest.raises(WorkflowContextMissingIdError):
        context().result_for(fetch.node()("x"))
    with pytest.raises(WorkflowContextMissingIdError):
        context().has_result(fetch.node()("x"))


def test_a_task_may_declare_both_parameters() -> None:
    signature: SignatureCodec = report.definition.signature
    call = b'{"workflow_ctx":null,"workflow_meta":{"workflow_id":"run","task_index":1,"task_name":"report"}}'
    assert signature.decode_call(call) == (
        (),
        {"workflow_ctx": None, "workflow_meta": WorkflowMeta("run", 1, "report")},
    )


def test_a_context_is_not_sent() -> None:
    refused = report.send("x", workflow_ctx=context())
    assert "workflow_ctx" in refused.err_value.message
