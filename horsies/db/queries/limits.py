"""Calls that show and change the limits of queues and of their keys at run time."""

import json
from datetime import datetime
from typing import NamedTuple

from horsies.config.rates import NO_LIMIT, NoLimit, RateLimit
from horsies.db.operations import UNSET, Call, Rows, Unset, many, scalar
from horsies.db.queries.worker import announce

_MOST_TASKS = 1000


class KeyStats(NamedTuple):
    """One key of a queue, a row of `horsies.list_keys`.

    Attributes:
        key: the key; empty for the tasks of the queue that have none.
        waiting: the number of tasks that are due and not claimed, counted up to 1,000 in each priority.
        in_flight: the number of claimed and running tasks.
        cap: how many of them may be in flight at the same time; None: no limit.
        tokens: how many may start now by the rate of each key; None: the queue has no such rate.
        held_by: ``paused`` by somebody, or ``rate_limited`` by the answer of a task; None: nothing holds the key.
        held_until: the end of the hold; None: none is known, as for a pause.
        who: who has set the hold.
        reason: why; None for users who may not see arguments.
        set_at: when it was set.
    """

    key: str
    waiting: int
    in_flight: int
    cap: int | None
    tokens: int | None
    held_by: str | None
    held_until: datetime | None
    who: str | None
    reason: str | None
    set_at: datetime | None


class QueueLimits(NamedTuple):
    """The limits of a queue that are in effect, besides its ``max_concurrency``.

    Attributes:
        name: the queue.
        is_keyed: whether its app declares keys for it, so that limits of keys are possible.
        per_key: how many tasks of one key run at the same time; None: no limit.
        rate: how many tasks of the queue start in a time; None: no limit.
        rate_per_key: how many tasks of one key start in a time; None: no limit.
        set_at_run_time: which of these were set at run time, instead of by the app: ``per_key``, ``rate``,
            ``rate_per_key``. One that is None was lifted.
        set_by: the person who set or lifted a limit last; None: nobody has.
        set_at: when.
    """

    name: str
    is_keyed: bool
    per_key: int | None = None
    rate: RateLimit | None = None
    rate_per_key: RateLimit | None = None
    set_at_run_time: tuple[str, ...] = ()
    set_by: str | None = None
    set_at: datetime | None = None


def limit_queue(
    name: str,
    *,
    per_key: int | NoLimit | Unset | None,
    rate: RateLimit | NoLimit | Unset | None,
    rate_per_key: RateLimit | NoLimit | Unset | None,
    who: str | None,
) -> Call[str]:
    """Set limits, lift them, or None to restore the declared ones; ``changed``, ``unchanged`` or ``not keyed``."""
    given = {"per_key": per_key, "rate": rate, "rate_per_key": rate_per_key}
    changed = [option for option, value in given.items() if value is not UNSET]
    values = [value.to_json() if isinstance(value, RateLimit) else None for value in (rate, rate_per_key)]
    lifted = [option for option, value in given.items() if value is NO_LIMIT]
    params = (name, changed, per_key if isinstance(per_key, int) else None, *values, who, lifted)
    sql = "select horsies.limit_queue(%s, %s::text[], %s::int, %s::json, %s::json, %s, %s::text[])"
    return Call(sql, params, scalar, hint=announce())


def queue_limits(name: str) -> Call[QueueLimits]:
    """Return the limits of a queue."""

    def decode(rows: Rows) -> QueueLimits:
        if not rows:
            return QueueLimits(name, is_keyed=False)
        is_keyed, per_key, per_key_is_set, rate, rate_is_set, per_key_rate, per_key_rate_is_set, *rest = rows[0]
        are_set = {"per_key": per_key_is_set, "rate": rate_is_set, "rate_per_key": per_key_rate_is_set}
        names = tuple(option for option, is_set in are_set.items() if is_set)
        return QueueLimits(name, is_keyed, per_key, _rate(rate), _rate(per_key_rate), names, *rest)

    return Call("select * from horsies.queue_limits(%s)", (name,), decode)


def _rate(stored: bytes | None) -> RateLimit | None:
    return None if stored is None else RateLimit(**json.loads(stored))


def key_control(queue: str, key: str, action: str, *, who: str | None, reason: str | None = None) -> Call[str]:
    """``pause`` or ``resume`` a key; ``changed``, ``unchanged`` or ``not keyed``."""
    params = (queue, key, action, who, reason)
    return Call("select horsies.key_control(%s, %s, %s, %s, %s)", params, scalar, hint=announce())


def list_keys(queue: str, after: str | None, limit: int) -> Call[list[KeyStats]]:
    """Return up to ``limit`` keys of a queue, in their order, after a key (None: from the first one)."""
    params = (queue, after, limit, _MOST_TASKS)
    return Call("select * from horsies.list_keys(%s, %s, %s::int, %s::int)", params, many(KeyStats))
