"""`workflow_send_items`: sends the items of a map up to its limit at a time."""

from typing import Any

import pytest

from tests.support.factories import DrivenWorker, done
from tests.support.runs import control, map_once, node, start, statuses
from tests.support.sessions import Session, column, scalar

WIDE: dict[str, Any] = {"kind": "map", "over": 0, "item_parameter": "each", "max_parallel": 2}
HELD = "select item from horsies.tasks where held order by item"


@pytest.fixture
def worker(db: Session) -> DrivenWorker:
    return DrivenWorker(db, names=["add", "horsies.map"])


def test_each_end_sends_the_next(db: Session, worker: DrivenWorker) -> None:
    run = start(db, node(), node(0, **WIDE))
    worker.finish(done(worker.claim_one(), b"[1,2,3,4,5]"))
    map_once(db, worker)
    sizes: list[int] = []
    while (claims := worker.claim(10)) and len(sizes) < 9:
        sizes.append(len(claims))
        if scalar(db, "select open_items from horsies.workflow_nodes where index = 1"):
            worker.finish(done(claims[0]))
            worker.release(*claims[1:])
        else:
            worker.release(*claims)
            break
    assert sizes == [2, 2, 2, 2, 1, 1]
    map_once(db, worker)
    assert statuses(db, run) == ["COMPLETED", "COMPLETED"]


def test_a_paused_run_holds_what_it_sends(db: Session, worker: DrivenWorker) -> None:
    run = start(db, node(), node(0, **WIDE))
    worker.finish(done(worker.claim_one(), b"[1,2,3]"))
    map_once(db, worker)
    claims = worker.claim(2)
    control(db, run, "pause")
    worker.finish(done(claims[0]))
    assert column(db, HELD) == [1, 2]  # the running one and the next
    worker.finish(done(claims[1]))
    assert worker.claim(10) == []
    control(db, run, "resume")
    worker.finish(done(worker.claim_one()))
    map_once(db, worker)
    assert statuses(db, run) == ["COMPLETED", "COMPLETED"]
