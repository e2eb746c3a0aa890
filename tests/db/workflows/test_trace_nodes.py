"""`trace_nodes`: the spans of the tasks of nodes, by which dependent nodes are linked to them."""

from uuid import UUID

from tests.support.runs import node, start
from tests.support.sessions import Session, column

TRACE = "select horsies.trace_nodes(%s::uuid[], %s::uuid[], %s::int[], %s::int[], %s::text[])"


def parents(db: Session) -> list[str | None]:
    return column(db, "select trace_parent from horsies.workflow_nodes order by index")


def test_each_node_gets_the_span_of_its_own_task(db: Session) -> None:
    run = start(db, node(), node(), node())
    tasks: list[UUID] = column(db, "select id from horsies.tasks order by node_index")
    db.execute(TRACE, (tasks, [run] * 3, [0, 1, 2], [None] * 3, ["a", None, "c"]))
    assert parents(db) == ["a", None, "c"]


def test_items_of_a_map_and_tasks_that_the_node_no_longer_has_change_nothing(db: Session) -> None:
    run = start(db, node(), node())
    first, second = column(db, "select id from horsies.tasks order by node_index")
    db.execute(TRACE, ([first, first], [run] * 2, [0, 1], [7, None], ["item", "other task"]))
    assert parents(db) == [None, None]
    assert second != first
