"""The document that a spec is compiled to."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from horsies import SubWorkflowNode, SuccessCase, SuccessPolicy, TaskNode, WorkflowDefinition, from_node
from horsies.workflows.compile import compile_run
from tests.support.flows import add, app, fetch, gather, listing, parse, report, resize


class Child(WorkflowDefinition[str]):
    name = "child"
    definition_key = "test_workflow_compile.child"
    first = fetch.node()("x")

    class Meta:
        output = "first"


def nodes_of(document: bytes) -> dict[str, Any]:
    return {node["node_id"]: node for node in json.loads(document)["nodes"]}


def test_a_workflow_is_one_document() -> None:
    page = fetch.node(node_id="page")("x")
    parsed = parse.node(node_id="parsed", allow_failed_deps=True)(from_node(page), strict=True)
    spec = app.workflow("ingest", [parsed, page], output=parsed, on_error="pause", definition_key="shop.ingest")
    run = compile_run(spec)
    assert (run.name, run.definition_key) == ("ingest", "shop.ingest")
    assert run.fingerprint == hashlib.sha256(run.document).digest()
    document = json.loads(run.document)
    nodes = document.pop("nodes")
    assert document == {
        "name": "ingest",
        "definition_key": "shop.ingest",
        "on_error": "pause",
        "output": 0,
        "cases": None,
        "optional": [],
    }
    assert nodes[0] == {
        "node_id": "parsed",
        "kind": "task",
        "task_name": "parse",
        "queue": "slow",
        "priority": 20,
        "args": {"strict": True},
        "args_from": {"page": 1},
        "ctx_from": None,
        "wants_ctx": False,
        "wants_meta": False,
        "waits_for": [1],
        "join": "all",
        "min_success": None,
        "allow_failed_deps": True,
        "good_until": None,
        "timeout_ms": 5_000,
        "retry_policy": None,
        "over": None,
        "item_parameter": None,
        "max_parallel": None,
        "task_key": None,
        "key_by": None,
    }


def test_options_of_a_node_go_before_those_of_its_task() -> None:
    until = datetime(2030, 1, 2, tzinfo=UTC)
    options: Any = {"queue": "main", "timeout_ms": 100, "good_until": until}
    nodes = [parse.node(node_id="a", **options)(from_node(page := fetch.node()("x"))), page]
    nodes.append(add.node(node_id="b", priority=7, join="quorum", min_success=1, waits_for=[page])())
    found = nodes_of(compile_run(app.workflow("w", nodes, definition_key="w")).document)
    assert (found["a"]["queue"], found["a"]["priority"], found["a"]["timeout_ms"]) == ("main", 10, 100)
    assert found["a"]["good_until"] == "2030-01-02T00:00:00+00:00"
    assert (found["b"]["priority"], found["b"]["join"], found["b"]["min_success"]) == (7, "quorum", 1)
    assert found["b"]["retry_policy"]["codes"] == ["AGAIN"]


def test_a_dependency_that_is_named_twice_is_one() -> None:
    first = fetch.node()("x")
    nodes = [first, add.node(node_id="b", waits_for=[first, first])()]
    assert nodes_of(compile_run(app.workflow("w", nodes, definition_key="w")).document)["b"]["waits_for"] == [0]


def test_maps_contexts_and_sub_workflows() -> None:
    found = listing.node(node_id="found")()
    each = resize.map(over=from_node(found), node_id="each", max_parallel=2)(size=100)
    total = gather.node(node_id="total")(from_node(each))
    child = SubWorkflowNode(Child, node_id="child", waits_for=[found])
    said = report.node(node_id="said", waits_for=[child, total], workflow_ctx_from=[child])()
    spec = app.workflow("w", [found, each, total, child, said], output=said, definition_key="w")
    nodes = nodes_of(compile_run(spec).document)
    assert {key: nodes["each"][key] for key in ("kind", "over", "item_parameter", "max_parallel", "args")} == {
        "kind": "map",
        "over": 0,
        "item_parameter": "image",
        "max_parallel": 2,
        "args": {"size": 100},
    }
    assert (nodes["child"]["kind"], nodes["child"]["task_name"]) == (
        "workflow",
        f"horsies.build:{Child.definition_key}",
    )
    assert (nodes["child"]["queue"], nodes["child"]["priority"]) == ("main", 10)
    assert (nodes["said"]["ctx_from"], nodes["said"]["wants_ctx"], nodes["said"]["wants_meta"]) == ([3], True, True)


def test_policies_name_indexes() -> None:
    a, b, c = (fetch.node(node_id=name)("x") for name in "abc")
    policy = SuccessPolicy(cases=[SuccessCase([a, c]), SuccessCase([b])], optional=[b])
    document = json.loads(compile_run(app.workflow("w", [a, b, c], success_policy=policy, definition_key="w")).document)
    assert (document["cases"], document["optional"]) == ([[0, 2], [1]], [1])


def test_arguments_stay_the_bytes_of_the_codec() -> None:
    node = TaskNode(fetch, kwargs={"url": 'ä"\\\u2028 {"nodes":[]}'})
    document = compile_run(app.workflow("w", [node], definition_key="w")).document
    assert json.loads(document)["nodes"][0]["args"] == {"url": 'ä"\\\u2028 {"nodes":[]}'}
    assert "ä".encode() in document


def test_the_same_description_has_the_same_fingerprint() -> None:
    def described(url: str) -> bytes:
        page = fetch.node()(url)
        spec = app.workflow("w", [page, parse.node()(from_node(page))], definition_key="w")
        return compile_run(spec).fingerprint

    assert described("x") == described("x")
    assert described("x") != described("y")
