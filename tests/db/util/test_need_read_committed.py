"""`need_read_committed`: functions that must see the latest commit refuse other isolation levels."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors
from uuid_utils.compat import uuid7

from horsies.db.operations import Call
from horsies.db.queries import tasks as task_queries
from horsies.db.queries import worker as worker_queries
from horsies.db.queries.worker import Fence
from tests.support.factories import HOSTNAME, done, request
from tests.support.sessions import Session, call, scalar

FENCE = Fence(uuid7(), 1)
CALLS: dict[str, Callable[[], Call[Any]]] = {
    "replay": lambda: task_queries.enqueue(request(), replay=True),
    "claim": lambda: worker_queries.claim(uuid7(), 1, 1, ["default"], ["add"], free=1),
    "start": lambda: worker_queries.start(uuid7(), [FENCE]),
    "renew": lambda: worker_queries.renew(uuid7(), [FENCE], 1, 1),
    "finish": lambda: worker_queries.finish(uuid7(), HOSTNAME, [done(FENCE)]),
    "release": lambda: worker_queries.release(uuid7(), [FENCE]),
    "reconcile": lambda: worker_queries.reconcile(uuid7(), [FENCE], 1),
    "reap": lambda: worker_queries.reap(None, 10),
    "expire": lambda: worker_queries.expire(10),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_refused_in_a_stricter_transaction(db: Session, name: str) -> None:
    db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with pytest.raises(errors.FeatureNotSupported, match="this one is REPEATABLE READ"), db.transaction():
        call(db, CALLS[name]())


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("level", [psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.READ_UNCOMMITTED])
def test_it_works_in_any_other(db: Session, name: str, level: psycopg.IsolationLevel) -> None:
    db.isolation_level = level
    with db.transaction():
        call(db, CALLS[name]())
        assert scalar(db, "show transaction_isolation") == level.name.replace("_", " ").lower()
