"""The reasons for which tasks wait, in words, and what would change them."""

from dataclasses import dataclass
from enum import StrEnum


class Concern(StrEnum):
    """How much a reason for waiting deserves attention; templates of the web interface use it as a class.

    Attributes:
        NONE: It is intended or ends soon.
        LIMIT: A limit is reached.
        BLOCKED: Somebody has to act.
    """

    NONE = "calm"
    LIMIT = "limit"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason for which tasks wait.

    Attributes:
        label: A few words for it.
        remedy: What would change it.
        concern: Whether it deserves attention.
    """

    label: str
    remedy: str
    concern: Concern


_REASONS = {
    "next": Reason(
        "next in line", "A worker takes it as soon as a process is free. More workers would help.", Concern.NONE
    ),
    "running": Reason("running", "It ends by itself, by its time-out, or when it is cancelled.", Concern.NONE),
    "prefetched": Reason("claimed", "The worker that has claimed it runs it when a process is free.", Concern.NONE),
    "scheduled": Reason("scheduled", "It was sent for a later time.", Concern.NONE),
    "retry": Reason(
        "waits for a retry", "Its last attempt failed. It runs again after the pause of its retry policy.", Concern.NONE
    ),
    "overdue": Reason("too late", "It was not started by its deadline, and is about to expire.", Concern.BLOCKED),
    "held": Reason("run is paused", "Resume its workflow run.", Concern.BLOCKED),
    "paused": Reason("queue is paused", "Resume the queue or the key.", Concern.BLOCKED),
    "no_worker": Reason("no worker", "Start a worker that has this task and serves this queue.", Concern.BLOCKED),
    "queue_full": Reason(
        "queue is full",
        "The limit of its queue is reached. It waits for a running task to end, or for a higher limit.",
        Concern.LIMIT,
    ),
    "cluster_full": Reason(
        "cluster is full",
        "The limit of the whole cluster is reached. It waits for a running task to end.",
        Concern.LIMIT,
    ),
    "held_back": Reason(
        "held back",
        "Its queue or key is paused, or is held because a service refused work.",
        Concern.LIMIT,
    ),
    "key_full": Reason(
        "key is full", "The limit of its key is reached. It waits for a task of the same key to end.", Concern.LIMIT
    ),
    "rate_limit": Reason(
        "rate limit", "Its queue or key has no token left. Tokens come back with time.", Concern.LIMIT
    ),
    "ended": Reason("ended", "It has ended.", Concern.NONE),
    "unknown": Reason("unknown", "The database gives no reason.", Concern.NONE),
}


def reason_of(name: str) -> Reason:
    """Return the words for a reason that the database has named."""
    return _REASONS.get(name) or Reason(name.replace("_", " "), "", Concern.NONE)
