"""The overview: its figures are those of `horsies.monitoring`, and it marks new versions of the app."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from horsies import Horsies
from horsies.db.queries import monitoring as monitoring_queries
from horsies.monitoring import errors, queue_status, throughput, total, waiting_reasons, worker_status
from horsies.monitoring.summary import chart_begin
from tests.support.factories import DrivenWorker, done, failed, pause_queue, request, send
from tests.support.sessions import Session, call, freeze_clock, move_clock
from tests.support.web import Visitor


def count(db: Session) -> None:
    """Count ended tasks and failures, as maintenance does."""
    move_clock(db, 120)
    for counting in (monitoring_queries.sample(None), monitoring_queries.sample_errors()):
        assert all(iter(lambda counting=counting: call(db, counting), 0))


@pytest.fixture
def busy(db: Session) -> Session:
    """Return a database in which tasks of two queues wait for several reasons, run, have ended, and have failed."""
    freeze_clock(db, datetime.now(UTC) - timedelta(minutes=20))
    worker = DrivenWorker(db, queues=("default", "mail"), names=["add", "send_mail"], stale_after_s=3600)
    for number in range(6):
        send(db, request(name="add" if number % 2 else "send_mail", queue="mail" if number % 3 else "default"))
        fence = worker.claim_one()
        move_clock(db, 1 + number)
        worker.finish(failed(fence, "BOOM") if number == 5 else done(fence))
    send(db)
    worker.claim_one()
    for queue in ("default", "mail", "paused", "unserved"):
        send(db, request(queue=queue))
    pause_queue(db, "paused")
    count(db)
    return db


def overview(app: Horsies) -> dict[str, Any]:
    return Visitor(app).get("/overview.json").json()["data"]


def test_the_figures_are_those_of_monitoring(busy: Session, app: Horsies) -> None:
    shown, broker, now = overview(app), app.get_broker(), datetime.now(UTC)
    queues, workers = queue_status(broker).unwrap(), worker_status(broker).unwrap()
    assert shown["waiting"]["number"] == sum(each.waiting.number for each in queues) == 4
    assert shown["waiting"]["accuracy"] == "exact"
    assert shown["scheduled"]["number"] == sum(each.scheduled.number for each in queues) == 0
    assert shown["running"] == sum(each.running for each in queues) == 1
    assert shown["live_workers"] == len(workers) == 1
    assert shown["slots"] == workers[0].processes * workers[0].concurrency
    assert {each["status"]["queue_name"]: each["status"]["waiting"]["number"] for each in shown["queues"]} == {
        each.queue_name: each.waiting.number for each in queues
    }
    counted = total(throughput(broker, chart_begin(now), now + timedelta(minutes=1)).unwrap().samples)
    assert counted is not None
    assert (counted.completed, counted.failed) == (5, 1)
    for name in ("completed", "failed", "cancelled", "expired", "retried", "crashed"):
        assert shown["hour"][name] == getattr(counted, name)
        columns = [each["counts"].get(name, 0) for each in shown["throughput"]["columns"]]
        assert name == "crashed" or sum(columns) == getattr(counted, name)
    for name, histogram in (("waits", counted.waits), ("runs", counted.runs)):
        assert shown[name] == {f"p{share}": histogram.percentile(share / 100) for share in (50, 95, 99)}
    assert sum(each["ended"] for each in shown["queues"]) == 6


def test_reasons_and_errors_are_those_of_monitoring(busy: Session, app: Horsies) -> None:
    shown, broker, now = overview(app), app.get_broker(), datetime.now(UTC)
    by_reason: dict[str, int] = {}
    for each in waiting_reasons(broker).unwrap():
        by_reason[each.reason] = by_reason.get(each.reason, 0) + each.tasks.number
    assert {each["reason"]: each["tasks"]["number"] for each in shown["reasons"]} == by_reason
    assert set(by_reason) == {"next", "paused", "no_worker"}
    groups = errors(broker, now - timedelta(hours=1), now).unwrap().groups
    assert [(each["group_id"], each["number"]) for each in shown["errors"]["groups"]] == [
        (each.group_id, each.number) for each in groups
    ]
    assert len(groups) == 1


def test_a_new_version_of_the_app_is_marked(busy: Session, app: Horsies) -> None:
    assert overview(app)["versions"] == []
    busy.execute("update horsies.worker_versions set app_version = 'v1'")
    busy.execute("update horsies.worker_versions set first_seen = first_seen - interval '1 day'")
    newer = DrivenWorker(busy)
    busy.execute("update horsies.worker_versions set app_version = 'v2 <b>' where worker_id = %s", (newer.id,))
    [mark] = overview(app)["versions"]
    assert mark["text"] == "v2 <b>"
    assert 50 < mark["x"] < 80, "about 17 minutes before the right edge of 60"
    text = Visitor(app).page("/")
    assert 'class="mark"' in text
    assert "New version of the app:" in text
    assert "v2 &lt;b&gt;" in text
