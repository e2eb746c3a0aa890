"""The spans of attempts."""

from typing import TYPE_CHECKING

from horsies.tracing.policy import TracePolicy
from horsies.tracing.provider import tracing
from horsies.worker.ipc import Job, Report

if TYPE_CHECKING:
    from horsies.tracing.spans import AttemptSpan


def begin_span(policy: TracePolicy, job: Job) -> "AttemptSpan | None":
    """Begin the span of an attempt, and make it the current span. Return None if the process makes no spans."""
    found = tracing()
    if found is None:
        return None
    attributes: dict[str, str | int] = {
        "messaging.destination.name": job.queue,
        "messaging.message.id": str(job.fence.task_id),
        "horsies.task.name": job.task_name,
        "horsies.attempt": job.attempt,
    }
    return found.begin_attempt(job.task_name, job.trace_context, policy, attributes)


def with_span(job: Job, span: "AttemptSpan | None") -> Job:
    """Return the job with its span, which a transactional task stores together with its outcome."""
    return job if span is None else job._replace(traceparent=span.traceparent)


def end_span(span: "AttemptSpan | None", report: Report) -> None:
    """End the span of an attempt, in the context in which it began, and add it to the report."""
    if span is None:
        return
    report.traceparent = span.traceparent
    is_failure = not report.ok and report.postponed is None
    outcome = "completed" if report.ok else "failed" if is_failure else "postponed"
    error_type = (report.error_code or "TASK_EXCEPTION") if is_failure else None
    span.end(error_type, {"horsies.outcome": outcome})
