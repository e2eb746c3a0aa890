"""`claim_in_order`: the ranges of priorities in which queues without turns are searched."""

import pytest

from horsies.db.queries.worker import Fence
from tests.support.factories import DrivenWorker
from tests.support.flow import keys_of, send_keys
from tests.support.sessions import Session

QUERY = """
    select id from horsies.claim_in_order(%s, 1, 9, 9, null, %s, '{add}', false, false, 10, 30, true)
    where id is not null
"""


@pytest.mark.parametrize("queues", [["default"], [f"q{number}" for number in range(20)] + ["default"]])
def test_only_the_priorities_of_the_range_are_searched(db: Session, queues: list[str]) -> None:
    for key, priority in zip("abcd", (10, 11, 30, 31), strict=True):
        send_keys(db, key, priority=priority)
    worker = DrivenWorker(db, queues=queues)
    claimed = [Fence(row[0], 1) for row in db.execute(QUERY, (worker.id, queues)).fetchall()]
    assert keys_of(db, claimed) == "bc"
