"""`horsies workflows`: showing and controlling runs from a shell."""

import json
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, finish, node, start, state
from tests.support.sessions import open_session


@pytest.mark.timeout(120)  # it starts the command line about twelve times
def test_runs_are_listed_drawn_and_controlled(tmp_path: Path, database_url: str) -> None:
    def shell(*args: object, code: int = 0) -> str:
        ended = horsies(tmp_path, "workflows", *map(str, args), **{URL_VARIABLE: database_url})
        assert ended.returncode == code, ended.stderr + ended.stdout
        assert "Traceback" not in ended.stderr
        return ended.stdout + ended.stderr

    assert "no such runs" in shell("list")
    with open_session(database_url) as db:
        broken = start(db, node(), node(0), node(1), node(1, 0, allow_failed_deps=True))
        worker = DrivenWorker(db)
        finish(db, worker, broken)
        finish(db, worker, broken, 1)
        waiting = start(db, node(kind="workflow", task_name="horsies.build:child"))
        child = attach(db, DrivenWorker(db, names=["horsies.build:child"]), node())
        head, *rows = shell("list").splitlines()
        assert head.startswith("WORKFLOW ID  ")
        assert [row.split()[:3] for row in rows] == [
            [str(waiting), "flow", "RUNNING"],
            [str(broken), "flow", "RUNNING"],
        ]
        drawn = shell("show", broken).splitlines()
        assert [line.split() for line in drawn[-4:]] == [
            ["✓", "n0", "COMPLETED"],
            ["✗", "n1", "FAILED", "BOOM", "←", "n0"],
            ["-", "n2", "SKIPPED", "UPSTREAM_SKIPPED", "←", "n1"],
            ["…", "n3", "ENQUEUED", "←", "n1,", "n0"],
        ]
        shown = json.loads(shell("show", waiting, "--json"))
        assert (shown["status"], shown["nodes"][0]["child_id"]) == ("RUNNING", str(child))
        assert shell("pause", waiting) == f"{waiting} paused\n"
        assert state(db, child).status == "PAUSED"
        assert shell("resume", waiting, broken) == f"{waiting} resumed\n{broken} not paused\n"
        assert shell("cancel", waiting, broken).count(" cancelled\n") == 2
        assert state(db, child).status == "CANCELLED"
        done = start(db, node(kind="workflow", task_name="horsies.build:child"))
        finish(db, worker, attach(db, DrivenWorker(db, names=["horsies.build:child"]), node()))
        [shown_node] = json.loads(shell("show", done, "--json"))["nodes"]
        assert (shown_node["status"], shown_node["summary"]["completed_tasks"]) == ("COMPLETED", 1)
    assert json.loads(shell("list", "--status=CANCELLED", "--limit=1", "--json"))[0]["workflow_id"] == str(waiting)
    assert "there is no run" in shell("show", uuid7(), code=1)
    assert "name a run by its id" in shell("pause", "instance:app", code=2)
