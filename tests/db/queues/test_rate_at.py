"""`rate_at`: the stream of tokens of a rate grows with time, in whole billionths of a token."""

from decimal import Decimal

from horsies import RateLimit
from tests.support.flow import declare_queue, rate
from tests.support.sessions import Session, freeze_clock, move_clock

QUERY = "select * from horsies.rate_at('default', %s, horsies.now())"
TOKEN = 1_000_000_000


def at(db: Session, scope: str) -> tuple[object, ...] | None:
    return db.execute(QUERY, (scope,)).fetchone()


def test_a_rate_produces_tokens_and_a_full_bucket_holds_the_last_of_them(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, rate=RateLimit(limit=7, per_seconds=1, burst=5).to_json())
    assert at(db, "queue") == (142_858, 5, 0, -5 * TOKEN)
    assert at(db, "key") is None
    move_clock(db, 0.142858)
    assert at(db, "queue") == (142_858, 5, TOKEN, -4 * TOKEN)
    move_clock(db, 0.000001)
    assert at(db, "queue") == (142_858, 5, TOKEN + 6999, -4 * TOKEN + 6999), "rounded down"
    move_clock(db, -10)
    assert at(db, "queue") == (142_858, 5, 0, -5 * TOKEN), "the stream never becomes shorter than at the last change"


def test_a_fast_rate_that_is_never_changed_stays_exact(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, rate=rate(1_000_000, 1, burst=1_000_000))
    ten_years_s = 10 * 365 * 86_400
    move_clock(db, ten_years_s)
    produced = Decimal(ten_years_s) * 1_000_000 * TOKEN
    assert at(db, "queue") == (1, 1_000_000, produced, produced - 1_000_000 * TOKEN)


def test_what_was_lost_stays_lost_when_the_burst_grows(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, rate=rate(1, 1, burst=2))
    move_clock(db, 60)
    declare_queue(db, rate=rate(1, 1, burst=9))
    assert at(db, "queue") == (1_000_000, 9, 60 * TOKEN, 58 * TOKEN)
    move_clock(db, 3)
    assert at(db, "queue") == (1_000_000, 9, 63 * TOKEN, 58 * TOKEN)
    move_clock(db, 60)
    assert at(db, "queue") == (1_000_000, 9, 123 * TOKEN, 114 * TOKEN)
