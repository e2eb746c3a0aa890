"""`WorkerCounters`: what is counted for each kind of outcome, with a bounded number of series."""

from datetime import UTC, datetime
from uuid import uuid4

from horsies.db.queries.worker import Fence, Outcome, Verdict
from horsies.metrics.values import Samples
from horsies.postponement import PostponeScope
from horsies.worker.attempt_log import EndedAttempt
from horsies.worker.metrics import WORKER_METRICS, WorkerCounters, gauges

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def counted(*attempts: tuple[str, str, str | None, datetime | None]) -> dict[str, Samples]:
    """Count attempts, each by task, queue, error code and next attempt."""
    counters = WorkerCounters(["send_email"], ["mail"])
    for task, queue, code, due_again in attempts:
        postponed = PostponeScope.TASK if code == "RATE_LIMITED" else None
        outcome = Outcome(Fence(uuid4(), 1), code is None, b"", code, None, 1, "", postponed=postponed)
        ended = EndedAttempt(task, queue, 1, 0.5, 2.0)
        counters.count_attempt(ended, outcome, Verdict("accepted", code, due_again))
    return {metric.name: samples for metric, samples in counters.read()}


def test_each_kind_of_outcome() -> None:
    found = counted(
        ("send_email", "mail", None, None),
        ("send_email", "mail", "BOUNCED", LATER),
        ("send_email", "mail", "BOUNCED", None),
        ("send_email", "mail", "TASK_CANCELLED", None),
        ("send_email", "mail", "RATE_LIMITED", LATER),
    )
    assert found["horsies_tasks_finished_total"] == {
        ("send_email", "mail", "COMPLETED"): 1,
        ("send_email", "mail", "FAILED"): 1,
    }
    assert found["horsies_task_errors_total"] == {("send_email", "BOUNCED"): 2}
    assert found["horsies_task_retries_total"] == {("send_email",): 1}
    assert sum(found["horsies_task_run_seconds"]["send_email",].counts) == 5  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


def test_unknown_tasks_and_queues_count_as_other() -> None:
    found = counted(("removed", "mail", None, None), ("removed too", "gone", None, None))
    assert found["horsies_tasks_finished_total"] == {
        ("other", "mail", "COMPLETED"): 1,
        ("other", "other", "COMPLETED"): 1,
    }
    assert list(found["horsies_task_wait_seconds"]) == [("mail",), ("other",)]


def test_error_codes_beyond_the_first_fifty_count_as_other() -> None:
    codes = [f"CODE_{number}" for number in range(60)]
    found = counted(*(("send_email", "mail", code, None) for code in [*codes, *codes, "WORKER_CRASHED"]))
    errors = found["horsies_task_errors_total"]
    assert len(errors) == 52
    assert errors["send_email", "other"] == 20
    assert errors["send_email", "WORKER_CRASHED"] == 1


def test_what_was_read_does_not_change_and_covers_every_metric() -> None:
    counters = WorkerCounters(["send_email"], ["mail"])
    before = counters.read()
    counters.count_rejected(2)
    counters.observe_claim(0.1)
    assert dict(before) != dict(counters.read())
    shown = [*before, *gauges(slots=1, busy=0, is_database_up=True, heartbeat_age_s=None)]
    assert {metric for metric, _ in shown} == set(WORKER_METRICS)
    assert dict(before)[WORKER_METRICS[3]] == {(): 0}
