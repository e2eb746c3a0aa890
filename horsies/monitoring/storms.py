"""Retry storms: tasks of which most attempts fail and are retried."""

from dataclasses import dataclass
from datetime import timedelta

from horsies.monitoring.samples import Throughput, total

RECENT = timedelta(minutes=10)
"""The time, before the end of the last counted minute, in which attempts are compared."""

_LEAST_RETRIED = 20
_MOST = 5


@dataclass(frozen=True, slots=True)
class Storm:
    """A task of which at least half of the attempts were retried in the last ten minutes.

    Attributes:
        task_name: The name of the task.
        queue_name: Its queue.
        retried: How many attempts failed and were retried.
        attempts: How many attempts ended.
    """

    task_name: str
    queue_name: str
    retried: int
    attempts: int


def find_storms(samples: Throughput) -> tuple[Storm, ...]:
    """Return the retry storms, those with the most retried attempts first."""
    until = samples.known_until
    recent = [] if until is None else [each for each in samples.samples if each.started_at >= until - RECENT]
    kinds = {(each.task_name or "", each.queue_name or "") for each in recent if each.retried}
    storms: list[Storm] = []
    for name, queue in kinds:
        whole = total(each for each in recent if (each.task_name, each.queue_name) == (name, queue))
        if whole is not None:
            attempts = whole.retried + whole.completed + whole.failed
            storms.append(Storm(name, queue, whole.retried, attempts))
    found = [each for each in storms if each.retried >= _LEAST_RETRIED and 2 * each.retried >= each.attempts]
    return tuple(sorted(found, key=lambda each: (-each.retried, each.task_name, each.queue_name))[:_MOST])
