"""`find_runs`: lists of workflow runs, page by page."""

from uuid import UUID

import pytest

from horsies.db.queries import runs as run_queries
from horsies.db.queries.runs import FoundRuns, RunPlace
from tests.db.test_plans import reading
from tests.support.factories import DrivenWorker
from tests.support.runs import attach, control, finish, node, start
from tests.support.sessions import NOON, Session, call, column, freeze_clock, move_clock

COPY_OF_RUNS = """
    insert into horsies.workflows
    select (jsonb_populate_record(w, jsonb_build_object(
        'id', new.id, 'root_id', new.id, 'started_at', w.started_at - new.n * interval '1 second'))).*
    from horsies.workflows w
    cross join (select n, md5(n::text)::uuid from generate_series(1, %s) as n) as new (n, id)
    where w.status = %s
"""
"""Copies each run of a status many times."""


def found(db: Session, status: str | None = None, name: str | None = None, limit: int = 10) -> list[UUID]:
    answer = call(db, run_queries.find_runs(status, name, None, limit))
    return [each.run_id for each in answer.runs]


def test_the_latest_come_first_and_child_runs_not_at_all(db: Session) -> None:
    freeze_clock(db)
    runs: list[UUID] = []
    for _ in range(3):
        runs.append(start(db, node(kind="workflow", task_name="horsies.build:child")))
        move_clock(db, 1)
    attach(db, DrivenWorker(db, names=["horsies.build:child"]), node())
    assert found(db) == runs[::-1]


def test_those_of_a_status_and_a_workflow(db: Session) -> None:
    worker = DrivenWorker(db)
    completed = start(db, node(), name="order", definition_key="shop.order.v1")
    finish(db, worker, completed)
    failed = start(db, node(), name="order", definition_key="shop.order.v2")
    finish(db, worker, failed, 0)
    running = start(db, node(), name="image", definition_key="shop.image.v1")
    paused = start(db, node(), name="image", definition_key="shop.image.v1")
    control(db, paused, "pause")
    by_status = {"COMPLETED": completed, "FAILED": failed, "RUNNING": running, "PAUSED": paused}
    assert {status: found(db, status) for status in by_status} == {key: [run] for key, run in by_status.items()}
    assert set(found(db, None, "order")) == {completed, failed}
    assert found(db, None, "shop.%.v2") == [failed]
    assert found(db, "PAUSED", "image") == [paused]
    assert found(db, "PAUSED", "order") == []


@pytest.mark.parametrize("status", [None, "RUNNING"])
def test_pages_hold_each_run_once_although_all_were_started_at_the_same_time(db: Session, status: str | None) -> None:
    freeze_clock(db)
    runs = {start(db, node()) for _ in range(5)}
    listed: list[UUID] = []
    place: RunPlace | None = None
    for _ in range(3):
        page: FoundRuns = call(db, run_queries.find_runs(status, None, place, 2))
        listed += [each.run_id for each in page.runs]
        place = page.next_place
    assert place is None
    assert (len(listed), set(listed)) == (5, runs)
    assert listed == sorted(listed, reverse=True)


def test_a_search_ends_after_a_number_of_runs_and_continues_from_there(db: Session) -> None:
    freeze_clock(db)
    old = start(db, node(), name="old")
    for _ in range(4):
        move_clock(db, 1)
        start(db, node(), name="new")
    sql = "select unnest(array[next_at::text, next_id::text, is_cut::text, cardinality(ids)::text]) from {}"
    first = column(db, sql.format("horsies.find_runs(null, 'old', null, null, 1, 3)"))
    assert first[2:] == ["true", "0"]
    assert first[1] == str(UUID(int=0))
    ids = column(
        db,
        "select unnest(ids) from horsies.find_runs(null, 'old', %s::text::timestamptz, %s::text::uuid, 1, 3)",
        *first[:2],
    )
    assert ids == [old]


def test_a_list_does_not_read_all_runs(db: Session) -> None:
    run = start(db, node())
    control(db, run, "cancel")
    db.execute(COPY_OF_RUNS, (5000, "CANCELLED"))
    live = start(db, node())
    for status, expected in ((None, 10), ("RUNNING", 1)):
        with reading(db) as reads:
            assert len(found(db, status)) == expected
        assert not reads.whole_tables & {"workflows"}
        assert reads.rows < 4500, "the latest 1,000 runs are searched first"
    assert found(db, "RUNNING") == [live]


@pytest.mark.parametrize("status", ["FAILED", "COMPLETED"])
def test_a_list_of_ended_runs_reads_no_runs_of_other_statuses(db: Session, status: str) -> None:
    wanted = start(db, node())
    finish(db, DrivenWorker(db), wanted, *([0] if status == "FAILED" else []))
    control(db, start(db, node()), "cancel")
    db.execute(COPY_OF_RUNS, (5000, "CANCELLED"))
    with reading(db) as reads:
        answer = call(db, run_queries.find_runs(status, None, None, 10))
    assert ([each.run_id for each in answer.runs], answer.is_cut) == ([wanted], False)
    assert not reads.whole_tables & {"workflows"}
    assert reads.rows < 500


def test_a_place_in_the_past(db: Session) -> None:
    freeze_clock(db)
    start(db, node())
    assert call(db, run_queries.find_runs(None, None, RunPlace(NOON, UUID(int=0)), 5)).runs == []
