"""`blocked_keys`: the keys of which nothing can start, with their first reason."""

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, hold, rate, send_keys
from tests.support.sessions import Session, freeze_clock

ASK = "select key, reason from horsies.blocked_keys(array['default'], horsies.now(), %s) order by key"


def blocked(db: Session, most: int = 100) -> list[tuple[str, str]]:
    return db.execute(ASK, (most,)).fetchall()


def test_each_key_has_its_first_reason(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, per_key=2, rate_per_key=rate(1, 60, 3))
    worker = DrivenWorker(db)
    send_keys(db, "aaabbbcd")
    worker.claim(10)
    hold(db, "horsies.now() + interval '1 minute'", key="b")
    hold(db, "horsies.now() - interval '1 minute'", key="c")
    assert blocked(db) == [("a", "key_full"), ("b", "held_back")]
    assert len(blocked(db, 1)) == 1


def test_a_key_without_tokens(db: Session) -> None:
    freeze_clock(db)
    declare_queue(db, rate_per_key=rate(1, 60))
    worker = DrivenWorker(db)
    send_keys(db, ["a", None])
    worker.claim(10)
    assert blocked(db) == [("", "rate_limit"), ("a", "rate_limit")]


def test_keys_that_take_no_turns_block_nothing(db: Session) -> None:
    declare_queue(db, takes_turns=False)
    hold(db, "horsies.now() + interval '1 minute'", key="a")
    assert blocked(db) == []
