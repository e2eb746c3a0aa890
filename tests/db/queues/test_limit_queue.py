"""`limit_queue` and `queue_limits`: limits that are set at run time, in place of the declared ones."""

import psycopg
import pytest

from horsies.config.rates import RateLimit
from horsies.db.operations import UNSET, Unset
from horsies.db.queries import limits as limit_queries
from horsies.db.queries.limits import QueueLimits
from tests.support.sessions import (
    NOON,
    InBackground,
    NewSession,
    Session,
    call,
    freeze_clock,
    scalar,
    wait_until_blocked,
)

RATE, OTHER = RateLimit(limit=100, per_seconds=60), RateLimit(limit=5, per_seconds=0.5, burst=7)


@pytest.fixture
def keyed(db: Session) -> str:
    """Return a keyed queue with declared limits."""
    freeze_clock(db)
    db.execute(
        "insert into horsies.queues (name, turns, declared_per_key, declared_rate) values ('q', 'on', 3, %s)",
        (OTHER.to_json(),),
    )
    return "q"


def limit(
    db: Session,
    name: str,
    *,
    per_key: int | Unset | None = UNSET,
    rate: RateLimit | Unset | None = UNSET,
    rate_per_key: RateLimit | Unset | None = UNSET,
    who: str | None = "ada@host",
) -> str:
    return call(db, limit_queries.limit_queue(name, per_key=per_key, rate=rate, rate_per_key=rate_per_key, who=who))


def limits(db: Session, name: str) -> QueueLimits:
    return call(db, limit_queries.queue_limits(name))


def test_limits_replace_the_declared_ones_until_they_are_restored(db: Session, keyed: str) -> None:
    declared = QueueLimits("q", True, 3, _full(OTHER), None, (), None, None)
    assert limits(db, keyed) == declared
    assert limit(db, keyed, per_key=0, rate=RATE, rate_per_key=OTHER) == "changed"
    names = ("per_key", "rate", "rate_per_key")
    assert limits(db, keyed) == QueueLimits("q", True, 0, _full(RATE), _full(OTHER), names, "ada@host", NOON)
    assert limit(db, keyed, rate=None) == "changed"
    assert limits(db, keyed).set_at_run_time == ("per_key", "rate_per_key")
    assert limit(db, keyed, per_key=None, rate_per_key=None) == "changed"
    assert limits(db, keyed)._replace(set_by=None, set_at=None) == declared


def _full(rate: RateLimit) -> RateLimit:
    """Return a rate as it is stored: with its burst."""
    return RateLimit(limit=rate.limit, per_seconds=rate.per_seconds, burst=rate.depth)


def test_a_limit_that_is_set_already_is_no_change_and_keeps_who_has_set_it(db: Session, keyed: str) -> None:
    assert limit(db, keyed, rate=RATE) == "changed"
    assert limit(db, keyed, rate=RATE, who="bob") == "unchanged"
    assert limits(db, keyed).set_by == "ada@host"
    assert limit(db, keyed, per_key=None) == "unchanged"


def test_without_a_name_the_user_of_the_session_is_recorded(db: Session, keyed: str) -> None:
    limit(db, keyed, rate=RATE, who=None)
    assert limits(db, keyed).set_by == scalar(db, "select session_user::text")


@pytest.mark.parametrize("turns", ["off", "ending", None])
def test_limits_of_keys_are_refused_for_a_queue_that_is_not_keyed(db: Session, turns: str | None) -> None:
    if turns is not None:
        db.execute("insert into horsies.queues (name, turns, paused) values ('plain', %s, true)", (turns,))
    assert limit(db, "plain", per_key=2) == "not keyed"
    assert limit(db, "plain", rate=RATE, rate_per_key=RATE) == "not keyed"
    assert limits(db, "plain").rate is None
    assert limit(db, "plain", rate=RATE) == "changed"
    assert limit(db, "plain", per_key=None, rate_per_key=None) == "unchanged"


def test_a_queue_without_limits_has_no_row(db: Session) -> None:
    assert limits(db, "plain") == QueueLimits("plain", is_keyed=False)
    assert limit(db, "plain", rate=None) == "unchanged"
    assert scalar(db, "select count(*) from horsies.queues") == 0
    limit(db, "plain", rate=RATE)
    assert limit(db, "plain", rate=None) == "changed"
    assert scalar(db, "select count(*) from horsies.queues") == 0


def test_it_waits_for_a_claim_that_holds_the_lock_of_the_queue(
    db: Session, keyed: str, new_session: NewSession, in_background: InBackground
) -> None:
    claiming, changing = new_session(), new_session()
    with claiming.transaction():
        claiming.execute("select horsies.lock_limits('{queue q}', true)")
        waiting = in_background(lambda: limit(changing, keyed, rate=RATE))
        wait_until_blocked(db, changing)
        assert limits(db, keyed).rate == _full(OTHER)
    assert waiting.result() == "changed"


@pytest.mark.parametrize("name", ["rate", "rate_per_key"])
@pytest.mark.parametrize(
    "wrong",
    [
        "[]",
        "null",
        "5",
        "{}",
        '{"limit": 0, "per_seconds": 60, "burst": 1}',
        '{"limit": -1, "per_seconds": 60, "burst": 1}',
        '{"limit": 1.5, "per_seconds": 60, "burst": 1}',
        '{"limit": "5", "per_seconds": 60, "burst": 1}',
        '{"limit": "NaN", "per_seconds": 60, "burst": 1}',
        '{"limit": 1000001, "per_seconds": 60, "burst": 1}',
        '{"limit": 1e99, "per_seconds": 60, "burst": 1}',
        '{"limit": 5, "per_seconds": 0, "burst": 1}',
        '{"limit": 5, "per_seconds": -1, "burst": 1}',
        '{"limit": 5, "per_seconds": "NaN", "burst": 1}',
        '{"limit": 5, "per_seconds": 1e999999, "burst": 1}',
        '{"limit": 5, "per_seconds": 2678401, "burst": 1}',
        '{"limit": 5, "per_seconds": 60}',
        '{"limit": 5, "per_seconds": 60, "burst": 0}',
        '{"limit": 5, "per_seconds": 60, "burst": null}',
        '{"limit": {"limit": 5}, "per_seconds": 60, "burst": 1}',
    ],
)
def test_a_wrong_rate_is_refused_with_a_hint(db: Session, keyed: str, name: str, wrong: str) -> None:
    """Nobody but `RateLimit` checks what an operator passes in SQL, and every claim would fail because of it."""
    setting = f"select horsies.limit_queue(%s, array[%s], null, {name} => %s, set_by => null, OTHER => null)"
    other = "rate_per_key" if name == "rate" else "rate"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"cannot be set for queue {keyed}") as refused:
        db.execute(setting.replace("OTHER", other).encode(), (keyed, name, wrong))
    assert '{"limit": 100, "per_seconds": 60, "burst": 10}' in (refused.value.diag.message_hint or "")
    assert limits(db, keyed).set_at_run_time == ()


@pytest.mark.parametrize("seconds", [1e-07, 0.25, 60, 2_678_400])
def test_a_rate_of_any_valid_period_is_accepted(db: Session, keyed: str, seconds: float) -> None:
    rate = RateLimit(limit=1_000_000, per_seconds=seconds, burst=1_000_000)
    assert limit(db, keyed, rate=rate) == "changed"
    assert limits(db, keyed).rate == rate
