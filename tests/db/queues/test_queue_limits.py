"""`queue_limits`: the limits in effect, which may be declared or set at run time."""

import json

from tests.support.sessions import NOON, Session

ASK = "select * from horsies.queue_limits(%s)"
DECLARED, SET = {"limit": 1, "per_seconds": 1, "burst": 1}, {"limit": 2, "per_seconds": 1, "burst": 1}
JSON_DECLARED, JSON_SET = (
    '{"limit":1,"per_seconds":1,"burst":1}',
    '{"limit":2,"per_seconds":1,"burst":1}',
)


def test_a_queue_without_a_row_has_no_limits(db: Session) -> None:
    assert db.execute(ASK, ("q",)).fetchall() == []


def test_declared_limits(db: Session) -> None:
    db.execute(
        "insert into horsies.queues (name, turns, declared_per_key, declared_rate, declared_rate_per_key)"
        " values ('q', 'on', 3, %s, %s)", (JSON_DECLARED, JSON_DECLARED),
    )  # fmt: skip
    assert read(db) == (True, 3, False, DECLARED, False, DECLARED, False, None, None)


def test_what_was_set_at_run_time_comes_first_one_by_one(db: Session) -> None:
    db.execute(
        "insert into horsies.queues (name, turns, declared_per_key, declared_rate, rate_limit, rate_limit_per_key,"
        " limits_set_by, limits_set_at) values ('q', 'on', 3, %s, %s, %s, 'ada', %s)",
        (JSON_DECLARED, JSON_SET, JSON_SET, NOON),
    )
    assert read(db) == (True, 3, False, SET, True, SET, True, "ada", NOON)
    db.execute("update horsies.queues set max_concurrency_per_key = 0, turns = 'ending'")
    assert read(db) == (False, 0, True, SET, True, SET, True, "ada", NOON)


def test_a_lifted_limit_is_none_and_set_at_run_time(db: Session) -> None:
    db.execute(
        "insert into horsies.queues (name, turns, declared_per_key, declared_rate, rate_limit_per_key, lifted_limits)"
        " values ('q', 'on', 3, %s, %s, '{per_key,rate}')",
        (JSON_DECLARED, JSON_SET),
    )
    assert read(db) == (True, None, True, None, True, SET, True, None, None)


def read(db: Session) -> tuple[object, ...]:
    [row] = db.execute(ASK, ("q",)).fetchall()
    return tuple(json.loads(value) if isinstance(value, bytes) else value for value in row)
