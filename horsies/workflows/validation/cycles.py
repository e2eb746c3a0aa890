"""Cycles in graphs of any depth."""

from collections.abc import Callable, Iterable


def find_cycle[N](nodes: Iterable[N], next_of: Callable[[N], Iterable[N]]) -> list[N]:
    """A way from a node back to itself, which stands at both ends; empty if there is none."""
    ended: set[N] = set()
    for start in nodes:
        if start in ended:
            continue
        way: dict[N, Iterable[N]] = {start: iter(next_of(start))}  # in order: where we are is its last key
        while way:
            here = next(reversed(way))
            for after in way[here]:
                if after in way:
                    nodes_on_way = list(way)
                    return [*nodes_on_way[nodes_on_way.index(after) :], after]
                if after not in ended:
                    way[after] = iter(next_of(after))
                    break
            else:
                ended.add(here)
                del way[here]
    return []
