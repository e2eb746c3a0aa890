"""`record_action`: keeps who has done what, in the transaction of the action."""

import re

import pytest

from horsies.db import sqlfiles
from horsies.db.rights import Kind, granted_to
from horsies.monitoring.audit import ACTIONS
from tests.support.sessions import NOON, Session, column, freeze_clock

NO_ACTIONS = {"announce", "list_audit", "notify_cancel", "notify_cancel_many", "notify_wake", "rerunnable"}
"""Functions of operators that viewers may not call, although they change nothing."""

RECORDED_BY = {"bulk_step": {"cancel_many", "rerun_many"}}
"""Functions whose changes are made and recorded by others that they call."""


def record(db: Session, who: str | None, subjects: list[str], details: str | None = None) -> None:
    db.execute("select horsies.record_action(%s, 'task.cancel', %s, %s)", (who, subjects, details))


def test_a_record_has_the_time_the_name_and_the_role(db: Session) -> None:
    freeze_clock(db)
    record(db, "ada", ["a", "b"], '{"reason": "overdue"}')
    [found] = db.execute("select acted_at, who, database_user, action, subjects, details::text from horsies.audit")
    user = db.execute("select session_user").fetchone()
    assert user is not None
    assert found == (NOON, "ada", user[0], "task.cancel", ["a", "b"], '{"reason": "overdue"}')


@pytest.mark.parametrize("who", [None, ""])
def test_without_a_name_it_is_that_of_the_role(db: Session, who: str | None) -> None:
    record(db, who, ["a"])
    assert column(db, "select who = database_user and who = session_user from horsies.audit") == [True]


def test_a_long_name_is_cut(db: Session) -> None:
    record(db, "x" * 300, ["a"])
    assert column(db, "select length(who) from horsies.audit") == [200]


@pytest.mark.parametrize(("subjects", "rows"), [(0, []), (1000, [1000]), (1001, [1, 1000]), (2500, [500, 1000, 1000])])
def test_a_row_has_at_most_1000_subjects(db: Session, subjects: int, rows: list[int]) -> None:
    record(db, "ada", [f"{number}" for number in range(subjects)])
    assert column(db, "select cardinality(subjects) from horsies.audit order by 1") == rows
    each = "select subject::int from horsies.audit, unnest(subjects) as subject order by 1"
    assert column(db, each) == list(range(subjects))


def test_every_function_of_operators_that_changes_something_records_it() -> None:
    found: set[str] = set()
    for name, sql in sqlfiles.functions().items():
        if Kind.OPERATOR not in granted_to(sql) or Kind.VIEWER in granted_to(sql) or name in NO_ACTIONS:
            continue
        calls = {f"horsies.{each}(" for each in RECORDED_BY.get(name, {"record_action"})}
        assert all(each in sql for each in calls), f"{name} is granted to operators and changes something: record it"
        found.add(name)
    assert {"cancel_many", "queue_control", "schedule_run", "workflow_control"} <= found


def test_the_actions_are_those_of_the_functions() -> None:
    named: set[str] = set()
    for sql in sqlfiles.functions().values():
        for call in re.findall(r"record_action\(\w+, ([^;]*?), array|record_action\(\w+, ([^;]*?), \w", sql):
            named |= set(re.findall(r"'((?:task|queue|key|schedule|run|worker|bulk)\.\w*)'", "".join(call)))
    prefixes = {name for name in named if name.endswith(".")}
    assert named - prefixes <= set(ACTIONS)
    assert prefixes == {"queue.", "run.", "bulk."}
