"""Nodes: what builders make, what is frozen, what has a key."""

from dataclasses import FrozenInstanceError

import pytest

from horsies import (
    MapNode,
    NodeKey,
    TaskNode,
    WorkflowContextMissingIdError,
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


def test_what_the_worker_fills_in_may_be_given_as_none() -> None:
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


def test_a_node_is_shared_by_specs_and_stays_as_it_is() -> None:
    node = fetch.node()("x")
    one = app.workflow("one", [node], definition_key="one")
    other = app.workflow("other", [listing.node()(), node], definition_key="other")
    assert (one.node_ids, other.node_ids) == (("one:0",), ("other:0", "other:1"))
    assert (one.index_of(node), other.index_of(node), node.node_id) == (0, 1, None)
