"""How a run advances: joins, skips, failures, pauses, and its end."""

from typing import Any

import pytest

from tests.support.factories import DrivenWorker, failed
from tests.support.runs import control, fences, finish, node, nodes_of, read, start, state, statuses
from tests.support.sessions import Session


def test_a_chain_moves_node_by_node_and_completes(db: Session) -> None:
    run = start(db, node(), node(0), node(1), output=2)
    worker = DrivenWorker(db)
    assert statuses(db, run) == ["ENQUEUED", "PENDING", "PENDING"]
    assert finish(db, worker, run) == [0]
    assert statuses(db, run) == ["COMPLETED", "ENQUEUED", "PENDING"]
    assert finish(db, worker, run) == [1]
    assert state(db, run).status == "RUNNING"
    assert finish(db, worker, run) == [2]
    ended = state(db, run)
    assert (ended.status, ended.output_status, ended.output_result) == ("COMPLETED", "COMPLETED", b"2")
    assert ended.finished_at is not None


def test_a_fan_out_ends_in_a_join_that_is_updated_once_per_batch(db: Session) -> None:
    run = start(db, node(), *(node(0) for _ in range(50)), node(*range(1, 51)))
    worker = DrivenWorker(db)
    assert finish(db, worker, run) == [0]
    assert finish(db, worker, run) == list(range(1, 51))
    assert finish(db, worker, run) == [51]
    assert state(db, run).status == "COMPLETED"


def test_a_failure_skips_what_needs_it_and_no_other_branch(db: Session) -> None:
    run = start(db, node(), node(), node(0, 1), node(2), node(1))
    worker = DrivenWorker(db)
    finish(db, worker, run, 1)
    assert statuses(db, run) == ["COMPLETED", "FAILED", "SKIPPED", "SKIPPED", "SKIPPED"]
    ended = state(db, run)
    assert (ended.status, read(ended.error)["error_code"]) == ("FAILED", "BOOM")
    assert (ended.completed, ended.failed, ended.skipped, ended.total) == (1, 1, 3, 5)
    skipped = read(nodes_of(db, run)[2].result)
    assert (skipped["error_code"], skipped["data"]) == ("UPSTREAM_SKIPPED", {"dependency_index": 1})


@pytest.mark.parametrize(("failing", "expected"), [((3,), 3), ((1,), 1), ((1, 3), 3), ((2, 3), 3)])
def test_a_skip_names_the_index_of_the_dependency_in_the_run(
    db: Session, failing: tuple[int, ...], expected: int
) -> None:
    run = start(db, node(), node(), node(), node(), node(3, 1), node(4))
    finish(db, DrivenWorker(db), run, *failing)
    causes = [read(nodes_of(db, run)[index].result)["data"] for index in (4, 5)]
    assert causes == [{"dependency_index": expected}, {"dependency_index": 4}]


def test_a_skip_by_a_quorum_names_the_index_of_the_first_dependency_that_failed(db: Session) -> None:
    run = start(db, node(), node(), node(), node(2, 1, join="any"))
    worker = DrivenWorker(db)
    claims = fences(db, worker, run)
    for index in (0, 1, 2):
        worker.finish(failed(claims[index]))
    assert read(nodes_of(db, run)[3].result)["data"] == {"dependency_index": 2}


JOINS: list[tuple[dict[str, Any], tuple[int, ...], str]] = [
    ({}, (), "ENQUEUED"),
    ({}, (1,), "SKIPPED"),
    ({"allow_failed_deps": True}, (0, 1, 2), "ENQUEUED"),
    ({"join": "any"}, (0, 1), "ENQUEUED"),
    ({"join": "any"}, (0, 1, 2), "SKIPPED"),
    ({"join": "quorum", "min_success": 2}, (0,), "ENQUEUED"),
    ({"join": "quorum", "min_success": 2}, (0, 1), "SKIPPED"),
]


@pytest.mark.parametrize(("options", "failing", "expected"), JOINS)
def test_joins(db: Session, options: dict[str, Any], failing: tuple[int, ...], expected: str) -> None:
    run = start(db, node(), node(), node(), node(0, 1, 2, **options))
    finish(db, DrivenWorker(db), run, *failing)
    assert statuses(db, run)[3] == expected


def test_on_error_pause_holds_what_waits_until_it_is_resumed(db: Session) -> None:
    run = start(db, node(), node(), node(1), node(2), on_error="pause")
    worker = DrivenWorker(db)
    finish(db, worker, run, 0)
    assert state(db, run).status == "PAUSED"
    assert statuses(db, run) == ["FAILED", "COMPLETED", "READY", "PENDING"]
    assert worker.claim() == []
    assert control(db, run, "resume") == "changed"
    assert control(db, run, "resume") == "unchanged"
    assert finish(db, worker, run) == [2]
    assert finish(db, worker, run) == [3]
    assert state(db, run).status == "FAILED"
