"""`end_rates`: buckets without a rate are deleted a few at a time, while no claim waits for them."""

from tests.support.factories import DrivenWorker, expire
from tests.support.flow import declare_queue, rate, send_keys
from tests.support.sessions import NewSession, Session, column, freeze_clock, scalar

COUNT = "select count(*) from horsies.buckets"
FILL = """
    insert into horsies.buckets
    select 'default', 'key', 'k' || n, r.full_from + 3000000000
    from horsies.rate_at('default', 'key', horsies.now()) as r, generate_series(1, 25) as n
"""
EXPIRE = "select horsies.expire(10)"


def test_buckets_of_an_ended_rate_are_deleted_a_few_at_a_time(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, rate=rate(1, 60), rate_per_key=rate(1, 60, burst=5))
    declare_queue(db, "other", rate=rate(1, 60))
    send_keys(db, "a")
    send_keys(db, "a", queue="other")
    assert len(DrivenWorker(db, queues=["default", "other"]).claim(9)) == 2
    db.execute(FILL)
    declare_queue(db, takes_turns=False)
    left = []
    for _ in range(4):
        db.execute(EXPIRE)
        left.append(scalar(db, COUNT))
    assert left == [17, 7, 1, 1]
    assert column(db, "select queue || ' ' || scope from horsies.rates") == ["other queue"]
    assert column(db, "select queue from horsies.buckets") == ["other"]


def test_a_queue_whose_lock_is_held_is_left_for_the_next_call(db: Session, new_session: NewSession) -> None:
    declare_queue(db, rate_per_key=rate(1, 60, burst=5))
    db.execute(FILL)
    declare_queue(db, takes_turns=False)
    claiming = new_session()
    with claiming.transaction():
        claiming.execute("select horsies.lock_limits(array['queue default'], true)")
        expire(db)
        assert scalar(db, COUNT) == 25
    expire(db)
    assert scalar(db, COUNT) < 25


def test_a_rate_that_begins_again_keeps_its_buckets(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, rate_per_key=rate(1, 60, burst=5))
    db.execute(FILL)
    declare_queue(db, takes_turns=False)
    declare_queue(db, rate_per_key=rate(1, 60, burst=5))
    expire(db)
    assert scalar(db, COUNT) == 25
    assert scalar(db, "select count(*) from horsies.rates where token_us is not null") == 1
