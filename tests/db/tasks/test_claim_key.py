"""`claim_key`: reserves an idempotency key."""

from uuid import UUID

import pytest
from psycopg import errors

from tests.support.factories import request
from tests.support.sessions import InBackground, Session, wait_until_blocked


def claim_key(db: Session, new_id: UUID, key: str = "k", args: str = "{}") -> list[tuple[UUID, bool]]:
    return db.execute("select * from horsies.claim_key('add', %s, %s, %s)", (key, new_id, args)).fetchall()


def test_a_free_key_is_taken_and_a_taken_one_names_its_task(db: Session) -> None:
    first, second = request().task_id, request().task_id
    assert claim_key(db, first) == []
    assert claim_key(db, second) == [(first, True)]
    assert claim_key(db, second, args='{"a":1}') == [(first, False)]
    assert claim_key(db, second, key="K") == []


def test_a_key_that_is_deleted_while_it_is_waited_for_is_free(
    db: Session, other: Session, in_background: InBackground
) -> None:
    first, second = request().task_id, request().task_id
    with db.transaction():
        claim_key(db, first)
        waiting = in_background(lambda: claim_key(other, second))
        wait_until_blocked(db, other)
        db.execute("delete from horsies.idempotency_keys")
    assert waiting.result() == []


@pytest.mark.parametrize("key", ["", "é" * 257])
def test_a_key_has_1_to_512_bytes(db: Session, key: str) -> None:
    with pytest.raises(errors.CheckViolation, match="key_has_1_to_512_bytes"):
        claim_key(db, request().task_id, key=key)
