"""`backfill_turns`: tasks that were sent before the keys of their queue took turns get their place."""

from horsies.db.queries.flow import backfill_turns
from tests.support.factories import DrivenWorker
from tests.support.flow import declare_queue, keys_of, send_keys
from tests.support.sessions import Session, call


def test_tasks_that_were_sent_before_the_declaration_take_turns(db: Session) -> None:
    send_keys(db, "aaab")
    running = DrivenWorker(db)
    running.claim(1)
    declare_queue(db, per_key=1)
    assert call(db, backfill_turns(["default"], 100)) == 3
    assert call(db, backfill_turns(["default"], 100)) == 0
    assert keys_of(db, DrivenWorker(db).claim(9)) == "b", "the claimed task of a counts"
