"""The operation `ping_workers`: asks workers for a heartbeat, and waits for those that answer."""

import time

from horsies.db.operations import Operation, Pause
from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.rows import WorkerStats
from horsies.monitoring.asking import answered, refused
from horsies.plain import short_repr
from horsies.producer.handle import BrokerResult
from horsies.result import Err, Ok
from horsies.tasks.registry import LARGEST_NUMBER

_LOOK_AGAIN_S = 0.1


def ping_workers(min_responses: int, timeout_ms: int) -> Operation[BrokerResult[list[WorkerStats]]]:
    """Return the workers that have answered when there are enough of them, or when the time is over."""
    for name, value, least in (("min_responses", min_responses, 1), ("timeout_ms", timeout_ms, 0)):
        if type(value) is not int or not least <= value <= LARGEST_NUMBER:
            return refused(f"{name} must be a whole number of at least {least}, got {short_repr(value)}")
    end = time.monotonic() + timeout_ms / 1000
    asked_at = yield from answered(monitoring_queries.request_heartbeats())
    if isinstance(asked_at, Err):
        return asked_at
    while True:
        is_over = time.monotonic() >= end
        workers = yield from answered(monitoring_queries.worker_stats())
        if isinstance(workers, Err):
            return workers
        alive = [each for each in workers.ok_value if each.heartbeat_at > asked_at.ok_value]
        if len(alive) >= min_responses or is_over:
            return Ok(alive)
        yield Pause(min(_LOOK_AGAIN_S, max(0.0, end - time.monotonic())))
