"""`prune_flow`: expired holds and full buckets leave nothing behind."""

from tests.support.factories import DrivenWorker, send
from tests.support.flow import declare_queue, hold, rate, send_keys
from tests.support.sessions import Session, move_clock, scalar


def test_a_hold_of_a_plain_queue_leaves_nothing_behind(db: Session) -> None:
    send(db)
    hold(db, "horsies.now() + interval '1 minute'")
    worker = DrivenWorker(db)
    claim = worker.ask(9)
    assert claim.tasks == []
    assert claim.limits_active
    move_clock(db, 61)
    assert len(worker.claim(1)) == 1
    assert scalar(db, "select count(*) from horsies.queues") == 0
    assert not worker.ask(9).limits_active


def test_each_claim_looks_at_a_few_buckets_and_holds_of_keys(db: Session) -> None:
    declare_queue(db, rate_per_key=rate(1, 60), per_key=1)
    send_keys(db, "aa")
    worker = DrivenWorker(db)
    worker.claim_one()
    db.execute(
        "insert into horsies.buckets select 'default', 'key', 'k' || to_char(n, 'FM000'),"
        " r.full_from + 60000000000 * (case when n > 240 then -1 else 1 end)"
        " from horsies.rate_at('default', 'key', horsies.now()) as r, generate_series(1, 250) as n"
    )
    hold(db, "horsies.now() + interval '1 minute'", key="z")
    db.execute(
        "insert into horsies.holds select 'default', 'key', 'h' || to_char(n, 'FM000'), 'paused',"
        " horsies.now() + interval '1 hour' * (case when n > 240 then -1 else 1 end), null, null, horsies.now()"
        " from generate_series(1, 250) n"
    )
    left = []
    for _ in range(8):
        assert worker.ask(9).tasks == []
        left.append(
            scalar(db, "select count(*) from horsies.buckets") + scalar(db, "select count(*) from horsies.holds")
        )
    assert left[0] == 502, "the first rows are not due"
    assert left[-1] == 482
