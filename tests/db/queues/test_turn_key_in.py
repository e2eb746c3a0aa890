"""`turn_key_in`: the key under which a task takes its turn."""

from tests.support.flow import declare_queue
from tests.support.sessions import Session, scalar


def test_only_tasks_of_queues_whose_keys_take_turns_have_one(db: Session) -> None:
    declare_queue(db, "keyed")
    turn_key = "select horsies.turn_key_in(%s, %s)"
    assert scalar(db, turn_key, "keyed", "a") == "a"
    assert scalar(db, turn_key, "keyed", None) == ""
    assert scalar(db, turn_key, "plain", "a") is None
    declare_queue(db, "keyed", takes_turns=False, rate='{"limit": 1, "per_seconds": 1, "burst": 1}')
    assert scalar(db, turn_key, "keyed", "a") is None
