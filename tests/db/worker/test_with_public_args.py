"""`with_public_args`: a child learns what is secret in the arguments of tasks of workflow runs, and of reruns."""

import json

import pytest

from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import Session, scalar

QUERY = "select horsies.with_public_args(%s::json, %s::json)"
PUBLIC = '{"card":"[redacted]"}'


@pytest.mark.parametrize("inputs", [None, '{"workflow_id":"a"}'])
def test_without_secrets_nothing_is_added(db: Session, inputs: str | None) -> None:
    found = scalar(db, QUERY, inputs, None)
    assert found == (None if inputs is None else inputs.encode())


def test_public_arguments_are_added(db: Session) -> None:
    found = json.loads(scalar(db, QUERY, '{"workflow_id" : "a", "args_from" : {}}', PUBLIC))
    assert found == {"workflow_id": "a", "args_from": {}, "public_args": {"card": "[redacted]"}}
    alone = json.loads(scalar(db, QUERY, None, PUBLIC))
    assert (alone["args_from"], alone["ctx"], alone["public_args"]) == ({}, None, {"card": "[redacted]"})


def test_only_a_rerun_with_secrets_has_them(db: Session) -> None:
    """Other tasks declare their secrets, and a claim of them stays as small as it was."""
    ids = [send(db, request()) for _ in range(3)]
    db.execute("update horsies.tasks set args = '{}', secret_args = '{\"a\":1}' where id = any (%s)", (ids[1:],))
    db.execute("update horsies.tasks set rerun_of = id where id = any (%s)", ([ids[0], ids[2]],))
    found = {task.id: task.inputs for task in DrivenWorker(db).ask(9).tasks}
    assert [found[each] for each in ids[:2]] == [None, None]
    assert b'"public_args":{}' in (found[ids[2]] or b"")
