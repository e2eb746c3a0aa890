"""`node_trace`: the trace context of the task of a node."""

import json
from typing import Any
from uuid import UUID

from horsies.db.queries import workflows as workflow_queries
from tests.support.factories import DrivenWorker, done
from tests.support.runs import node, request, start
from tests.support.sessions import Session, call, column, scalar

PARENT, SPAN = f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'c' * 32}-{'d' * 16}-01"
ROOT = {"traceparent": PARENT}


def node_trace(db: Session, run: UUID, sources: list[int], context: object = ROOT) -> Any:
    query = "select horsies.node_trace(%s::jsonb, %s, %s)::text"
    return json.loads(scalar(db, query, json.dumps(context), run, sources))


def contexts(db: Session) -> list[Any]:
    texts = column(db, "select trace_context::text from horsies.tasks order by node_index")
    return [None if text is None else json.loads(text) for text in texts]


def test_it_has_the_spans_of_the_nodes_that_have_made_one(db: Session) -> None:
    run = start(db, node(), node(), node(0, 1))
    assert node_trace(db, run, [0, 1]) == ROOT
    db.execute("update horsies.workflow_nodes set trace_parent = 'span-' || index where index <> 1")
    assert node_trace(db, run, [0, 1]) == {**ROOT, "links": ["span-0"]}
    assert node_trace(db, run, [2, 0]) == {**ROOT, "links": ["span-0", "span-2"]}
    assert node_trace(db, run, []) == ROOT


def test_a_context_that_is_no_object_stays(db: Session) -> None:
    run = start(db, node(), node(0))
    db.execute("update horsies.workflow_nodes set trace_parent = 'span'")
    for odd in (1, "text", True, None, [], [{}]):
        assert node_trace(db, run, [0], odd) == odd


def test_there_are_at_most_a_hundred_links(db: Session) -> None:
    run = start(db, *(node() for _ in range(120)))
    db.execute("update horsies.workflow_nodes set trace_parent = index::text")
    assert node_trace(db, run, list(range(120)))["links"] == [str(number) for number in range(100)]


def test_a_dependent_node_is_linked_to_the_nodes_before_it(db: Session) -> None:
    start(db, node(), node(0), trace_context=ROOT)
    assert contexts(db) == [ROOT]
    worker = DrivenWorker(db)
    assert worker.finish(done(worker.claim_one())._replace(traceparent=SPAN)) == ["accepted"]
    assert contexts(db) == [{**ROOT, "links": [SPAN]}]


def test_a_run_without_a_trace_context_gives_none_to_its_tasks(db: Session) -> None:
    start(db, node(), node(0))
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one())._replace(traceparent=SPAN))
    assert contexts(db) == [None]


def test_a_child_run_has_the_trace_context_of_its_parent(db: Session) -> None:
    start(db, node(kind="workflow"), trace_context=ROOT)
    fence = DrivenWorker(db).claim_one()
    attach = workflow_queries.workflow_attach(fence.task_id, 1, request([node()], definition_key="test.child.v1"))
    assert call(db, attach) == "attached"
    assert contexts(db)[-1] == ROOT
    assert scalar(db, "select count(*) from horsies.workflows where trace_context is not null") == 2
