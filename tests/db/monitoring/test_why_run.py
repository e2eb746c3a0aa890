"""`why_run`: the reason why a run waits."""

from uuid import UUID

from uuid_utils.compat import uuid7

from horsies.db.queries import monitoring as monitoring_queries
from horsies.db.queries.rows import Why
from tests.support.factories import DrivenWorker
from tests.support.runs import control, finish, node, start
from tests.support.sessions import Session, call, column, freeze_clock


def why(db: Session, run: UUID) -> Why:
    return call(db, monitoring_queries.why(run))


def test_the_nodes_under_way_are_named_with_their_tasks(db: Session) -> None:
    run = start(db, node(), node(), node(0, 1))
    first, second = column(db, "select task_id from horsies.workflow_nodes where task_id is not null order by index")
    waits = f"this run waits for node n0 ({first}), node n1 ({second}); 0 of its 3 nodes have ended"
    assert why(db, run) == Why("nodes", waits)
    assert why(db, first).reason == "no_worker"


def test_only_the_first_are_named(db: Session) -> None:
    run = start(db, *(node() for _ in range(7)))
    assert why(db, run).sentence.count("node n") == 5


def test_a_paused_run(db: Session) -> None:
    run = start(db, node())
    control(db, run, "pause")
    assert why(db, run).reason == "run_paused"
    assert why(db, run).sentence.startswith("this run is paused and was at node n0 (")


def test_an_ended_run(db: Session) -> None:
    freeze_clock(db)
    run = start(db, node())
    finish(db, DrivenWorker(db), run)
    assert why(db, run) == Why("ended", "this run ended COMPLETED at 2031-05-06 12:00:00 UTC")


def test_no_such_run(db: Session) -> None:
    assert why(db, uuid7()).reason == "unknown"
