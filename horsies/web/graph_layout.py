"""The layout of a graph in layers, from left to right, as a method of Sugiyama: layers, order, and then coordinates.

A vertex is in the layer after the last one of its sources. An edge that crosses layers gets an invisible vertex in each
of them, so that it is routed between the others. All steps take time in proportion to vertices and edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

WIDTH = 208
HEIGHT = 52
_LAYER_GAP = 60
_GAP = 16
_BEND_HEIGHT = 6
_PADDING = 6
_SWEEPS = 4
_MOST_BENDS = 1500


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge: an SVG path from the right side of the source to the left side of the target."""

    source: int
    target: int
    path: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A graph with coordinates in pixels.

    Attributes:
        width: The width of the drawing.
        height: Its height.
        places: The upper left corner of each vertex.
        edges: The edges.
    """

    width: int
    height: int
    places: tuple[tuple[int, int], ...]
    edges: tuple[Edge, ...]


def topological_order(sources: Sequence[Sequence[int]]) -> list[int]:
    """Return all vertices in an order in which each comes after its sources."""
    open_sources = [len(each) for each in sources]
    targets = targets_of(sources)
    order = [vertex for vertex, number in enumerate(open_sources) if not number]
    for vertex in order:  # the list grows while it is read
        for target in targets[vertex]:
            open_sources[target] -= 1
            if not open_sources[target]:
                order.append(target)
    return order


def targets_of(sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return for each vertex the vertices of which it is a source."""
    targets: list[list[int]] = [[] for _ in sources]
    for vertex, each in enumerate(sources):
        for source in each:
            targets[source].append(vertex)
    return targets


def levels_of(sources: Sequence[Sequence[int]]) -> list[int]:
    """Return the layer of each vertex: 0 without sources, else one more than the highest of its sources."""
    levels = [0] * len(sources)
    for vertex in topological_order(sources):
        levels[vertex] = 1 + max((levels[source] for source in sources[vertex]), default=-1)
    return levels


def lay_out(sources: Sequence[Sequence[int]]) -> Layout:
    """Lay out a graph without cycles.

    Args:
        sources: For each vertex, the vertices from which an edge leads to it.
    """
    plan = _Plan(len(sources), levels_of(sources))
    for target, each in enumerate(sources):
        for source in dict.fromkeys(each):
            plan.connect(source, target)
    plan.arrange()
    return plan.layout()


