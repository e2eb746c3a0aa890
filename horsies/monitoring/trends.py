"""Whether a queue empties: how its number of waiting tasks has changed while somebody looked."""

import time
from collections import OrderedDict, deque

_WINDOW_S = 300.0
_EACH_S = 5.0
_LEAST_S = 20.0
_MOST_QUEUES = 1000
_CALM = 0.02


class Trends:
    """The latest numbers of waiting tasks, by queue."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()

    def note(self, queue: str, waiting: int, at: float | None = None) -> None:
        """Remember a number, at most one in five seconds."""
        now = time.monotonic() if at is None else at
        points = self._seen.setdefault(queue, deque())
        self._seen.move_to_end(queue)
        while points and now - points[0][0] > _WINDOW_S:
            points.popleft()
        if not points or now - points[-1][0] >= _EACH_S:
            points.append((now, waiting))
        while len(self._seen) > _MOST_QUEUES:
            self._seen.popitem(last=False)

    def drain(self, queue: str) -> str | None:
        """Say when a queue will be empty; None: it is empty, or has not been looked at for long enough.

        Returns:
            ``steady``, ``grows``, or a number of seconds as text.
        """
        points = self._seen.get(queue) or deque()
        if len(points) <= 1 or points[-1][0] - points[0][0] < _LEAST_S or not points[-1][1]:
            return None
        (first_at, first), (last_at, last) = points[0], points[-1]
        if abs(last - first) <= _CALM * max(first, last):
            return "steady"
        if last > first:
            return "grows"
        return f"{last * (last_at - first_at) / (first - last):.0f}"
