"""`declare_queues`: what apps declare about keys and rates."""

from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, keys_of, send_keys
from tests.support.sessions import Session, scalar


def test_tasks_return_to_the_common_order_when_the_declaration_ends(db: Session) -> None:
    declare_queue(db, per_key=1)
    send_keys(db, "aaab")
    declare_queue(db, takes_turns=False)
    worker = DrivenWorker(db)
    assert keys_of(db, worker.claim(9)) == "aaab"
    worker.claim(9)
    assert scalar(db, "select count(*) from horsies.queues") == 0
    assert not worker.ask(9).limits_active
