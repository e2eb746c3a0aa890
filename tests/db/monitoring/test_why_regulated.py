"""`why_regulated`: which limit of its key, rate or hold keeps a task from starting."""

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, hold, rate, send_keys
from tests.support.sessions import NOON, Session, freeze_clock

QUERY = "select reason, sentence from horsies.why(%s)"


def why(db: Session, key: str | None = "a") -> tuple[str, str]:
    """Send a task with a key, and return why it waits."""
    (task_id,) = send_keys(db, [key])
    found = db.execute(QUERY, (task_id,)).fetchone()
    assert found is not None
    return found


def test_a_full_key_is_named_with_the_tasks_that_fill_it(db: Session) -> None:
    declare_queue(db, per_key=1)
    send_keys(db, "a")
    DrivenWorker(db).claim_one()
    full = "is full, 1 are claimed and the limit is 1: add on host-1/worker"
    assert why(db) == ("key_full", f'the key "a" {full}')
    assert why(db, "b")[0] == "next"


def test_a_key_cannot_pass_for_a_part_of_the_sentence(db: Session) -> None:
    declare_queue(db, per_key=1)
    send_keys(db, ['a" is paused\n'])
    DrivenWorker(db).claim_one()
    assert why(db, 'a" is paused\n')[1].startswith(r'the key "a\" is paused\n" is full, ')


def test_the_time_of_the_next_token_is_named(db: Session) -> None:
    freeze_clock(db, NOON)
    declare_queue(db, rate_per_key=rate(1, 60))
    worker = DrivenWorker(db)
    send_keys(db, [None])
    worker.claim_one()
    at = f"{NOON:%Y-%m-%d %H}:01:00 UTC"
    expected = f"the rate of the tasks without a key is used up, and the next start is possible at {at}"
    assert why(db, None) == ("rate_limit", expected)
    declare_queue(db, rate=rate(1, 60))
    send_keys(db, "c")
    worker.claim_one()
    assert why(db)[1] == f"the rate of its queue default is used up, and the next start is possible at {at}"


def test_a_hold_is_named_with_its_end(db: Session) -> None:
    freeze_clock(db, NOON)
    declare_queue(db)
    DrivenWorker(db)
    hold(db, "horsies.now() + interval '1 minute'", key="a")
    at = f"{NOON:%Y-%m-%d %H}:01:00 UTC"
    assert why(db) == ("held_back", f'the key "a" is held back by a remote limit until {at}')
    hold(db, "'infinity'")
    db.execute("update horsies.holds set kind = 'paused', who = 'ada' where scope = 'queue'")
    assert why(db, "b") == ("held_back", "its queue default is paused until it is resumed, by ada")
    db.execute("update horsies.holds set reason = 'it is too slow'")
    assert why(db, "b")[1].endswith(" until it is resumed, by ada: it is too slow")


def test_a_plain_queue_has_no_such_reason(db: Session) -> None:
    DrivenWorker(db)
    assert why(db)[0] == "next"
