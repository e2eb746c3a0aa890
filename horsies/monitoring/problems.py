"""The problems of the whole system, each with a remedy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from horsies.db.queries.rows import WorkerStats
from horsies.monitoring.filters import term
from horsies.monitoring.samples import Sample, Throughput, total
from horsies.monitoring.status import QueueStatus, WaitingReason
from horsies.monitoring.storms import find_storms
from horsies.monitoring.texts import counted, duration, line

_LATE = timedelta(minutes=5)
_OLD_SAMPLES = timedelta(minutes=4)
_MANY_FAILED = 0.1
_WORTH_A_RATE = 20
_RECENT = timedelta(minutes=10)
_MOST_OF_A_KIND = 5
_COULD_RUN = frozenset({"next", "queue_full", "cluster_full", "key_full", "rate_limit"})


class Severity(StrEnum):
    """How bad a problem is; templates of the web interface use it as a class.

    Attributes:
        CRITICAL: Tasks do not run.
        WARNING: Something deserves attention.
    """

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not well.

    Attributes:
        severity: How bad it is.
        sentence: A description of it.
        remedy: What to do.
        page: The page of the web interface, or the tab of ``horsies top``, that shows more; None: there is none.
        parameters: The parameters of that page.
    """

    severity: Severity
    sentence: str
    remedy: str
    page: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Facts:
    """The state of the system in which problems are looked for."""

    queues: Sequence[QueueStatus]
    workers: Sequence[WorkerStats]
    reasons: Sequence[WaitingReason]
    samples: Throughput


def find_problems(facts: Facts) -> tuple[Problem, ...]:
    """Return what is not well, the worst first; empty: all is well."""
    found = [
        *_workers(facts),
        *_without_worker(facts),
        *_paused(facts),
        *_late(facts),
        *_failing(facts),
        *_storms(facts),
        *_uncounted(facts),
    ]
    return tuple(sorted(found, key=lambda each: each.severity is not Severity.CRITICAL))


def _workers(facts: Facts) -> Iterator[Problem]:
    live = [each for each in facts.workers if not each.is_stale]
    if not live:
        is_needed = any(each.waiting.number for each in facts.queues)
        severity = Severity.CRITICAL if is_needed else Severity.WARNING
        yield Problem(severity, "No worker is alive.", "Start one: horsies worker MODULE:APP")
    silent = len(facts.workers) - len(live)
    if silent:
        verb = "is" if silent == 1 else "are"
        yield Problem(
            Severity.WARNING,
            f"{counted(silent, 'worker')} {verb} silent.",
            "Their tasks are about to be recovered. If the processes live, check their connection to the database.",
            "workers",
        )


def _without_worker(facts: Facts) -> Iterator[Problem]:
    if all(each.is_stale for each in facts.workers):
        return  # another problem says this already
    lost = [each for each in facts.reasons if each.reason == "no_worker"]
    for each in lost[:_MOST_OF_A_KIND]:
        yield Problem(
            Severity.CRITICAL,
            f"{counted(each.tasks.number, 'task')} {line(each.task_name, 80)} in queue {line(each.queue_name, 80)} "
            "cannot run: no live worker has the task and serves the queue.",
            "Start such a worker, or cancel the tasks.",
            "tasks",
            {"filter": f"status:pending {term('queue', each.queue_name)} {term('task', each.task_name)}"},
        )


def _paused(facts: Facts) -> Iterator[Problem]:
    for each in [each for each in facts.queues if each.paused and each.waiting.number][:_MOST_OF_A_KIND]:
        yield Problem(
            Severity.WARNING,
            f"Queue {line(each.queue_name, 80)} is paused, and {counted(each.waiting.number, 'task')} in it wait.",
            "Resume the queue.",
            "queues",
            {"queue": each.queue_name},
        )


def _late(facts: Facts) -> Iterator[Problem]:
    could_run = {each.queue_name for each in facts.reasons if each.reason in _COULD_RUN}
    queues = [each for each in facts.queues if not each.paused and each.queue_name in could_run]
    late = [each for each in queues if (each.oldest_due or timedelta(0)) > _LATE]
    for each in late[:_MOST_OF_A_KIND]:
        yield Problem(
            Severity.WARNING,
            f"The oldest task in queue {line(each.queue_name, 80)} has been due for {_in_minutes(each.oldest_due)}.",
            "See what fills the queue, and whether more workers would help.",
            "queues",
            {"queue": each.queue_name},
        )


def _in_minutes(value: timedelta | None) -> str:
    """Return a duration in whole minutes. The text would change each second otherwise, and be sent again."""
    return duration(None if value is None else value // timedelta(minutes=1) * timedelta(minutes=1))


def _failing(facts: Facts) -> Iterator[Problem]:
    until = facts.samples.known_until
    recent = [] if until is None else [each for each in facts.samples.samples if each.started_at >= until - _RECENT]
    names = {each.task_name for each in recent if each.failed}
    rates = [(_rate(total(each for each in recent if each.task_name == name)), name) for name in names]
    for (failed, ended), name in sorted(rates, key=lambda each: -each[0][0])[:_MOST_OF_A_KIND]:
        if ended >= _WORTH_A_RATE and failed >= _MANY_FAILED * ended:
            yield Problem(
                Severity.WARNING,
                f"{failed:,} of {counted(ended, 'task')} {line(name, 80)} failed in the last ten minutes.",
                "See their errors.",
                "errors",
                {"task": name or "", "period": "1h"},
            )


def _storms(facts: Facts) -> Iterator[Problem]:
    for each in find_storms(facts.samples):
        yield Problem(
            Severity.WARNING,
            f"{each.retried:,} of {counted(each.attempts, 'attempt')} of {line(each.task_name, 80)} in queue "
            f"{line(each.queue_name, 80)} were retried in the last ten minutes.",
            "Retries take the places of other tasks. See the errors.",
            "errors",
            {"task": each.task_name},
        )


def _rate(sample: Sample | None) -> tuple[int, int]:
    return (0, 0) if sample is None else (sample.failed, sample.completed + sample.failed)


def _uncounted(facts: Facts) -> Iterator[Problem]:
    age = facts.samples.age
    if age is not None and age > _OLD_SAMPLES:
        yield Problem(
            Severity.WARNING,
            f"No worker has counted the ended tasks of the last {duration(age)}.",
            "Check that a worker runs maintenance; its log says what keeps it from that.",
        )
