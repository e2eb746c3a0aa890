"""`run_facts`: what is known about a run itself."""

from uuid import UUID

from horsies.db.queries import runs as run_queries
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, finish, node, read, start
from tests.support.sessions import NOON, Session, call, freeze_clock, scalar


def test_a_failed_run_names_its_error_and_the_node_that_failed_first(db: Session) -> None:
    freeze_clock(db)
    run = start(db, node(node_id="pay"), node(0, node_id="ship"), name="order", definition_key="shop.order.v1")
    finish(db, DrivenWorker(db), run, 0)
    row = call(db, run_queries.run_facts(run))
    assert row is not None
    assert (row.run_id, row.name, row.definition_key, row.status) == (run, "order", "shop.order.v1", "FAILED")
    assert (row.total, row.completed, row.failed, row.skipped, row.failed_node) == (2, 0, 1, 1, "pay")
    assert (row.parent_id, row.parent_node, row.on_error) == (None, None, "fail")
    assert (row.started_at, row.finished_at) == (NOON, NOON)
    assert read(row.error)["error_code"] == "BOOM"
    assert scalar(db, "select error from horsies.run_facts(%s, false)", run) is None


def test_a_child_run_names_the_node_that_contains_it(db: Session) -> None:
    parent = start(db, node(node_id="before"), node(kind="workflow", task_name="horsies.build:child", node_id="inner"))
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node())
    row = call(db, run_queries.run_facts(child))
    assert row is not None
    assert (row.parent_id, row.parent_node) == (parent, "inner")


def test_an_unknown_run(db: Session) -> None:
    assert call(db, run_queries.run_facts(UUID(int=1))) is None
