"""The layout of graphs in layers, and the critical path."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from horsies import WorkflowTaskStatus
from horsies.monitoring import NodeDetails
from horsies.web.critical_path import timings
from horsies.web.graph_layout import HEIGHT, WIDTH, isotonic, lay_out, levels_of, topological_order
from horsies.web.run_drawing import draw, time_line

START = datetime(2031, 5, 6, 12, tzinfo=UTC)


def random_graph(size: int, seed: int) -> list[list[int]]:
    """Return a graph without cycles whose vertices are not in topological order."""
    rng = random.Random(seed)  # noqa: S311
    order = list(range(size))
    rng.shuffle(order)
    sources: list[list[int]] = [[] for _ in range(size)]
    for place, vertex in enumerate(order):
        sources[vertex] = sorted({rng.choice(order[:place]) for _ in range(rng.randint(0, 3))}) if place else []
    return sources


@pytest.mark.parametrize("seed", range(20))
def test_layers_and_places(seed: int) -> None:
    sources = random_graph(40, seed)
    order = topological_order(sources)
    assert sorted(order) == list(range(40))
    assert all(order.index(source) < order.index(vertex) for vertex in order for source in sources[vertex])
    levels = levels_of(sources)
    assert all(levels[source] < levels[vertex] for vertex in order for source in sources[vertex])
    layout = lay_out(sources)
    for x in {x for x, _ in layout.places}:
        column = sorted(y for each, y in layout.places if each == x)
        assert all(lower - upper >= HEIGHT for upper, lower in pairwise(column)), "boxes do not overlap"
    assert all(0 <= x <= layout.width - WIDTH and 0 <= y <= layout.height - HEIGHT for x, y in layout.places)
    assert {(each.source, each.target) for each in layout.edges} == {
        (source, vertex) for vertex in order for source in sources[vertex]
    }


def test_a_chain_is_a_line_and_an_empty_graph_has_no_size() -> None:
    layout = lay_out([[], [0], [1]])
    assert len({y for _, y in layout.places}) == 1
    assert [x for x, _ in layout.places] == sorted(x for x, _ in layout.places)
    assert lay_out([]).places == ()


def test_an_edge_goes_around_the_boxes_of_the_layers_that_it_crosses() -> None:
    layout = lay_out([[], [0], [0, 1]])
    [direct] = [each for each in layout.edges if (each.source, each.target) == (0, 2)]
    assert "H" in direct.path


def test_isotonic_numbers() -> None:
    assert isotonic([1, 3, 2, 4]) == [1, 2.5, 2.5, 4]
    assert isotonic([3, 2, 1]) == [2, 2, 2]
    assert isotonic([]) == []


def node_of(
    index: int, start: float | None, end: float | None, *waits_for: int, status: str = "COMPLETED", **options: object
) -> NodeDetails:
    def at(seconds: float | None) -> datetime | None:
        return None if seconds is None else START + timedelta(seconds=seconds)

    return NodeDetails(
        **{
            "index": index,
            "node_id": f"n{index}",
            "kind": "task",
            "task_name": "add",
            "queue_name": "default",
            "status": WorkflowTaskStatus(status),
            "error_code": None,
            "waits_for": waits_for,
            "needed": None,
            "task_id": None,
            "child": None,
            "items": None,
            "ended_items": None,
            "started_at": at(start),
            "finished_at": at(end),
            **options,
        }
    )


def test_the_times_on_the_critical_path_add_up_to_the_run() -> None:
    nodes = [node_of(0, 1, 4), node_of(1, 1, 10), node_of(2, 12, 15, 0, 1), node_of(3, 5, 6, 0)]
    times = timings(nodes, START, START + timedelta(seconds=15))
    assert [each.is_critical for each in times] == [False, True, True, False]
    assert sum(each.end_s - each.ready_s for each in times if each.is_critical) == 15
    assert [each.slack_s for each in times] == [6, 0, 0, 9]


def test_a_dependency_that_a_quorum_did_not_need_is_not_critical() -> None:
    nodes = [node_of(0, 0, 2), node_of(1, 0, 9), node_of(2, 2, 12, 0, 1, needed=1)]
    times = timings(nodes, START, START + timedelta(seconds=12))
    assert [each.is_critical for each in times] == [True, False, True]
    assert times[1].slack_s == 3


def test_the_end_of_nodes_that_have_not_ended_is_estimated() -> None:
    nodes = [
        node_of(0, 0, 10),
        node_of(1, 10, None, 0, status="RUNNING"),
        node_of(2, None, None, 1, status="PENDING"),
        node_of(3, None, 10, status="SKIPPED"),
    ]
    times = timings(nodes, START, START + timedelta(seconds=12))
    assert [each.end_s for each in times] == [10, 20, 30, 10]
    assert [each.is_estimated for each in times] == [False, True, True, False]
    assert [each.is_critical for each in times] == [True, True, True, False]


@pytest.mark.parametrize("size", [1, 300, 301, 3000])
def test_drawings_are_bounded(size: int) -> None:
    rng = random.Random(size)  # noqa: S311
    nodes = [
        node_of(
            index,
            index,
            index + 5,
            *sorted({rng.randrange(index) for _ in range(30)} if index else ()),
            task_name=f"task-{rng.randrange(400)}",
        )
        for index in range(size)
    ]
    times = timings(nodes, START, START + timedelta(seconds=size + 5))
    drawing = draw(nodes, times)
    assert drawing.are_groups is (size > 300)
    assert len(drawing.boxes) <= 300
    assert len(drawing.edges) + len(drawing.critical_edges) <= 4000
    line = time_line(nodes, times, size + 5)
    assert len(line.rows) <= 300
    assert all(0 <= each.x <= each.x + each.width <= 100.4 for each in line.rows)
    assert len(drawing.boxes) + drawing.more_boxes >= min(size, 1)
