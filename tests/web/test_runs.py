"""The pages of workflow runs: the list, one run, and what may be done with it."""

import re
from typing import Any
from uuid import UUID

import httpx
import pytest

from horsies import Horsies
from horsies.web import Right, User
from tests.support.factories import DrivenWorker, done
from tests.support.runs import attach, control, finish, map_once, node, start, state
from tests.support.sessions import Session, column, freeze_clock, move_clock
from tests.support.web import Visitor

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=y>\u202e"


@pytest.fixture
def clock(db: Session) -> None:
    freeze_clock(db)


def read(visitor: Visitor, run: UUID, query: str = "") -> dict[str, Any]:
    """Return the data of the page of a run."""
    return visitor.get(f"/runs/{run}.json{query}").json()["data"]


def names(data: dict[str, Any], part: str) -> list[str]:
    return [each["node"]["node_id"] for each in data[part]]


@pytest.mark.usefixtures("clock")
def test_runs_are_listed_page_by_page(visitor: Visitor, db: Session) -> None:
    assert "No workflow has run yet" in visitor.page("/runs")
    runs = [str(start(db, node(), name=f"flow-{number}")) for number in range(5)]
    control(db, UUID(runs[0]), "pause")
    found: list[str] = []
    path = "/runs.json?limit=2"
    while path:
        data = Visitor(visitor.app).get(path).json()["data"]
        found += [each["run"]["run_id"] for each in data["runs"]]
        path = data["next_before"] and f"/runs.json?limit=2&before={data['next_before']}"
    assert sorted(found) == sorted(runs)
    assert len(set(found)) == 5
    fresh = Visitor(visitor.app)
    assert "Older runs" in fresh.page("/runs?limit=2")
    assert [runs[0] in fresh.page(f"/runs?status={each}") for each in ("paused", "running")] == [True, False]
    assert [each in fresh.page("/runs?workflow=flow-3") for each in (runs[3], runs[4])] == [True, False]
    assert "No run matches" in fresh.page("/runs?workflow=nothing")


@pytest.mark.parametrize("query", ["status=x", "before=x", "before=20260101T000000000000-x", "limit=0", "other=1"])
def test_wrong_parameters_of_the_list_are_refused(visitor: Visitor, query: str) -> None:
    assert visitor.get(f"/runs?{query}").status_code == 400


@pytest.mark.parametrize("run_id", ["01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e", "x", "%3Cscript%3E"])
def test_an_unknown_run(visitor: Visitor, run_id: str) -> None:
    answer = visitor.get(f"/runs/{run_id}")
    assert answer.status_code == 404
    assert "no such run" in answer.text
    assert visitor.act(f"/runs/{run_id}/pause").status_code == 404


def test_a_run_with_nodes_in_all_states(visitor: Visitor, db: Session) -> None:
    run = start(db, node(), node(), node(0), node(1), node(2))
    worker = DrivenWorker(db)
    finish(db, worker, run, 1)
    text = visitor.page(f"/runs/{run}")
    statuses = re.findall(r'class="node kind-task status-(\w+)', text)
    assert statuses == ["completed", "failed", "enqueued", "skipped", "pending"]
    assert text.count('class="card"') == 5
    assert "style=" not in text
    data = read(visitor, run)
    assert data["counts"]["failed"] == 1
    assert "n2" in names(data, "nodes")
    only = read(visitor, run, "?status=failed")
    assert names(only, "nodes") == ["n1"]


def test_each_waiting_node_says_why(visitor: Visitor, db: Session) -> None:
    run = start(
        db,
        node(node_id="first", task_name="nobody_has_this"),
        node(node_id="other"),
        node(0, 1, node_id="both"),
        node(0, 1, node_id="one", join="quorum", min_success=1),
    )
    DrivenWorker(db)
    text = visitor.page(f"/runs/{run}")
    assert "Waits for first, other." in text
    assert "0 of 1 dependencies that it needs have completed. Waits for one of first, other." in text
    assert "no live worker" in text.lower()
    control(db, run, "pause")
    assert "It is paused." in Visitor(visitor.app).page(f"/runs/{run}")


@pytest.mark.usefixtures("clock")
def test_the_critical_path_and_slack(visitor: Visitor, db: Session) -> None:
    run = start(db, node(node_id="slow"), node(node_id="fast"), node(0, 1, node_id="last"))
    worker = DrivenWorker(db)
    slow, fast = worker.claim(2)
    [fast_node] = column(db, "select node_index from horsies.tasks where id = %s", fast.task_id)
    slow, fast = (slow, fast) if fast_node == 1 else (fast, slow)
    move_clock(db, 10)
    worker.finish(done(fast))
    move_clock(db, 20)
    worker.finish(done(slow))
    [last] = worker.claim(1)
    move_clock(db, 5)
    worker.finish(done(last))
    data = read(visitor, run)
    assert names(data, "critical") == ["slow", "last"]
    slack = {each["node"]["node_id"]: each["time"]["slack_s"] for each in data["nodes"]}
    assert slack == {"slow": 0.0, "fast": 20.0, "last": 0.0}
    assert "on-path" in visitor.page(f"/runs/{run}")


