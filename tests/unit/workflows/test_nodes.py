"""Nodes: builders, immutability and keys."""

import gc
import weakref
from dataclasses import FrozenInstanceError

import pytest

from horsies import (
    Horsies,
    MapNode,
    NodeKey,
    OnError,
    SubWorkflowNode,
    SuccessCase,
    SuccessPolicy,
    TaskNode,
    WorkflowContextMissingIdError,
    WorkflowDefinition,
    WorkflowSpec,
    from_node,
    slugify,
)
from horsies.workflows.nodes import Source
from tests.support.flows import add, app, fetch, gather, listing, parse, report, resize


def test_a_builder_binds_positionals_to_names() -> None:
    node = resize.node(node_id="small", queue="main", priority=3)("a", size=4)
    assert isinstance(node, TaskNode)
    assert (node.fn, node.kwargs) == (resize, {"image": "a", "size": 4})
    assert (node.node_id, node.queue, node.priority, node.waits_for) == ("small", "main", 3, ())


def test_from_node_wires_and_waits() -> None:
    first, second = parse.node()(from_node(fetch.node()("x"))), parse.node()(from_node(fetch.node()("y")))
    before = fetch.node()("z")
    node = add.node(waits_for=[before, first])(from_node(first), other=from_node(second))
    assert node.args_from == {"one": first, "other": second}
    assert node.waits_for == (before, first, second)
    assert node.kwargs == {}


def test_a_map_leaves_the_item_out() -> None:
    found = listing.node()()
    node = resize.map(over=from_node(found), max_parallel=3, node_id="each")(size=100)
    assert isinstance(node, MapNode)
    assert (node.over, node.waits_for, node.kwargs) == (found, (found,), {"size": 100})
    assert (node.max_parallel, node.node_id) == (3, "each")
    after = gather.node()(from_node(node))
    assert after.args_from == {"sizes": node}


def test_options_may_hold_arguments_which_are_merged_with_those_of_the_call() -> None:
    page = fetch.node()("x")
    other = parse.node()(from_node(page))
    node = parse.node(kwargs={"strict": True}, args_from={"page": page})()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert (node.kwargs, node.args_from, node.waits_for) == ({"strict": True}, {"page": page}, (page,))
    merged = add.node(args_from={"one": other}, waits_for=[page])(other=from_node(other))
    assert (merged.kwargs, merged.args_from) == ({}, {"one": other, "other": other})
    assert merged.waits_for == (page, other)
    assert (
        app.workflow("merged", [page, other, node, merged], definition_key="merged").plan[2].args == b'{"strict":true}'
    )


def test_a_map_uses_arguments_in_its_options() -> None:
    found, factor = listing.node()(), fetch.node()("x")
    node = resize.map(over=from_node(found), kwargs={"size": 100})()
    assert (node.kwargs, node.waits_for) == ({"size": 100}, (found,))
    wired = resize.map(over=from_node(found), args_from={"size": factor}, waits_for=[factor])()
    assert (wired.args_from, wired.waits_for) == ({"size": factor}, (factor, found))
    app.workflow("mapped", [found, node], definition_key="mapped")


def test_a_source_in_the_option_kwargs_is_wired() -> None:
    page = fetch.node()("x")
    node = parse.node(kwargs={"page": from_node(page)})()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert (node.kwargs, node.args_from, node.waits_for) == ({}, {"page": page}, (page,))


def test_positions_are_those_of_the_function() -> None:
    node = parse.node()(from_node(fetch.node()("x")), True)  # type: ignore[misc]  # pyright: ignore[reportCallIssue]
    assert (node.args, node.kwargs) == ((True,), {})


def test_parameters_that_the_worker_fills_in_may_be_passed_as_none() -> None:
    assert report.node()("x", None, workflow_meta=None).kwargs == {"title": "x"}


def test_nodes_are_frozen() -> None:
    node = fetch.node(node_id="a")("x")
    with pytest.raises(FrozenInstanceError):
        node.node_id = "b"  # type: ignore[misc]


def test_nodes_are_themselves_only() -> None:
    one, other = TaskNode(fetch, kwargs={"url": "x"}), TaskNode(fetch, kwargs={"url": "x"})
    assert one != other
    assert len({one, other, one}) == 2


