"""`workflow_note_items`: the end of a task updates its item of a map."""

from typing import Any

from horsies.db.queries import tasks as task_queries
from tests.support.factories import DrivenWorker, done
from tests.support.runs import map_once, node, nodes_of, read, start
from tests.support.sessions import Session, call, column, scalar

WIDE: dict[str, Any] = {"kind": "map", "over": 0, "item_parameter": "each"}
OPEN = "select open_items from horsies.workflow_nodes where index = 1"


def test_items_are_counted_once_and_keep_their_results(db: Session) -> None:
    worker = DrivenWorker(db, names=["add", "horsies.map"])
    run = start(db, node(), node(0, **WIDE))
    worker.finish(done(worker.claim_one(), b"[1,2,3]"))
    map_once(db, worker)
    claims = worker.claim(2)
    worker.finish(*map(done, claims))
    assert set(worker.finish(*map(done, claims))) == {"duplicate"}
    assert scalar(db, OPEN) == 1
    call(db, task_queries.cancel(column(db, "select id from horsies.tasks")[0]))
    map_once(db, worker)
    assert [each.get("ok") or each["err"]["error_code"] for each in read(nodes_of(db, run)[1].result)] == [
        1,
        1,
        "TASK_CANCELLED",
    ]
