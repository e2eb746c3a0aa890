"""`take_keys`: what has changed since it was read is passed over."""

from tests.support.factories import DrivenWorker, request, send
from tests.support.flow import declare_queue, keys_of, send_keys
from tests.support.sessions import Session


def test_unknown_names_and_deadlines_are_passed_over(db: Session) -> None:
    declare_queue(db)
    send(db, request(name="other", task_key="a"))
    send_keys(db, "ab")
    db.execute("update horsies.tasks set good_until = now() - interval '1 s' where task_key = 'b'")
    assert keys_of(db, DrivenWorker(db).claim(9)) == "a"
