"""Which workers are silent, by the clock of this process.

The time of the last heartbeat in the table of workers is that of the server's clock, which can be set: after a step
forward, every worker would look dead. So each process that declares workers dead watches their numbers of heartbeats,
and measures by a clock that nobody sets for how long a number has not changed.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from horsies.db.queries.worker import WorkerBeats


class _Seen(NamedTuple):
    beats: int
    since: float


class SilenceObserver:
    """Remembers since when the number of heartbeats of each worker has not changed."""

    def __init__(self) -> None:
        self._seen: dict[UUID, _Seen] = {}
        self._latest: Sequence[WorkerBeats] = ()
        self._asked_at = 0.0

    def observe(self, workers: Sequence[WorkerBeats], asked_at: float, answered_at: float) -> None:
        """Take in an answer of `worker_beats`.

        Args:
            workers: all workers. Others are forgotten.
            asked_at: when the call was sent, by `suspend_clock`: a number that has not changed was the same then.
            answered_at: when the answer came. A new number counts from then on.
        """
        now_seen: dict[UUID, _Seen] = {}
        for each in workers:
            before = self._seen.get(each.worker_id)
            is_same = before is not None and before.beats == each.beats
            now_seen[each.worker_id] = before if before is not None and is_same else _Seen(each.beats, answered_at)
        self._seen, self._latest, self._asked_at = now_seen, workers, asked_at

    def silent_for(self, seconds: float) -> list[UUID]:
        """Return the workers that have been silent for this long."""
        return [worker_id for worker_id, seen in self._seen.items() if self._asked_at - seen.since >= seconds]

    def dead(self) -> list[WorkerBeats]:
        """Return the workers that have been silent for longer than their own threshold."""
        return [
            each for each in self._latest if self._asked_at - self._seen[each.worker_id].since >= each.stale_after_s
        ]
