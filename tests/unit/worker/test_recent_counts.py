"""`RecentCounts`: attempts by minute, queue and task, of the last three minutes by the clock of the database."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from horsies.codes import OutcomeCode
from horsies.db.queries.worker import Fence, Outcome, Verdict
from horsies.worker.attempt_log import EndedAttempt
from horsies.worker.recent_counts import AttemptEnd, RecentCounts, attempt_end

DUE = datetime(2031, 5, 6, tzinfo=UTC)
ENDED = EndedAttempt("send_email", "emails", 1, 0.5, 0.0)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 6000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def outcome(code: str | None = None) -> Outcome:
    return Outcome(Fence(uuid4(), 1), code is None, b"0", code, None, 1, "w/0", 1.0)


@pytest.mark.parametrize(
    ("code", "due_again", "expected"),
    [
        (None, None, AttemptEnd.COMPLETED),
        ("BOOM", None, AttemptEnd.FAILED),
        ("BOOM", DUE, AttemptEnd.RETRIED),
        (OutcomeCode.TASK_CANCELLED, None, AttemptEnd.NOT_COUNTED),
    ],
)
def test_the_end_of_an_attempt_follows_from_the_answer(
    code: str | None, due_again: datetime | None, expected: AttemptEnd
) -> None:
    assert attempt_end(outcome(code), Verdict("accepted", code, due_again)) is expected


def test_attempts_are_counted_by_minute_queue_and_task(clock: Clock) -> None:
    counts = RecentCounts(clock)
    for end in (AttemptEnd.COMPLETED, AttemptEnd.COMPLETED, AttemptEnd.FAILED, AttemptEnd.NOT_COUNTED):
        counts.count(ENDED, end)
    counts.count(ENDED._replace(queue="other"), AttemptEnd.RETRIED)
    clock.seconds += 59.9
    counts.count(ENDED, AttemptEnd.COMPLETED)
    clock.seconds += 0.1
    counts.count(ENDED, AttemptEnd.COMPLETED)
    assert json.loads(counts.document()) == [
        [6000, "emails", "send_email", 3, 1, 0],
        [6000, "other", "send_email", 0, 0, 1],
        [6060, "emails", "send_email", 1, 0, 0],
    ]


def test_minutes_begin_by_the_clock_of_the_database(clock: Clock) -> None:
    counts = RecentCounts(clock)
    counts.ahead_s = 100.0
    counts.count(ENDED, AttemptEnd.COMPLETED)
    assert json.loads(counts.document()) == [[5880, "emails", "send_email", 1, 0, 0]]


def test_earlier_minutes_are_forgotten_even_if_nothing_ends(clock: Clock) -> None:
    counts = RecentCounts(clock)
    counts.count(ENDED, AttemptEnd.COMPLETED)
    clock.seconds += 179
    assert json.loads(counts.document()) == [[6000, "emails", "send_email", 1, 0, 0]]
    clock.seconds += 1
    assert counts.document() == "[]"


def test_minutes_in_the_future_are_forgotten_after_the_clock_was_set_back(clock: Clock) -> None:
    counts = RecentCounts(clock)
    counts.count(ENDED, AttemptEnd.COMPLETED)
    clock.seconds -= 3600
    counts.count(ENDED, AttemptEnd.COMPLETED)
    assert json.loads(counts.document()) == [[2400, "emails", "send_email", 1, 0, 0]]


def test_a_worker_with_another_id_begins_again(clock: Clock) -> None:
    counts = RecentCounts(clock)
    counts.count(ENDED, AttemptEnd.COMPLETED)
    counts.clear()
    assert counts.document() == "[]"
