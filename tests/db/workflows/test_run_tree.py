"""`run_tree`: the runs below a run."""

from uuid import UUID

from tests.support.factories import DrivenWorker
from tests.support.runs import attach, control, node, start
from tests.support.sessions import Session, scalar

BUILD = {"kind": "workflow", "task_name": "horsies.build:child"}


def tree(db: Session, *tops: UUID) -> set[UUID]:
    return set(scalar(db, "select horsies.run_tree(%s)", list(tops)) or ())


def test_it_goes_to_any_depth_and_leaves_out_what_has_ended(db: Session) -> None:
    worker = DrivenWorker(db, names=["horsies.build:child"])
    top = start(db, node(**BUILD))
    middle = attach(db, worker, node(**BUILD))
    below = attach(db, worker, node())
    other = start(db, node())
    assert tree(db, top) == {top, middle, below}
    assert tree(db, below, other) == {below, other}
    control(db, middle, "cancel")
    assert tree(db, top, other) == {other}
