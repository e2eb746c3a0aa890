"""The page of errors: groups, those that are new, retry storms, and who may see what."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from horsies import Horsies, RetryPolicy
from horsies.db.queries import monitoring as monitoring_queries
from horsies.monitoring import Histogram, Sample, Throughput
from horsies.monitoring.storms import find_storms
from horsies.web import Right, User
from tests.support.factories import DrivenWorker, failed, request, send
from tests.support.sessions import NOON, Session, call, freeze_clock, move_clock
from tests.support.web import Visitor

HOSTILE = "<script>alert(1)</script>"


def recently() -> datetime:
    """Return a time that pages of the last hour show; they use the clock of their process."""
    return datetime.now(UTC) - timedelta(minutes=20)


def fail(db: Session, worker: DrivenWorker, code: str, message: str, traceback: str = "secret traceback") -> str:
    """Send a task and let it fail; return its id."""
    task_id = send(db, request(name=worker.names[0]))
    outcome = failed(worker.claim_one(), code)
    raised = {"type": "ValueError", "message": message, "traceback": traceback}
    error = {"error_code": code, "message": message, "data": None, "exception": raised}
    worker.finish(outcome._replace(result=json.dumps(error).encode()))
    return str(task_id)


def deploy(db: Session, worker: DrivenWorker, version: str) -> None:
    """Set the version of the app of a worker."""
    for table in ("workers set app_version = %s where id", "worker_versions set app_version = %s where worker_id"):
        db.execute(f"update horsies.{table} = %s".encode(), (version, worker.id))


def count(db: Session) -> None:
    """Count ended tasks and failures, as maintenance does."""
    move_clock(db, 120)
    for counting in (monitoring_queries.sample(None), monitoring_queries.sample_errors()):
        assert all(iter(lambda counting=counting: call(db, counting), 0))


@pytest.fixture
def counted(db: Session) -> Session:
    """Return a database in which two groups of `add` and one of `send_mail` have failed, with a first version of the app."""
    freeze_clock(db, recently())
    worker = DrivenWorker(db)
    deploy(db, worker, "v1")
    for number in range(3):
        fail(db, worker, "BOOM", f"order {number} is wrong")
    fail(db, worker, "LATE", HOSTILE)
    fail(db, DrivenWorker(db, names=["send_mail"]), "BOOM", "no address")
    count(db)
    return db


def groups(visitor: Visitor, query: str = "") -> list[tuple[str, str, int]]:
    data = visitor.get(f"/errors.json{query}").json()["data"]
    return [
        (each["group"]["task_name"], each["group"]["error_code"], each["group"]["number"]) for each in data["groups"]
    ]


def test_without_counts_the_page_teaches(visitor: Visitor) -> None:
    assert "A worker counts the failed attempts of each minute" in visitor.page("/errors")
    assert groups(visitor) == []


def test_groups_come_before_tasks(counted: Session, visitor: Visitor) -> None:
    assert groups(visitor)[0] == ("add", "BOOM", 3)
    assert sorted(groups(visitor)[1:]) == [("add", "LATE", 1), ("send_mail", "BOOM", 1)]
    assert groups(visitor, "?task=send_mail") == [("send_mail", "BOOM", 1)]
    assert groups(visitor, "?code=LATE&period=1h") == [("add", "LATE", 1)]
    text = visitor.page("/errors")
    assert "tasks?filter=status%3Afailed+task%3Aadd+error%3ABOOM+since%3A24h" in text
    assert "<script>alert" not in text
    assert "5 failed attempts" in text
    assert "Show all errors" in visitor.page("/errors?task=nothing")


def test_the_link_of_a_group_leads_to_its_tasks(counted: Session, visitor: Visitor) -> None:
    [line] = [each for each in visitor.get("/errors.json").json()["data"]["groups"] if each["group"]["number"] == 3]
    found = visitor.get(f"/tasks.json?filter={line['filter'].replace(' ', '%20')}").json()["data"]["tasks"]
    assert [each["error_code"] for each in found] == ["BOOM"] * 3


def test_a_group_with_its_hours_versions_and_example(counted: Session, app: Horsies) -> None:
    visitor = Visitor(app)
    [line] = [each for each in visitor.get("/errors.json").json()["data"]["groups"] if each["group"]["number"] == 3]
    path = f"/errors?group={line['group']['group_id']}"
    text = visitor.page(path)
    assert "secret traceback" in text
    assert f"./tasks/{line['group']['example_id']}" in text
    chosen = visitor.get(path.replace("/errors", "/errors.json")).json()["data"]["chosen"]
    assert chosen["hours"] == 24
    assert sum(each["counts"]["failed"] for each in chosen["chart"]["columns"]) == 3
    assert [(each["app_version"], each["number"]) for each in chosen["versions"]] == [("v1", 3)]
    viewer = Visitor(app, User("v", frozenset({Right.VIEW})))
    for each in (path, path.replace("/errors", "/errors.json")):
        text = viewer.page(each)
        assert "is wrong" in text
        assert "secret traceback" not in text
    assert "No attempt of this group failed" in visitor.page("/errors?group=999")


def test_what_a_new_version_has_brought(counted: Session, visitor: Visitor) -> None:
    assert "No error is new" in visitor.page("/errors?new=1")
    worker = DrivenWorker(counted)
    deploy(counted, worker, "v2")
    fail(counted, worker, "BROKEN", "by the new version")
    fail(counted, worker, "BOOM", "order 1 is wrong")
    count(counted)
    fresh = Visitor(visitor.app)
    assert groups(fresh, "?new=1") == [("add", "BROKEN", 1)]
    assert "new in v2" in fresh.page("/errors")
    assert fresh.get("/errors.json").json()["data"]["new"] == 1


@pytest.mark.parametrize("query", ["period=2h", "group=0", "group=x", "group=9223372036854775808", "new=2", "x=1"])
def test_wrong_parameters(visitor: Visitor, query: str) -> None:
    assert visitor.get(f"/errors?{query}").status_code == 400


def sample(minutes: int, *, retried: int, completed: int, task: str = "sync") -> Sample:
    none = Histogram.merged([])
    return Sample(
        started_at=NOON - timedelta(minutes=minutes),
        queue_name="mail",
        task_name=task,
        completed=completed,
        failed=0,
        cancelled=0,
        expired=0,
        retried=retried,
        crashed=0,
        waits=none,
        runs=none,
    )


@pytest.mark.parametrize(
    ("samples", "storms"),
    [
        ([], []),
        ([sample(2, retried=20, completed=20)], [("sync", 20, 40)]),
        ([sample(2, retried=20, completed=21)], []),
        ([sample(2, retried=19, completed=0)], []),
        ([sample(11, retried=500, completed=0)], []),
        ([sample(2, retried=15, completed=0), sample(9, retried=15, completed=1)], [("sync", 30, 31)]),
        (
            [sample(2, retried=30, completed=0, task="a"), sample(2, retried=40, completed=0, task="b")],
            [("b", 40, 40), ("a", 30, 30)],
        ),
    ],
)
def test_retry_storms(samples: list[Sample], storms: list[tuple[str, int, int]]) -> None:
    found = find_storms(Throughput(tuple(samples), NOON - timedelta(days=1), NOON, NOON, is_complete=True))
    assert [(each.task_name, each.retried, each.attempts) for each in found] == storms


def test_a_retry_storm_is_announced(db: Session, visitor: Visitor) -> None:
    freeze_clock(db, recently())
    worker = DrivenWorker(db)
    policy = RetryPolicy.fixed([3600] * 3, auto_retry_for=["BOOM"])
    for _ in range(20):
        send(db, request(retry=policy))
    worker.finish(*(failed(fence) for fence in worker.claim(20)))
    count(db)
    text = visitor.page("/errors")
    assert "Retry storm: 20 of 20 attempts of add were retried" in text
    assert "20 of 20 attempts of add in queue default were retried" in visitor.page("/")
