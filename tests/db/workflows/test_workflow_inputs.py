"""`workflow_inputs`: the inputs of the task of a node."""

import json
from random import Random
from typing import Any
from uuid import UUID

from horsies.db.queries import workflows as workflow_queries
from tests.support.factories import DrivenWorker, done
from tests.support.runs import fences, finish, node, read, start
from tests.support.sessions import Session, call


def given(db: Session, worker: DrivenWorker) -> Any:
    (task,) = worker.ask().tasks
    return task.inputs and read(task.inputs)


def test_a_node_that_wants_nothing_gets_nothing(db: Session) -> None:
    run = start(db, node(), node(0))
    worker = DrivenWorker(db)
    (first,) = worker.ask().tasks
    assert (first.root_id, first.inputs) == (run, None)


def test_results_come_by_parameter_with_what_became_of_their_nodes(db: Session) -> None:
    run = start(db, node(), node(), node(1), node(2, 1, 0, args_from={"a": 0, "b": 1, "c": 2}, allow_failed_deps=True))
    worker = DrivenWorker(db)
    finish(db, worker, run, 1)
    inputs = given(db, worker)
    assert inputs["args_from"]["a"] == {"status": "COMPLETED", "result": 0}
    assert inputs["args_from"]["b"]["result"]["error_code"] == "BOOM"
    skipped = inputs["args_from"]["c"]
    assert (skipped["status"], skipped["result"]["error_code"]) == ("SKIPPED", "UPSTREAM_SKIPPED")
    assert skipped["result"]["data"] == {"dependency_index": 2}
    assert (inputs["workflow_id"], inputs["index"], inputs["node_id"]) == (str(run), 3, "n3")
    assert (inputs["task_name"], inputs["ctx"]) == ("add", None)


def test_what_has_not_ended_is_no_argument_and_has_no_result_in_the_context(db: Session) -> None:
    run = start(db, node(), node(), node(0, 1, join="any", args_from={"a": 0, "b": 1}, ctx_from=[0, 1]))
    worker = DrivenWorker(db)
    claims = fences(db, worker, run)
    worker.finish(done(claims[1], b'"x"'))
    inputs = given(db, worker)
    assert inputs["args_from"] == {"b": {"status": "COMPLETED", "result": "x"}}
    assert [(entry["index"], entry["status"], entry["result"]) for entry in inputs["ctx"]] == [
        (0, "ENQUEUED", None),
        (1, "COMPLETED", "x"),
    ]


def test_a_task_can_receive_the_ids_of_its_run_and_node(db: Session) -> None:
    run = start(db, node(wants_meta=True))
    inputs = given(db, DrivenWorker(db))
    assert (inputs["workflow_id"], inputs["index"], inputs["task_name"]) == (str(run), 0, "add")


def test_bytes_stay_as_they_are(db: Session) -> None:
    run = start(db, node(), node(0, args_from={"a": 0}))
    worker = DrivenWorker(db)
    worker.finish(done(fences(db, worker, run)[0], b'{"z":-0.0,"a":"\\u0000"}'))
    (task,) = worker.ask().tasks
    assert task.inputs is not None
    assert b'{"z":-0.0,"a":"\\u0000"}' in task.inputs


def test_large_results_are_not_returned_with_the_claim(db: Session) -> None:
    run = start(db, node(), node(0, args_from={"a": 0}))
    worker = DrivenWorker(db)
    large = Random(1).randbytes(100_000).hex()  # noqa: S311 # does not compress well
    worker.finish(done(fences(db, worker, run)[0], json.dumps(large).encode()))
    inputs = given(db, worker)
    assert inputs == {"workflow_id": str(run), "index": 1}
    whole = read(call(db, workflow_queries.workflow_inputs(UUID(inputs["workflow_id"]), 1)))
    assert whole["args_from"]["a"]["result"] == large
