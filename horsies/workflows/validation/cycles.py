"""Detection of cycles in graphs, without recursion, so that graphs may have any depth."""

from collections.abc import Callable, Iterable


def find_cycle[N](nodes: Iterable[N], next_of: Callable[[N], Iterable[N]]) -> list[N]:
    """Return a path from a node back to itself, with that node at both ends; an empty list if there is no cycle."""
    ended: set[N] = set()
    for start in nodes:
        if start in ended:
            continue
        path: dict[N, Iterable[N]] = {start: iter(next_of(start))}  # ordered; the last key is the current node
        while path:
            current = next(reversed(path))
            for after in path[current]:
                if after in path:
                    nodes_on_path = list(path)
                    return [*nodes_on_path[nodes_on_path.index(after) :], after]
                if after not in ended:
                    path[after] = iter(next_of(after))
                    break
            else:
                ended.add(current)
                del path[current]
    return []
