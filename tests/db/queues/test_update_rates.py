"""`update_rates`: a bucket keeps its tokens when the rate changes, whoever changes it and however many there are."""

import statistics
from collections.abc import Callable
from typing import Any, Literal

import pytest

from horsies.config.rates import NO_LIMIT, NoLimit, RateLimit
from horsies.db.operations import UNSET
from horsies.db.queries import limits as limit_queries
from tests.db.test_flow_plans import blocks_of
from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, send_keys
from tests.support.sessions import (
    InBackground,
    NewSession,
    Session,
    call,
    column,
    freeze_clock,
    move_clock,
    scalar,
    wait_until_blocked,
)

FAST, SLOW = RateLimit(limit=10, per_seconds=1, burst=5), RateLimit(limit=1, per_seconds=60, burst=5)

BUCKETS = 50_000
_FILL = """
    insert into horsies.buckets
    select 'default', 'key', 'k' || n, r.full_from + 3000000000
    from horsies.rate_at('default', 'key', horsies.now()) as r, generate_series(1, %s) as n
"""
_VERSIONS = "select distinct xmin::text from horsies.buckets"
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


def test_a_part_of_a_token_stays(db: Session, worker: DrivenWorker, change: Change, scope: Scope) -> None:
    change(db, SLOW, scope)
    assert len(worker.claim(9)) == 5
    move_clock(db, 30)
    change(db, FAST, scope)
    assert worker.claim(9) == []
    move_clock(db, 0.05)
    assert len(worker.claim(9)) == 1


def test_a_lower_burst_for_a_moment_gives_no_tokens_back(
    db: Session, worker: DrivenWorker, change: Change, scope: Scope
) -> None:
    """A bucket that is full by the lower burst is forgotten, and holds only this burst when the higher one returns."""
    change(db, SLOW, scope)
    assert len(worker.claim(3)) == 3
    change(db, RateLimit(limit=1, per_seconds=60, burst=2), scope)
    assert worker.claim(0) == []
    change(db, SLOW, scope)
    assert len(worker.claim(9)) == 2
    move_clock(db, 60)
    assert len(worker.claim(9)) == 1


def test_a_bucket_that_was_never_used_fills_up_to_a_higher_burst(
    db: Session, worker: DrivenWorker, change: Change, scope: Scope
) -> None:
    change(db, RateLimit(limit=1, per_seconds=60, burst=2), scope)
    change(db, SLOW, scope)
    assert len(worker.claim(9)) == 2
    change(db, RateLimit(limit=1, per_seconds=60, burst=2), scope)
    move_clock(db, 600)
    change(db, SLOW, scope)
    move_clock(db, 60)
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


def test_a_change_does_not_touch_the_buckets(db: Session) -> None:
    """Changing a rate holds the lock of the queue, so it must not take longer for many keys."""
    freeze_clock(db)
    declare_queue(db, rate_per_key=SLOW.to_json())
    few = [blocks_of_a_change(db, number) for number in range(5)]
    db.execute(_FILL, (BUCKETS,))
    db.execute("analyze horsies.buckets")
    untouched = column(db, _VERSIONS)
    many = [blocks_of_a_change(db, number) for number in range(5)]
    assert statistics.median(many) <= statistics.median(few) + 20, (few, many)
    change = "select horsies.limit_queue('default', %s, null, null, null, null, %s)"
    for names, lifted in (["rate_per_key"], ["rate_per_key"]), (["rate_per_key"], []):
        assert scalar(db, change, names, lifted) == "changed"
    assert column(db, _VERSIONS) == untouched, "the buckets are as they were"
    send_keys(db, ["k1"] * 9)
    assert len(DrivenWorker(db).claim(9)) == 5, "all buckets are full after a time without a rate"


def blocks_of_a_change(db: Session, number: int) -> int:
    """Change the rate of each key, and return how many blocks were read."""
    statement = "select horsies.limit_queue('default', '{rate_per_key}', null, null, %s, null)"
    return blocks_of(db, statement, (RateLimit(limit=number + 1, per_seconds=60, burst=5).to_json(),))


def test_an_incomplete_rate_is_none(db: Session) -> None:
    """No version of horsies declares one, but a declaration must not make a worker fail to start."""
    declare_queue(db, rate='{"limit": 1, "burst": 1}')
    assert scalar(db, "select count(*) from horsies.rates") == 0
    send_keys(db, "aaa")
    assert len(DrivenWorker(db).claim(9)) == 3


def test_a_rate_that_ends_and_begins_again_beside_old_buckets_is_full(db: Session) -> None:
    """The queue loses its row meanwhile, and its buckets are still there."""
    freeze_clock(db)
    rate = RateLimit(limit=1, per_seconds=60, burst=1_000_000)
    for number in (3, 2, 1):
        by_a_declaration(db, rate, "queue")
        send_keys(db, "a" * number)
        worker = DrivenWorker(db)
        assert len(worker.claim(9)) == number
        left = "select 1000000 - horsies.tokens_left(b.used_to, r.produced, r.full_from) from horsies.buckets b,"
        assert scalar(db, f"{left} horsies.rate_at('default', 'queue', horsies.now()) as r") == number
        declare_queue(db, takes_turns=False)
        assert scalar(db, "select count(*) from horsies.buckets") == 1
