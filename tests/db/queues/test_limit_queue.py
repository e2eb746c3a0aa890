"""`limit_queue` and `queue_limits`: limits that are set at run time, in place of the declared ones."""

import psycopg
import pytest

from horsies.config.rates import NO_LIMIT, NoLimit, RateLimit
from horsies.db.operations import UNSET, Unset
from horsies.db.queries import limits as limit_queries
from horsies.db.queries.limits import QueueLimits
from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, keys_of, rate, send_keys
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
    per_key: int | NoLimit | Unset | None = UNSET,
    rate: RateLimit | NoLimit | Unset | None = UNSET,
    rate_per_key: RateLimit | NoLimit | Unset | None = UNSET,
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


def test_a_lifted_limit_does_not_return_with_the_next_declaration(db: Session, keyed: str) -> None:
    assert limit(db, keyed, per_key=NO_LIMIT, rate=NO_LIMIT) == "changed"
    lifted = QueueLimits("q", True, None, None, None, ("per_key", "rate"), "ada@host", NOON)
    assert limits(db, keyed) == lifted
    assert limit(db, keyed, rate=NO_LIMIT, who="bob") == "unchanged"
    declare_queue(db, keyed, per_key=1, rate=OTHER.to_json(), rate_per_key=RATE.to_json())
    assert limits(db, keyed) == lifted._replace(rate_per_key=_full(RATE))
    assert limit(db, keyed, per_key=4, rate=None) == "changed"
    assert limits(db, keyed) == QueueLimits("q", True, 4, _full(OTHER), _full(RATE), ("per_key",), "ada@host", NOON)
    assert limit(db, keyed, per_key=NO_LIMIT) == "changed"
    assert limits(db, keyed)._replace(rate_per_key=None) == lifted._replace(
        rate=_full(OTHER), set_at_run_time=("per_key",)
    )


def test_a_worker_claims_as_if_a_lifted_limit_was_never_declared(db: Session) -> None:
    declare_queue(db, per_key=1, rate=rate(1, 60, burst=1), rate_per_key=rate(1, 60, burst=1))
    send_keys(db, "aaab")
    worker = DrivenWorker(db)
    assert keys_of(db, worker.claim(9)) == "a"
    assert limit(db, "default", rate=NO_LIMIT) == "changed"
    assert keys_of(db, worker.claim(9)) == "b"
    assert limit(db, "default", per_key=NO_LIMIT) == "changed"
    assert worker.claim(9) == []
    assert limit(db, "default", rate_per_key=NO_LIMIT) == "changed"
    assert keys_of(db, worker.claim(9)) == "aa"


def test_a_lifted_rate_leaves_a_plain_queue_on_the_fast_path(db: Session) -> None:
    declare_queue(db, "plain", takes_turns=False, rate=rate(1, 60, burst=1))
    assert limit(db, "plain", rate=NO_LIMIT) == "changed"
    assert db.execute("select * from horsies.flow_settings('{plain}')").fetchall() == []
    declare_queue(db, "plain", takes_turns=False)
    assert limits(db, "plain").set_at_run_time == ("rate",), "it is kept for the next declaration"
    assert limit(db, "plain", rate=None) == "changed"
    assert scalar(db, "select count(*) from horsies.queues") == 0


def test_limits_of_keys_cannot_be_lifted_where_there_are_none(db: Session) -> None:
    assert limit(db, "plain", per_key=NO_LIMIT) == "not keyed"
    assert limit(db, "plain", rate_per_key=NO_LIMIT) == "not keyed"
    assert scalar(db, "select count(*) from horsies.queues") == 0


def test_an_operator_in_sql_may_name_a_lifted_limit_only_once(db: Session, keyed: str) -> None:
    """Such a call names it in `lifted` alone, or passes a value that is ignored."""
    db.execute("select horsies.limit_queue(%s, '{}', 5, null, null, 'ada', '{per_key,rate}')", (keyed,))
    assert limits(db, keyed)[2:6] == (None, None, None, ("per_key", "rate"))
    with pytest.raises(psycopg.errors.CheckViolation, match="lifted_limits_are_known"):
        db.execute("select horsies.limit_queue(%s, '{}', null, null, null, 'ada', '{rates}')", (keyed,))
    db.execute("select horsies.limit_queue(%s, '{rate,per_key}', null, null, null, 'ada', null)", (keyed,))
    assert limits(db, keyed)[2:6] == (3, _full(OTHER), None, ())


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
