"""`retry_at`: whether and when a failed attempt is retried."""

from datetime import datetime, timedelta

import pytest

from horsies.config.retry import RetryPolicy
from horsies.db.adapt import RawJson
from tests.support.sessions import NOON, Session, column, scalar

FIXED = RetryPolicy.fixed([60, 300, 900], jitter=False, auto_retry_for=["BOOM", "TASK_TIMEOUT"])
DOUBLING = RetryPolicy.exponential(base_seconds=10, max_retries=5, jitter=False, auto_retry_for=["BOOM"])
SPREAD = {
    "fixed": RetryPolicy.fixed([100], auto_retry_for=["BOOM"]),
    "exponential": RetryPolicy.exponential(base_seconds=100, max_retries=1, auto_retry_for=["BOOM"]),
}


def delay(
    db: Session,
    policy: RetryPolicy | None,
    attempt: int = 1,
    code: str | None = "BOOM",
    *,
    retry_after: float | None = None,
    deadline: datetime | None = None,
) -> float | None:
    """Return the seconds until the retry; None if there is none."""
    due: datetime | None = scalar(
        db,
        "select horsies.retry_at(%s::json, %s::int, %s, %s::float8, %s::timestamptz, %s)",
        policy and RawJson(policy.to_json()),
        attempt,
        code,
        retry_after,
        deadline,
        NOON,
    )
    return None if due is None else (due - NOON).total_seconds()


def test_fixed_intervals_are_taken_in_turn_until_they_run_out(db: Session) -> None:
    assert [delay(db, FIXED, attempt) for attempt in (1, 2, 3, 4, 5)] == [60, 300, 900, None, None]


def test_exponential_intervals_double_until_retries_run_out(db: Session) -> None:
    assert [delay(db, DOUBLING, attempt) for attempt in range(1, 7)] == [10, 20, 40, 80, 160, None]


def test_exponential_intervals_stop_at_the_longest_delay(db: Session) -> None:
    policy = RetryPolicy.exponential(10, max_retries=5, jitter=False, auto_retry_for=["BOOM"], max_delay_seconds=35)
    assert [delay(db, policy, attempt) for attempt in range(1, 7)] == [10, 20, 35, 35, 35, None]
    assert delay(db, policy, retry_after=60) == 60


def test_fractions_of_a_second_count(db: Session) -> None:
    policy = RetryPolicy.exponential(base_seconds=0.001, max_retries=2, jitter=False, auto_retry_for=["BOOM"])
    assert [delay(db, policy, attempt) for attempt in (1, 2)] == [0.001, 0.002]


@pytest.mark.parametrize("code", ["OTHER", "BOOM ", "boom", "", None])
def test_only_codes_that_the_policy_names_are_tried_again(db: Session, code: str | None) -> None:
    assert delay(db, FIXED, code=code) is None
    assert delay(db, FIXED, code="TASK_TIMEOUT") == 60


def test_without_a_policy_nothing_is_tried_again(db: Session) -> None:
    assert delay(db, None, retry_after=1) is None


@pytest.mark.parametrize("strategy", SPREAD)
def test_jitter_is_25_percent_of_the_interval_either_way(db: Session, strategy: str) -> None:
    spread: list[float] = column(
        db,
        "select extract(epoch from horsies.retry_at(%s::json, 1, 'BOOM', null, null, %s) - %s)::float8"
        " from generate_series(1, 2000)",
        RawJson(SPREAD[strategy].to_json()),
        NOON,
        NOON,
    )
    assert 75 <= min(spread) < 80
    assert 120 < max(spread) <= 125
    assert 98 < sum(spread) / len(spread) < 102


@pytest.mark.parametrize(("max_delay", "least", "most"), [(400, 300, 400), (450, 300, 450), (1000, 300, 500)])
def test_jitter_never_exceeds_the_longest_delay(db: Session, max_delay: int, least: int, most: int) -> None:
    policy = RetryPolicy.exponential(100, auto_retry_for=["BOOM"], max_delay_seconds=max_delay)
    spread: list[float] = column(
        db,
        "select extract(epoch from horsies.retry_at(%s::json, 3, 'BOOM', null, null, %s) - %s)::float8"
        " from generate_series(1, 2000)",
        RawJson(policy.to_json()),
        NOON,
        NOON,
    )
    tenth = (most - least) / 10
    assert least <= min(spread) < least + tenth
    assert most - tenth < max(spread) <= most


def test_retry_after_of_the_error_overrides_the_interval_without_jitter(db: Session) -> None:
    assert {delay(db, SPREAD["fixed"], retry_after=7.25) for _ in range(20)} == {7.25}
    assert delay(db, FIXED, retry_after=0) == 0


def test_retry_after_of_the_error_adds_no_retry(db: Session) -> None:
    assert delay(db, FIXED, 4, retry_after=1) is None
    assert delay(db, FIXED, code="OTHER", retry_after=1) is None


@pytest.mark.parametrize("retry_after", [None, 60.0])
def test_there_is_no_retry_at_or_past_the_deadline(db: Session, retry_after: float | None) -> None:
    at = NOON + timedelta(seconds=60)
    assert delay(db, FIXED, retry_after=retry_after, deadline=at) is None
    assert delay(db, FIXED, retry_after=retry_after, deadline=at - timedelta(seconds=1)) is None
    assert delay(db, FIXED, retry_after=retry_after, deadline=at + timedelta(microseconds=1)) == 60


@pytest.mark.parametrize(
    "policy",
    [
        '"text"',
        "[]",
        "{}",
        '{"max_retries":1e300,"intervals":[1],"codes":["BOOM"]}',
        '{"max_retries":3,"intervals":[1e300],"codes":["BOOM"]}',
        '{"max_retries":3,"intervals":["soon"],"codes":["BOOM"]}',
        '{"max_retries":3,"intervals":[1],"codes":"BOOM"}',
        '{"max_retries":3,"intervals":[1],"codes":["BOOM"],"jitter":"often"}',
    ],
)
def test_a_policy_that_cannot_be_read_allows_no_retry(db: Session, policy: str) -> None:
    asked = "select horsies.retry_at(%s::json, 1, 'BOOM', null, null, horsies.now())"
    assert scalar(db, asked, policy) is None