def test_a_child_run_and_a_map_have_a_bar_and_links(visitor: Visitor, db: Session) -> None:
    run = start(
        db,
        node(kind="workflow", task_name="horsies.build:child", node_id="inner"),
        node(node_id="list"),
        node(1, kind="map", over=1, item_parameter="item", node_id="each"),
    )
    child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node(), node(0))
    worker = DrivenWorker(db)
    for fence in worker.claim(2):
        worker.finish(done(fence, b"[1,2,3]"))
    map_once(db, DrivenWorker(db, names=["horsies.map"]))
    text = visitor.page(f"/runs/{run}")
    assert f'href="../runs/{child}"' in text
    assert "1 of 2 nodes" in text
    assert "0 of 3 items" in text
    assert "kind-map" in text
    assert f'href="../runs/{run}"' in visitor.page(f"/runs/{child}")
    assert "node inner" in visitor.page(f"/runs/{child}")


def test_a_task_and_its_run_link_to_each_other(visitor: Visitor, db: Session) -> None:
    run = start(db, node(node_id="pay"))
    [task_id] = column(db, "select id::text from horsies.tasks")
    assert f'href="../tasks/{task_id}"' in visitor.page(f"/runs/{run}")
    text = visitor.page(f"/tasks/{task_id}")
    assert f'href="../runs/{run}"' in text
    assert "node pay" in text


def test_a_large_run_opens_with_few_elements(visitor: Visitor, db: Session) -> None:
    size = 10_000
    run = start(db, *(node(*([index - 100] if index >= 100 else [])) for index in range(size)))
    text = visitor.page(f"/runs/{run}")
    assert "Time line</h2>" in text
    graph = visitor.page(f"/runs/{run}?view=graph")
    for page in (text, graph):
        assert page.count("<tr>") < 200
        assert page.count("<") < 6000
        assert len(page) < 500_000
    assert "10,000" in graph
    data = read(visitor, run)
    assert len(data["nodes"]) == 100
    following = read(visitor, run, f"?after={data['next_after']}")
    assert names(following, "nodes")[0] == "n100"


def target(answer: httpx.Response) -> str:
    assert answer.status_code == 303, answer.text
    return answer.url.join(answer.headers["location"]).raw_path.decode()


def test_a_run_is_paused_resumed_and_cancelled(visitor: Visitor, db: Session) -> None:
    run = start(db, node(), node(0))
    page = f"/runs/{run}"
    for action, status, button in (
        ("pause", "PAUSED", "Resume the run"),
        ("resume", "RUNNING", "Pause the run"),
        ("cancel", "CANCELLED", None),
    ):
        assert target(visitor.act(f"{page}/{action}")) == page
        assert state(db, run).status == status
        assert button is None or button in visitor.page(page)
    assert 'method="post"' not in visitor.page(page)
    assert target(visitor.act(f"{page}/cancel")) == page  # it has ended, so nothing changes
    records = db.execute("select who, action, subjects from horsies.audit order by id").fetchall()
    assert records == [("ada", f"run.{each}", [str(run)]) for each in ("pause", "resume", "cancel")]


@pytest.mark.parametrize("right", [each for each in Right if each is not Right.WORKFLOWS])
def test_other_rights_do_not_control_runs(app: Horsies, db: Session, right: Right) -> None:
    run = start(db, node())
    visitor = Visitor(app, User("u", frozenset({Right.VIEW, right})))
    assert 'method="post"' not in visitor.page(f"/runs/{run}")
    assert visitor.act(f"/runs/{run}/cancel").status_code == 403
    assert state(db, run).status == "RUNNING"


def test_hostile_names_are_only_text(visitor: Visitor, db: Session) -> None:
    run = start(
        db,
        node(node_id=HOSTILE, task_name=HOSTILE, queue=HOSTILE),
        node(0, node_id="b" * 128),
        name=HOSTILE,
        definition_key=HOSTILE,
    )
    for path in ("/runs", f"/runs/{run}", f"/runs/{run}?view=timeline"):
        text = visitor.page(path)
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert "\u202e" not in text, path


def test_a_run_of_a_single_node_and_wrong_views(visitor: Visitor, db: Session) -> None:
    run = start(db, node())
    for query in ("view=table", "status=x", "after=-1", "other=1"):
        assert visitor.get(f"/runs/{run}?{query}").status_code == 400
    assert "Time line</h2>" in visitor.page(f"/runs/{run}?view=timeline")
