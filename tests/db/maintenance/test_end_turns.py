"""`end_turns`: tasks that wait for a turn where none is given are found."""

from tests.support.factories import DrivenWorker
from tests.support.flow import keys_of, send_keys
from tests.support.sessions import Session, scalar


def test_a_task_that_was_sent_while_the_declaration_ended_is_found(db: Session) -> None:
    send_keys(db, "a")
    db.execute("update horsies.tasks set turn_key = 'a'")
    worker = DrivenWorker(db)
    assert worker.claim(9) == []
    scalar(db, "select horsies.expire(10)")
    assert keys_of(db, worker.claim(9)) == "a"
