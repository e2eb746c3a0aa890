"""`claim_regulated`: keyed and plain queues of one worker."""

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, keys_of, send_keys
from tests.support.sessions import Session


def test_plain_and_keyed_queues_of_one_worker_share_the_order_of_priorities(db: Session) -> None:
    declare_queue(db, "keyed")
    send_keys(db, "b", queue="plain", priority=20)
    send_keys(db, "a", queue="keyed", priority=10)
    send_keys(db, "c", queue="keyed", priority=30)
    send_keys(db, "d", queue="plain", priority=40)
    worker = DrivenWorker(db, queues=["plain", "keyed"])
    assert keys_of(db, worker.claim(3)) == "abc"
    assert keys_of(db, worker.claim(3)) == "d"


def test_neither_of_two_queues_of_one_priority_starves_the_other(db: Session) -> None:
    declare_queue(db, "keyed")
    send_keys(db, "aaaa", queue="keyed")
    send_keys(db, "bbbb", queue="plain")
    worker = DrivenWorker(db, queues=["plain", "keyed"])
    assert set(keys_of(db, [worker.claim_one(), worker.claim_one()])) == {"a", "b"}
