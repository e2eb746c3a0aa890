"""Transactional tasks as nodes of workflows: each node that is COMPLETED has its effect, and no other node has one."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from horsies import Horsies, NodeKey, TaskNode, TaskResult, WorkflowHandle, WorkflowStatus, from_node
from tests.support.environment import URL_VARIABLE, Environment, load_tasks
from tests.support.sessions import column

TASKS = Path(__file__).with_name("transactional_node_tasks.py")
KINDS = ["by_psycopg", "by_psycopg_async", "by_alchemy", "by_session", "by_session_async"]
CODES = {"ok": None, "refuse": None, "err": "NO", "raise": "UNHANDLED_EXCEPTION"}
LONG_MS = 30_000


@pytest.fixture
def stage(environment: Environment) -> Iterator[Environment]:
    """Yield an environment with a worker, and the table of the effects."""
    shutil.copy(TASKS, environment.folder)
    environment.tasks = load_tasks(environment.folder / TASKS.name, {URL_VARIABLE: environment.url})
    environment.session.execute(
        "create table effects (key text primary key, slot int unique deferrable initially deferred)"
    )
    environment.session.execute("grant all on effects to public")
    environment.worker("--processes=2", app="transactional_node_tasks:app").wait_until_ready()
    yield environment
    environment.tasks.app.close()


def start(stage: Environment, kind: str, how: str) -> WorkflowHandle[Any]:
    """Start a workflow with a transactional node in the middle: two nodes wait for it, and another branch does not."""
    tasks, app = stage.tasks, stage.tasks.app
    assert isinstance(app, Horsies)
    first = tasks.number.node(node_id="first")(value=1)
    middle = getattr(tasks, kind).node(node_id="middle")(before=from_node(first), key=f"{kind} {how}", how=how)
    second = tasks.by_psycopg.node(node_id="second")(before=from_node(middle), key=f"{kind} {how}, second", how="ok")
    informed = TaskNode(
        fn=tasks.code_of, waits_for=[middle], args_from={"before": middle}, allow_failed_deps=True, node_id="informed"
    )
    other = tasks.by_psycopg.node(node_id="other")(before=from_node(first), key=f"{kind} {how}, other", how="ok")
    nodes: list[Any] = [first, middle, second, informed, other]
    key = f"transactional.{stage.folder.name}.{kind}.{how}"
    return app.workflow(f"{kind} {how}", nodes, definition_key=key).start().unwrap()


def states(handle: WorkflowHandle[Any]) -> dict[str, str]:
    return {info.node_id: info.status for info in handle.tasks().unwrap()}


def effects(stage: Environment) -> list[str]:
    return column(stage.session, "select key from effects order by key")


def test_the_effects_of_the_completed_nodes_only(stage: Environment) -> None:
    runs = {(kind, how): start(stage, kind, how) for kind in KINDS for how in CODES}
    expected: list[str] = []
    for (kind, how), handle in runs.items():
        result, code = handle.get(timeout_ms=LONG_MS), CODES[how]
        name = f"{kind} {how}"
        expected.append(f"{name}, other")
        assert (name, handle.result_for(NodeKey("informed")).ok) == (name, code or "-")
        if code is None:
            expected += [name, f"{name}, second"]
            assert result.unwrap() == {
                "second": TaskResult(ok=3),
                "informed": TaskResult(ok="-"),
                "other": TaskResult(ok=2),
            }, name
            assert set(states(handle).values()) == {"COMPLETED"}, name
        else:
            assert result.unwrap_err().error_code == code, name
            assert handle.status().unwrap() is WorkflowStatus.FAILED, name
            assert states(handle) == {
                "first": "COMPLETED",
                "middle": "FAILED",
                "second": "SKIPPED",
                "informed": "COMPLETED",
                "other": "COMPLETED",
            }, name
    assert effects(stage) == sorted(expected)


def test_the_effects_of_the_completed_items_of_a_map_only(stage: Environment) -> None:
    tasks = stage.tasks
    found = tasks.numbers.node(node_id="found")(count=5)
    stored = tasks.store_item.map(over=from_node(found), node_id="stored")()
    summed = tasks.total.node(node_id="summed")(parts=from_node(stored))
    key = f"transactional.{stage.folder.name}.items"
    spec = tasks.app.workflow("items", [found, stored, summed], output=summed, definition_key=key)
    assert spec.start().unwrap().get(timeout_ms=LONG_MS).unwrap() == 6
    assert effects(stage) == ["item 0", "item 2", "item 4"]
