"""The page of workers: memory and deaths of their child processes, versions, and names that nobody serves."""

import json
from datetime import UTC, datetime

import pytest

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import Session, call
from tests.support.web import Visitor

HOSTILE = "<script>alert(1)</script>"


def test_memory_and_deaths_of_child_processes(visitor: Visitor, db: Session) -> None:
    worker = DrivenWorker(db)
    assert "Memory" not in visitor.page("/workers")
    now = datetime.now(UTC).timestamp()
    deaths = [[now - 60, 0, 4711, "exit", "exited with code 3"], [now - 5, 1, 4712, "signal", f"killed by {HOSTILE}"]]
    report = {"memory": [1234, None], "deaths": deaths}
    assert call(db, worker_queries.heartbeat(worker.id, 0, "[]", json.dumps(report)))[0]
    text = Visitor(visitor.app).page("/workers")
    assert "Memory 1,234 MB; by process:" in text
    assert "2 processes died" in text
    assert HOSTILE not in text
    [card] = Visitor(visitor.app).get("/workers.json").json()["data"]["workers"]
    assert (card["memory_mb"], card["total_mb"]) == ([1234, None], 1234)
    assert [(each["slot"], each["pid"], each["reason"]) for each in card["deaths"]] == [
        (1, 4712, "signal"),
        (0, 4711, "exit"),
    ], "the latest first"


@pytest.mark.parametrize(
    "report", ["[]", '"x"', '{"memory": 1, "deaths": [1, [1, 2], ["x", 0, 0, 0, 0], [1e300, 0, 0, "", ""]]}']
)
def test_reports_about_children_that_no_worker_writes_are_empty(visitor: Visitor, db: Session, report: str) -> None:
    worker = DrivenWorker(db)
    assert call(db, worker_queries.heartbeat(worker.id, 0, "[]", report))[0]
    [card] = visitor.get("/workers.json").json()["data"]["workers"]
    assert (card["memory_mb"], card["deaths"]) == ([], [])


def test_versions_and_names_that_nobody_serves(visitor: Visitor, db: Session) -> None:
    DrivenWorker(db)
    DrivenWorker(db)
    db.execute("update horsies.workers set app_version = 'v1'")
    assert "different versions" not in visitor.page("/workers")
    db.execute("update horsies.workers set app_version = 'v2' where id = (select id from horsies.workers limit 1)")
    send(db, request(name="nobody_knows_it"))
    text = Visitor(visitor.app).page("/workers")
    assert "Workers have different versions of the app: v1, v2." in text
    assert "Names that no worker serves" in text
    [unserved] = Visitor(visitor.app).get("/workers.json").json()["data"]["unserved"]
    assert (unserved["task_name"], unserved["tasks"]["number"]) == ("nobody_knows_it", 1)