@dataclass(slots=True)
class _Plan:
    """A graph that is being laid out.

    Attributes:
        number: The number of vertices. Larger numbers are bends of edges.
        levels: The layer of each vertex and bend.
        chains: The vertices and bends that each edge goes through, by its source and target.
        before: The vertices and bends next to each vertex or bend in the layer before.
        after: Those in the layer after.
        layers: The vertices and bends of each layer, from the top to the bottom.
        centers: The vertical middle of each.
    """

    number: int
    levels: list[int]
    chains: dict[tuple[int, int], list[int]] = field(default_factory=dict[tuple[int, int], list[int]])
    before: list[list[int]] = field(default_factory=list[list[int]])
    after: list[list[int]] = field(default_factory=list[list[int]])
    layers: list[list[int]] = field(default_factory=list[list[int]])
    centers: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.before = [[] for _ in self.levels]
        self.after = [[] for _ in self.levels]

    def connect(self, source: int, target: int) -> None:
        """Add an edge, with a bend in each layer that it crosses, unless there are too many bends already."""
        crossed = range(self.levels[source] + 1, self.levels[target])
        if len(self.levels) - self.number + len(crossed) > _MOST_BENDS:
            crossed = range(0)
        chain = [source, *(self._bend(level) for level in crossed), target]
        for left, right in pairwise(chain):
            self.after[left].append(right)
            self.before[right].append(left)
        self.chains[source, target] = chain

    def _bend(self, level: int) -> int:
        self.levels.append(level)
        self.before.append([])
        self.after.append([])
        return len(self.levels) - 1

    def arrange(self) -> None:
        """Order each layer so that few edges cross, and place each vertex near those next to it."""
        self.layers = [[] for _ in range(max(self.levels, default=-1) + 1)]
        for vertex, level in enumerate(self.levels):
            self.layers[level].append(vertex)
        for sweep in range(_SWEEPS):
            self._sort_layers(is_forward=sweep % 2 == 0)
        self.centers = [0.0] * len(self.levels)
        for layer in self.layers:
            self._place(layer, [0.0] * len(layer))
        for sweep in range(_SWEEPS):
            self._pull(is_forward=sweep % 2 == 0)

    def _sort_layers(self, *, is_forward: bool) -> None:
        adjacent = self.before if is_forward else self.after
        layers = self.layers if is_forward else self.layers[::-1]
        rank = [0] * len(self.levels)
        for layer in layers:
            for place, vertex in enumerate(layer):
                rank[vertex] = place
            means = {
                vertex: sum(map(rank.__getitem__, adjacent[vertex])) / len(adjacent[vertex])
                if adjacent[vertex]
                else rank[vertex]
                for vertex in layer
            }
            layer.sort(key=means.__getitem__)
            for place, vertex in enumerate(layer):
                rank[vertex] = place

    def _pull(self, *, is_forward: bool) -> None:
        adjacent = self.before if is_forward else self.after
        for layer in self.layers if is_forward else self.layers[::-1]:
            wanted = [
                sum(map(self.centers.__getitem__, adjacent[vertex])) / len(adjacent[vertex])
                if adjacent[vertex]
                else self.centers[vertex]
                for vertex in layer
            ]
            self._place(layer, wanted)

    def _place(self, layer: Sequence[int], wanted: Sequence[float]) -> None:
        """Place a layer as near to the wanted centers as possible, in its order and without overlaps."""
        offsets: list[float] = []
        offset = 0.0
        for place, vertex in enumerate(layer):
            if place:
                offset += (self._height(layer[place - 1]) + self._height(vertex)) / 2 + _GAP
            offsets.append(offset)
        free = isotonic([want - offset for want, offset in zip(wanted, offsets, strict=True)])
        for vertex, value, offset in zip(layer, free, offsets, strict=True):
            self.centers[vertex] = value + offset

    def _height(self, vertex: int) -> int:
        return HEIGHT if vertex < self.number else _BEND_HEIGHT

    def layout(self) -> Layout:
        """Return the result."""
        tops = [center - self._height(vertex) / 2 for vertex, center in enumerate(self.centers)]
        shift = _PADDING - min(tops, default=0.0)
        bottom = max((center + self._height(vertex) / 2 for vertex, center in enumerate(self.centers)), default=0.0)
        self.centers = [center + shift for center in self.centers]
        places = tuple((self._x(vertex), round(self.centers[vertex] - HEIGHT / 2)) for vertex in range(self.number))
        edges = tuple(Edge(*ends, self._path(chain)) for ends, chain in self.chains.items())
        width = len(self.layers) * (WIDTH + _LAYER_GAP) - _LAYER_GAP + 2 * _PADDING
        return Layout(max(width, 0), round(bottom + shift + _PADDING), places, edges)

    def _x(self, vertex: int) -> int:
        return _PADDING + self.levels[vertex] * (WIDTH + _LAYER_GAP)

    def _path(self, chain: Sequence[int]) -> str:
        parts = [f"M{self._x(chain[0]) + WIDTH} {round(self.centers[chain[0]])}"]
        for left, right in pairwise(chain):
            x, y = self._x(left) + WIDTH, round(self.centers[left])
            to_x, to_y = self._x(right), round(self.centers[right])
            bend = min(_LAYER_GAP, to_x - x) // 2
            parts.append(f"C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}")
            if right >= self.number:
                parts.append(f"H{to_x + WIDTH}")
        return "".join(parts)


def isotonic(values: Sequence[float]) -> list[float]:
    """Return the ascending numbers that differ least from the given ones, by the sum of squares.

    Adjacent numbers in the wrong order are merged into a block with their mean, until all blocks are in order (the
    algorithm "pool adjacent violators").
    """
    blocks: list[tuple[float, int]] = []
    for value in values:
        total, number = value, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / number:
            earlier_total, earlier_number = blocks.pop()
            total, number = total + earlier_total, number + earlier_number
        blocks.append((total, number))
    return [total / number for total, number in blocks for _ in range(number)]