def test_a_node_says_where_it_was_made() -> None:
    node = fetch.node()("x")
    assert node.location is not None
    assert node.location.file == __file__
    assert repr(node) == f"<task node made at {node.location}>"
    assert repr(listing.node(node_id="all")()) == "<task node 'all'>"


def test_a_chain_is_shown_without_what_is_before_it() -> None:
    node = fetch.node()("x")
    for _ in range(3_000):
        node = TaskNode(fetch, kwargs={"url": "x"}, waits_for=[node, node])
    assert len(repr(node)) < 200


def test_a_key_is_the_id() -> None:
    assert fetch.node(node_id="a")("x").key() == NodeKey("a")
    with pytest.raises(WorkflowContextMissingIdError, match="has no node_id"):
        fetch.node()("x").key()


def test_a_source_is_a_mark() -> None:
    node = fetch.node()("x")
    assert from_node(node) == Source(node)


@pytest.mark.parametrize(
    ("text", "slug"),
    [("Hello World!", "Hello_World"), ("a:b-c.d_e", "a:b-c.d_e"), ("  ", ""), ("Grün & blau", "Gr_n_blau")],
)
def test_slugs(text: str, slug: str) -> None:
    assert slugify(text) == slug


def test_a_node_has_the_name_of_its_task_or_workflow() -> None:
    assert (fetch.node()("x").name, SubWorkflowNode(Titled).name) == ("fetch", "titled")
    assert resize.map(over=from_node(listing.node()()))(size=1).name == "resize"


class Titled(WorkflowDefinition[None]):
    name = "titled"
    definition_key = "test_workflow_nodes.titled"
    before = fetch.node()("x")
    after = fetch.node(waits_for=[before])("y")


class Built(WorkflowDefinition[str]):
    name = "built"
    definition_key = "test_workflow_nodes.built"
    last = fetch.node()("x")

    @classmethod
    def build_with(cls, app: Horsies, count: int) -> WorkflowSpec[str]:
        pages = [fetch.node()("y") for _ in range(count)]
        return app.workflow(cls.name, [*pages, cls.last], output=cls.last)


def test_a_node_has_its_index_once_a_workflow_is_made_of_it() -> None:
    page = fetch.node()("x")
    parsed = parse.node()(from_node(page))
    assert (page.index, parsed.index) == (None, None)
    spec = app.workflow("indexed", [parsed, page], definition_key="indexed")
    assert (parsed.index, page.index) == (0, 1) == (spec.index_of(parsed), spec.index_of(page))


def test_a_node_has_no_index_while_workflows_differ_in_it() -> None:
    shared = fetch.node()("x")
    one = app.workflow("one", [shared], definition_key="one")
    assert shared.index == 0
    app.workflow("same", [shared, fetch.node()("y")], definition_key="same")
    assert shared.index == 0
    other = app.workflow("other", [fetch.node()("y"), shared], definition_key="other")
    assert shared.index is None
    assert (one.index_of(shared), other.index_of(shared)) == (0, 1)


def test_nodes_of_a_definition_have_their_index_before_it_is_built() -> None:
    assert (Titled.before.index, Titled.after.index) == (0, 1)
    assert Titled.build(app).index_of(Titled.after) == 1
    assert Built.last.index is None
    Built.build_with(app, 2)
    assert Built.last.index == 2


def test_a_node_that_is_gone_is_not_remembered() -> None:
    node = fetch.node()("x")
    app.workflow("short-lived", [node], definition_key="short-lived")
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_a_workflow_takes_its_options_by_position() -> None:
    node = fetch.node()("x")
    policy = SuccessPolicy([SuccessCase([node])])
    spec = app.workflow("positional", [node], OnError.PAUSE, node, policy, definition_key="positional")
    assert (spec.name, spec.tasks, spec.on_error) == ("positional", (node,), OnError.PAUSE)
    assert (spec.output, spec.success_policy) == (node, policy)


def test_a_node_is_shared_by_specs_and_stays_as_it_is() -> None:
    node = fetch.node()("x")
    one = app.workflow("one", [node], definition_key="one")
    other = app.workflow("other", [listing.node()(), node], definition_key="other")
    assert (one.node_ids, other.node_ids) == (("one:0",), ("other:0", "other:1"))
    assert (one.index_of(node), other.index_of(node), node.node_id) == (0, 1, None)
