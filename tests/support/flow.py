"""Queues with keys and rates, declared as workers declare them, and holds of queues and keys."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from horsies import RateLimit
from horsies.db.queries.flow import QueueFlow, declare_queues
from horsies.db.queries.worker import Fence
from tests.support.factories import request, send
from tests.support.sessions import Session, call


def rate(limit: int, per_seconds: float, burst: int | None = None) -> str:
    """Return a rate as the database stores it."""
    return RateLimit(limit=limit, per_seconds=per_seconds, burst=burst).to_json()


def declare_queue(session: Session, name: str = "default", **declared: Any) -> None:
    """Declare a queue; see `QueueFlow`. By default its keys take turns, and it has no limits."""
    facts: dict[str, Any] = {"takes_turns": True, "per_key": None, "rate": None, "rate_per_key": None}
    call(session, declare_queues([QueueFlow(name, **(facts | declared))]))


def send_keys(session: Session, keys: Sequence[str | None], **options: Any) -> list[UUID]:
    """Send a task for each key; a text stands for its letters."""
    return [send(session, request(task_key=key, **options)) for key in keys]


def keys_of(session: Session, fences: Sequence[Fence]) -> str:
    """Return the keys of claimed tasks, one letter each; a minus stands for a task without a key."""
    ids = [fence.task_id for fence in fences]
    query = "select id, coalesce(task_key, '-') from horsies.tasks where id = any (%s)"
    found = dict(session.execute(query, (ids,)).fetchall())
    return "".join(found[each] for each in ids)


def hold(session: Session, until: str, *, key: str | None = None, queue: str = "default") -> None:
    """Hold a key, or a whole queue, as a pause or a remote limit does."""
    with session.transaction():
        session.execute("select horsies.lock_limits(array['queue ' || %s], true)", (queue,))
        session.execute(
            "insert into horsies.queues as q (name, has_holds) values (%s, true)"
            " on conflict (name) do update set has_holds = true",
            (queue,),
        )
        scope, held = ("queue", "") if key is None else ("key", key)
        session.execute(
            "insert into horsies.holds (queue, scope, key, kind, until, set_at)"
            f" values (%s, %s, %s, 'rate_limited', {until}, horsies.now())"
            " on conflict on constraint holds_pkey do update set until = excluded.until",
            (queue, scope, held),
        )
