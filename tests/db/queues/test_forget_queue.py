"""`forget_queue`: the row of a queue is deleted when nothing is left in it."""

import pytest

from tests.support.sessions import Session, scalar


@pytest.mark.parametrize(
    "setting",
    [
        "paused = true",
        "turns = 'ending'",
        "has_holds = true",
        "declared_per_key = 1",
        "declared_rate = '{}'",
        "rate_limit_per_key = '{}'",
        "max_concurrency = 0",
        "lifted_limits = '{rate}'",
    ],
)
def test_a_row_with_a_setting_stays(db: Session, setting: str) -> None:
    db.execute("insert into horsies.queues (name) values ('a'), ('b')")
    db.execute(f"update horsies.queues set {setting} where name = 'a'".encode())
    db.execute("select horsies.forget_queue('a'), horsies.forget_queue('b')")
    assert scalar(db, "select name from horsies.queues") == "a"
