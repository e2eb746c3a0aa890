"""`move_to_history`: the one function that writes ended tasks into history."""

import re

from horsies.db import sqlfiles
from tests.support.factories import DrivenWorker, send
from tests.support.sessions import NOON, Session, find, row, scalar

MOVE = """
    select horsies.move_to_history(%s::uuid[], %s::boolean[], 'FAILED', %s::text[], %s::text[], %s::text[], %s::int[],
                                   %s::text[], %s, %s, %s::bigint[])
"""


def test_no_other_function_writes_history() -> None:
    writers = [name for name, sql in sqlfiles.functions().items() if re.search(r"insert into horsies\.history\b", sql)]
    assert writers == ["move_to_history"]


def test_each_task_gets_the_values_at_its_own_position(db: Session) -> None:
    first, second, other = send(db), send(db), send(db)
    worker = DrivenWorker(db)
    worker.claim(2)
    given = ([second, first], [True, False], ["2", '{"x":1}'], [None, "BOOM"], ["a", "b"], [1, 2], ["p", "q"])
    moved = scalar(db, MOVE, *given, NOON, worker.id, [worker.exchange_no] * 2)
    assert set(moved) == {first, second}
    completed, failed = row(db, "history", second), row(db, "history", first)
    names = ("status", "result", "error_code", "worker_hostname", "worker_pid", "worker_process_name", "finished_at")
    assert [completed[name] for name in names] == ["COMPLETED", b"2", None, "a", 1, "p", NOON]
    assert [failed[name] for name in names] == ["FAILED", b'{"x":1}', "BOOM", "b", 2, "q", NOON]
    assert find(db, "tasks", first) is find(db, "tasks", second) is None
    assert row(db, "tasks", other)["status"] == "PENDING"


def test_a_task_whose_fence_is_lost_is_left_alone(db: Session) -> None:
    task = send(db)
    worker = DrivenWorker(db)
    worker.claim(1)
    given = ([task], [True], ["1"], [None], ["a"], [1], ["p"], NOON, worker.id, [worker.exchange_no + 1])
    assert scalar(db, MOVE, *given) is None
    assert row(db, "tasks", task)["status"] == "RUNNING"
