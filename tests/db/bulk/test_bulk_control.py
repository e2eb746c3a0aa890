"""`bulk_control`: starts, stops and resumes an action on many tasks, each at most once, and records it."""

from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from horsies.db.queries import bulk as bulk_queries
from tests.support.bulk import control, found, preview, step
from tests.support.factories import send
from tests.support.sessions import (
    NOON,
    InBackground,
    Session,
    call,
    freeze_clock,
    move_clock,
    use_test_clocks,
    wait_until_blocked,
)


def records(db: Session) -> list[tuple[str, str]]:
    return db.execute("select who, action from horsies.audit where action <> 'bulk.preview' order by id").fetchall()


def bulk_action(db: Session) -> UUID:
    send(db)
    return preview(db)


def test_it_is_started_stopped_and_resumed(db: Session) -> None:
    freeze_clock(db)
    bulk_id = bulk_action(db)
    assert control(db, bulk_id, "start", who="ada") == "RUNNING"
    row = found(db, bulk_id)
    assert (row.acted_by, row.started_at, row.created_by) == ("ada", NOON, "ada")
    assert row.idle_s is not None
    move_clock(db, 1)
    assert control(db, bulk_id, "stop", who="bob") == "STOPPED"
    move_clock(db, 1)
    assert control(db, bulk_id, "resume", who="eve") == "RUNNING"
    row = found(db, bulk_id)
    assert (row.acted_by, row.started_at) == ("eve", NOON)
    assert records(db) == [("ada", "bulk.start"), ("bob", "bulk.stop"), ("eve", "bulk.resume")]


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ("PREVIEW", ["stop", "resume"]),
        ("RUNNING", ["start", "resume"]),
        ("STOPPED", ["start", "stop"]),
        ("DONE", ["start", "stop", "resume"]),
    ],
)
def test_a_change_that_does_not_apply_changes_nothing(db: Session, state: str, changes: list[str]) -> None:
    bulk_id = bulk_action(db)
    control(db, bulk_id, "start")
    db.execute("update horsies.bulk_actions set state = %s where id = %s", (state, bulk_id))
    before = records(db)
    assert [control(db, bulk_id, change) for change in changes] == [state] * len(changes)
    assert records(db) == before


def test_it_is_resumed_when_nobody_has_worked_on_it_for_a_while(db: Session) -> None:
    freeze_clock(db)
    use_test_clocks(db)
    send(db)
    bulk_id = bulk_action(db)
    control(db, bulk_id, "start")
    move_clock(db, 9)
    assert step(db, bulk_id, 1) is not None
    move_clock(db, 9)
    control(db, bulk_id, "resume", who="bob")
    assert found(db, bulk_id).acted_by == "ada"
    move_clock(db, 2)
    assert found(db, bulk_id).idle_s == 11
    assert control(db, bulk_id, "resume", who="bob") == "RUNNING"
    row = found(db, bulk_id)
    assert (row.acted_by, row.idle_s) == ("bob", 0)
    control(db, bulk_id, "resume", who="eve")
    assert found(db, bulk_id).acted_by == "bob"


def test_a_process_says_why_it_has_stopped_it(db: Session) -> None:
    bulk_id = bulk_action(db)
    control(db, bulk_id, "start")
    call(db, bulk_queries.bulk_control(bulk_id, "cancel", "stop", "ada", "the disk is full"))
    assert found(db, bulk_id).failure == "the disk is full"
    control(db, bulk_id, "resume")
    assert found(db, bulk_id).failure is None


def test_unknown_actions_and_those_of_another_kind_are_not_changed(db: Session) -> None:
    bulk_id = bulk_action(db)
    assert control(db, bulk_id, "start", kind="rerun") is None
    assert control(db, uuid7(), "start") is None
    assert found(db, bulk_id).state == "PREVIEW"


def test_of_two_who_confirm_at_the_same_time_one_starts_it(
    db: Session, other: Session, in_background: InBackground
) -> None:
    bulk_id = bulk_action(db)
    with db.transaction():
        assert control(db, bulk_id, "start", who="ada") == "RUNNING"
        second = in_background(lambda: control(other, bulk_id, "start", who="bob"))
        wait_until_blocked(db, other)
    assert second.result() == "RUNNING"
    assert records(db) == [("ada", "bulk.start")]
    assert found(db, bulk_id).acted_by == "ada"
