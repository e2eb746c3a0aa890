"""`durable`: sends, claims and outcomes survive a crash of the server, even if the session is not durable."""

import pytest

from tests.support.factories import DrivenWorker, done, enqueue, request, send
from tests.support.sessions import Session, scalar

WEAKER = ["off", "local", "remote_write"]


def durability(db: Session) -> str:
    return scalar(db, "show synchronous_commit")


@pytest.mark.parametrize("setting", WEAKER)
def test_a_send_is_durable_whatever_the_session_says(db: Session, setting: str) -> None:
    db.execute(f"set synchronous_commit = {setting}".encode())
    with db.transaction():
        enqueue(db, request())
        assert durability(db) == "on"
    assert durability(db) == setting


def test_a_claim_is_durable(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    db.execute("set synchronous_commit = off")
    with db.transaction():
        worker.claim_one()
        assert durability(db) == "on"


def test_an_outcome_is_durable(db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    db.execute("set synchronous_commit = off")
    with db.transaction():
        worker.finish(done(fence))
        assert durability(db) == "on"


def test_what_is_stronger_is_left_alone(db: Session) -> None:
    db.execute("set synchronous_commit = remote_apply")
    with db.transaction():
        enqueue(db, request())
        assert durability(db) == "remote_apply"
