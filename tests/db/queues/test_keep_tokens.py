"""`keep_tokens`: a bucket keeps its tokens when the rate changes, whoever changes it."""

from collections.abc import Callable
from typing import Any, Literal

import pytest

from horsies.config.rates import NO_LIMIT, NoLimit, RateLimit
from horsies.db.operations import UNSET
from horsies.db.queries import limits as limit_queries
from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import InBackground, NewSession, Session, call, freeze_clock, move_clock, wait_until_blocked

FAST, SLOW = RateLimit(limit=10, per_seconds=1, burst=5), RateLimit(limit=1, per_seconds=60, burst=5)

NAMES = {"queue": "rate", "key": "rate_per_key"}

type Scope = Literal["queue", "key"]
type Change = Callable[[Session, RateLimit | NoLimit, Scope], None]


def by_an_operator(db: Session, rate: RateLimit | NoLimit, scope: Scope) -> None:
    limits: dict[str, Any] = {"rate": UNSET, "rate_per_key": UNSET} | {NAMES[scope]: rate}
    call(db, limit_queries.limit_queue("default", per_key=UNSET, **limits, who=None))


def by_a_declaration(db: Session, rate: RateLimit | NoLimit, scope: Scope) -> None:
    declared: dict[str, Any] = {NAMES[scope]: None if isinstance(rate, NoLimit) else rate.to_json()}
    declare_queue(db, **declared)


@pytest.fixture(params=[by_an_operator, by_a_declaration])
def change(request: pytest.FixtureRequest) -> Change:
    return request.param


@pytest.fixture(params=["queue", "key"])
def scope(request: pytest.FixtureRequest) -> Scope:
    return request.param


@pytest.fixture
def worker(db: Session, scope: Scope) -> DrivenWorker:
    freeze_clock(db)
    by_a_declaration(db, NO_LIMIT, scope)
    send_keys(db, "a" * 30)
    return DrivenWorker(db)


def test_a_lower_rate_gives_no_tokens_back(db: Session, worker: DrivenWorker, change: Change, scope: Scope) -> None:
    change(db, FAST, scope)
    assert len(worker.claim(9)) == 5
    change(db, SLOW, scope)
    move_clock(db, 59)
    assert worker.claim(9) == []
    move_clock(db, 1)
    assert len(worker.claim(9)) == 1


def test_a_higher_rate_counts_at_once(db: Session, worker: DrivenWorker, change: Change, scope: Scope) -> None:
    change(db, SLOW, scope)
    assert len(worker.claim(9)) == 5
    change(db, FAST, scope)
    assert worker.claim(9) == []
    move_clock(db, 0.2)
    assert len(worker.claim(9)) == 2


def test_tokens_that_are_left_stay(db: Session, worker: DrivenWorker, change: Change, scope: Scope) -> None:
    change(db, FAST, scope)
    assert len(worker.claim(2)) == 2
    change(db, SLOW, scope)
    assert len(worker.claim(9)) == 3


def test_a_bucket_holds_no_more_than_the_new_burst(
    db: Session,
    worker: DrivenWorker,
    change: Change,
    scope: Scope,
) -> None:
    change(db, FAST, scope)
    assert len(worker.claim(1)) == 1
    change(db, RateLimit(limit=1, per_seconds=60, burst=2), scope)
    assert len(worker.claim(9)) == 2


def test_the_bucket_is_full_after_a_time_without_a_rate(
    db: Session,
    worker: DrivenWorker,
    change: Change,
    scope: Scope,
) -> None:
    change(db, SLOW, scope)
    assert len(worker.claim(9)) == 5
    change(db, NO_LIMIT, scope)
    assert len(worker.claim(9)) == 9
    change(db, SLOW, scope)
    assert len(worker.claim(9)) == 5


def test_another_limit_changes_nothing(db: Session, worker: DrivenWorker, scope: Scope) -> None:
    by_an_operator(db, FAST, scope)
    assert len(worker.claim(9)) == 5
    call(db, limit_queries.limit_queue("default", per_key=20, rate=UNSET, rate_per_key=UNSET, who=None))
    move_clock(db, 0.15)
    assert len(worker.claim(9)) == 1
    move_clock(db, 0.05)
    assert len(worker.claim(9)) == 1


def test_a_declaration_that_ends_the_rate_of_keys_waits_for_claims(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    """Otherwise it would remove buckets in another order than a claim locks them."""
    declare_queue(db)
    by_an_operator(db, FAST, "key")
    claiming, declaring = new_session(), new_session()
    with claiming.transaction():
        claiming.execute("select horsies.lock_limits(array['queue default'], true)")
        declared = in_background(lambda: declare_queue(declaring, takes_turns=False))
        wait_until_blocked(db, declaring)
    declared.result()


def test_a_declaration_waits_for_a_claim_that_takes_tokens(
    db: Session, new_session: NewSession, in_background: InBackground
) -> None:
    freeze_clock(db)
    declare_queue(db, rate=FAST.to_json())
    send_keys(db, "a" * 9)
    claiming, declaring = new_session(), new_session()
    with claiming.transaction():
        assert len(DrivenWorker(claiming).claim(9)) == 5
        declared = in_background(lambda: declare_queue(declaring, rate=SLOW.to_json()))
        wait_until_blocked(db, declaring)
    declared.result()
    assert DrivenWorker(db).claim(9) == []
    move_clock(db, 60)
    assert len(DrivenWorker(db).claim(9)) == 1
