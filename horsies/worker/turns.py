"""Where the turns of keys continue in the next claim of a worker."""

import json
from typing import Any

from horsies.db.queries.worker import Claim


class Turns:
    """The positions at which the last claim stopped, by queue and priority.

    A claim looks at a limited number of keys. If it has found no task among them, the next claim continues its walk.

    Attributes:
        continues_walk: Whether the last claim stopped before it had seen all keys, so that more tasks may be due.
    """

    def __init__(self) -> None:
        self._cursors: bytes | None = None
        self.continues_walk = False

    @property
    def cursors(self) -> bytes | None:
        """The cursors for the next claim. If the last claim has ended its walks, every walk begins again."""
        if self._cursors is not None and not self.continues_walk:
            positions: dict[str, dict[str, dict[str, Any]]] = json.loads(self._cursors)
            for queue in positions.values():
                for priority, position in queue.items():
                    queue[priority] = {"after": position.get("after")}
            return json.dumps(positions).encode()
        return self._cursors

    def note(self, claim: Claim) -> bool:
        """Note where a claim has stopped; returns whether it stopped before it had seen all keys."""
        if claim.cursors is not None:
            self._cursors = claim.cursors
        return claim.due_in == 0 and claim.cursors is not None
