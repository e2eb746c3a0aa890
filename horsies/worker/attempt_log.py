"""Log lines about finished attempts, written when the database has confirmed them, because it decides on retries."""

import logging
import time
from enum import Enum
from typing import NamedTuple

from horsies.codes import ContractCode, OperationalErrorCode, OutcomeCode
from horsies.config.payload import PayloadPolicy
from horsies.db.queries.worker import Fence, Outcome, ReapCounts, Verdict
from horsies.events import event, is_logged
from horsies.producer.payloads import warn_of_result
from horsies.rendering import printable, short_path
from horsies.worker.ipc import Job

_ERRORS: frozenset[str] = frozenset({*ContractCode, OperationalErrorCode.WORKER_CRASHED})


class EndedAttempt(NamedTuple):
    """An attempt that has ended.

    Attributes:
        task_name: its task.
        queue: the queue of the task.
        attempt: its number, from 1.
        seconds: how long it ran.
        waited_s: how long the task waited from its due time to its start.
    """

    task_name: str
    queue: str
    attempt: int
    seconds: float
    waited_s: float


class LogDetail(Enum):
    """How detailed the log of attempts is."""

    PRODUCTION = "production"
    """Successes are logged at DEBUG."""
    DEVELOPMENT = "development"
    """Successes are logged at INFO, and each failure with the command that shows its message and traceback."""


class AttemptLog:
    """Logs the end of attempts, and results above ``PayloadPolicy.warn_bytes``.

    The events are ``task.failed``, ``task.postponed``, ``task.cancelled`` and ``task.finished``.

    No line contains arguments, results or messages.

    Failures are logged at WARNING; crashes and contract errors at ERROR. A failure names the type of the exception, if
    one was raised, and the place in the user's source: the line that raised it, or else the task's function.
    """

    def __init__(self, detail: LogDetail, payload: PayloadPolicy) -> None:
        self._detail = detail
        self._payload = payload
        self._successes = logging.INFO if detail is LogDetail.DEVELOPMENT else logging.DEBUG
        self._logs_successes = is_logged(self._successes)
        self._ended: dict[Fence, EndedAttempt] = {}

    def note(self, job: Job, outcome: Outcome) -> None:
        """Remember an attempt until its outcome is confirmed."""
        now = time.monotonic()
        seconds = outcome.seconds or now - job.given_at
        waited_s = now - seconds - job.due_at
        self._ended[outcome.fence] = EndedAttempt(job.task_name, job.queue, job.attempt, seconds, waited_s)

    def confirm(self, outcome: Outcome, verdict: Verdict) -> EndedAttempt | None:
        """Log an attempt whose outcome the database has answered.

        Returns:
            The attempt; None if the outcome is stale. Stale outcomes are not logged here.
        """
        ended = self._ended.pop(outcome.fence, None)
        if ended is None or verdict.verdict == "stale":
            return None
        self._log(ended, outcome, verdict)
        return ended

    def _log(self, ended: EndedAttempt, outcome: Outcome, verdict: Verdict) -> None:
        warn_of_result(self._payload, len(outcome.result), **_identity(outcome, ended))
        if verdict.error_code is None:
            if self._logs_successes:
                event("task.finished", level=self._successes, **_facts(outcome, ended))
            return
        if verdict.error_code == OutcomeCode.TASK_CANCELLED:
            event("task.cancelled", level=logging.INFO, **_facts(outcome, ended))
            return
        if outcome.postponed is not None and verdict.error_code == outcome.error_code:
            event("task.postponed", level=logging.INFO, **_facts(outcome, ended), **_postponement(outcome, verdict))
            return
        level = logging.ERROR if verdict.error_code in _ERRORS else logging.WARNING
        facts = _facts(outcome, ended) | {"code": verdict.error_code} | _origin(outcome)
        facts["retried"] = verdict.due_again is not None
        if verdict.due_again is not None:
            facts["retry_at"] = verdict.due_again.isoformat(timespec="milliseconds")
        if self._detail is LogDetail.DEVELOPMENT:
            facts["hint"] = f"horsies tasks show {outcome.fence.task_id}"
        event("task.failed", level=level, **facts)


def log_reaped(counts: ReapCounts) -> None:
    """Log the number of tasks that dead workers were running, if there were any."""
    if counts.crashed:
        event("tasks.crashed", level=logging.ERROR, count=counts.crashed, workers=counts.workers)


def _origin(outcome: Outcome) -> dict[str, object]:
    """The type of the exception and the place of the failure, where they are known."""
    file, _, line = outcome.place.rpartition(":")
    found = {"exception": outcome.exception, "place": f"{short_path(file)}:{line}" if file else ""}
    return {name: printable(value) for name, value in found.items() if value}


def _postponement(outcome: Outcome, verdict: Verdict) -> dict[str, object]:
    """Why and for what an attempt was postponed, and when the task is due again; it may have ended meanwhile."""
    facts: dict[str, object] = {"code": outcome.error_code, "scope": outcome.postponed}
    if verdict.due_again is not None:
        facts["until"] = verdict.due_again.isoformat(timespec="milliseconds")
    return facts


def _identity(outcome: Outcome, ended: EndedAttempt) -> dict[str, object]:
    return {"task": ended.task_name, "id": outcome.fence.task_id, "attempt": ended.attempt}


def _facts(outcome: Outcome, ended: EndedAttempt) -> dict[str, object]:
    return _identity(outcome, ended) | {"ms": round(ended.seconds * 1000, 1)}
