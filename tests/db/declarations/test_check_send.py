"""`check_send`: arguments that no task could have are refused, with a hint."""

import pytest
from psycopg import errors

from tests.support.sessions import Session, scalar

CHECK = "select horsies.check_send({})"
DEFAULTS = {
    "task": "'add'",
    "args": "'{}'",
    "queue": "null",
    "priority": "null",
    "delay": "null",
    "idempotency_key": "null",
    "key": "null",
}


def check(db: Session, **given: str) -> object:
    return scalar(db, CHECK.format(", ".join((DEFAULTS | given).values())))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"queue": "'emails'", "priority": "1", "delay": "'0'"},
        {"queue": "'größe-1.x:y'", "priority": "100", "delay": "'100 years'"},
        {"idempotency_key": "repeat('k', 512)"},
        {"delay": "'1 mon -29 days'", "args": r"""'{"a": "\u0000"}'"""},
    ],
)
def test_what_is_accepted(db: Session, given: dict[str, str]) -> None:
    assert check(db, **given) == ""


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"task": "null"}, "the name of the task is missing", "horsies.send('add_numbers', '{"),
        ({"task": "''"}, "the name of the task is missing", "horsies.send('add_numbers', '{"),
        ({"task": "'horsies.map'"}, "'horsies.map' is a task of horsies itself", "a task of the app"),
        ({"task": "repeat('t', 1025)"}, "the name of the task has 1025 bytes, more than 1024", "a task of the app"),
        ({"args": "null"}, "the arguments of the task 'add' are not a JSON object, but the SQL value null", "by name"),
        ({"args": "'[1]'"}, "the arguments of the task 'add' are not a JSON object, but of the type array", "by name"),
        ({"args": "'null'"}, "the arguments of the task 'add' are not a JSON object, but of the type null", "by name"),
        ({"args": "'\"a\"'"}, "the arguments of the task 'add' are not a JSON object, but of the type string", "name"),
        ({"queue": "''"}, "'' is not a valid name of a queue", "1 to 128 bytes"),
        ({"queue": "'a b'"}, "'a b' is not a valid name of a queue", "1 to 128 bytes"),
        ({"queue": "repeat('q', 129)"}, f"'{'q' * 129}' is not a valid name of a queue", "1 to 128 bytes"),
        ({"priority": "0"}, "the priority must be from 1 (highest) to 100, got 0", "Omit the priority"),
        ({"priority": "101"}, "the priority must be from 1 (highest) to 100, got 101", "Omit the priority"),
        ({"idempotency_key": "''"}, "the idempotency key must have 1 to 512 bytes, got 0", "Omit the key"),
        ({"idempotency_key": "repeat('ö', 257)"}, "the idempotency key must have 1 to 512 bytes, got 514", "Omit"),
        ({"delay": "'-1 second'"}, "the delay must be from 0 to 100 years, got -00:00:01", "'5 minutes'"),
        ({"delay": "'101 years'"}, "the delay must be from 0 to 100 years, got 101 years", "'5 minutes'"),
    ],
)
def test_what_is_refused(db: Session, given: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(errors.InvalidParameterValue) as refused:
        check(db, **given)
    assert refused.value.diag.message_primary == message
    assert hint in (refused.value.diag.message_hint or "")


def test_a_key_may_have_200_characters(db: Session) -> None:
    check(db, key="repeat('ö', 200)")
    with pytest.raises(errors.InvalidParameterValue) as refused:
        check(db, key="repeat('ö', 201)")
    assert refused.value.diag.message_primary == "the key of the task 'add' must have 1 to 200 characters, got 201"
    assert "Use a short name" in (refused.value.diag.message_hint or "")
