"""`workflow_end_nodes`: the end of a child run ends the node that it belongs to."""

from tests.support.factories import DrivenWorker
from tests.support.runs import attach, finish, node, nodes_of, start, state
from tests.support.sessions import Session

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}
NAMES = ["horsies.build:child"]


def test_a_child_without_output_gives_null(db: Session) -> None:
    run = start(db, node(**BUILD))
    child = attach(db, DrivenWorker(db, names=NAMES), node())
    finish(db, DrivenWorker(db), child)
    assert [(each.status, each.result) for each in nodes_of(db, run)] == [("COMPLETED", b"null")]


def test_what_reads_the_output_is_known_through_any_depth(db: Session) -> None:
    run = start(db, node(**BUILD))
    worker = DrivenWorker(db, names=NAMES)
    attach(db, worker, node(**BUILD), output=0)
    deep = attach(db, worker, node(), output=0)
    finish(db, DrivenWorker(db), deep)
    (top,) = nodes_of(db, run)
    assert (top.result, top.result_kind, top.result_task) == (b"0", "task", "add")


def test_a_policy_does_not_make_a_value_of_an_output_that_failed(db: Session) -> None:
    run = start(db, node(**BUILD))
    child = attach(db, DrivenWorker(db, names=NAMES), node(), node(), output=1, cases=[[0]])
    finish(db, DrivenWorker(db), child, 1)
    assert state(db, child).status == "COMPLETED"
    assert [(each.status, each.error_code) for each in nodes_of(db, run)] == [("FAILED", "BOOM")]
