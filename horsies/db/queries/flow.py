"""Calls that declare the keys and rates of queues."""

from collections.abc import Sequence
from typing import NamedTuple

from horsies.db.operations import Call, nothing, scalar
from horsies.db.queries.worker import announce
from horsies.db.steps import Steps

_BACKFILLED = 1000
"""How many tasks `declare_flow` lets take turns in one transaction."""


class QueueFlow(NamedTuple):
    """What an app declares about the keys and the rates of a queue, in the form of the database.

    Attributes:
        name: the name of the queue.
        takes_turns: whether its keys take turns.
        per_key: how many tasks of one key run at the same time; None: no limit.
        rate: the rate of the queue, as JSON; None: no rate.
        rate_per_key: the rate of each key, as JSON; None: no rate.
    """

    name: str
    takes_turns: bool
    per_key: int | None
    rate: str | None
    rate_per_key: str | None


def declare_queues(queues: Sequence[QueueFlow]) -> Call[None]:
    """Store what an app declares about its queues."""
    sql = "select horsies.declare_queues(%s::text[], %s::boolean[], %s::int[], %s::text[], %s::text[])"
    columns = [[queue[field] for queue in queues] for field in range(len(QueueFlow._fields))]
    return Call(sql, tuple(columns), nothing, hint=announce())


def declare_flow(queues: Sequence[QueueFlow]) -> Steps[None]:
    """Store what an app declares about its queues, and let tasks that were sent before take turns."""
    yield declare_queues(queues).groups
    keyed = [queue.name for queue in queues if queue.takes_turns]
    is_complete = not keyed
    while not is_complete:
        [[given], *_] = yield backfill_turns(keyed, _BACKFILLED).groups
        is_complete = given == 0


def backfill_turns(names: Sequence[str], limit: int) -> Call[int]:
    """Let up to ``limit`` tasks that were sent earlier take turns; returns their number."""
    return Call("select horsies.backfill_turns(%s::text[], %s::int)", (list(names), limit), scalar)
