"""`bulk_preview`: stores the tasks that a filter selects, and changes nothing else."""

import json
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from horsies.db.queries import tasks as task_queries
from horsies.monitoring.filters import parse_filter
from tests.support.bulk import LIVE, found, preview, previewed
from tests.support.factories import DrivenWorker, ended_task, request, send, send_many
from tests.support.sessions import NOON, Session, call, column, freeze_clock, move_clock

DAY_S = 86_400


def test_it_stores_the_matching_tasks_the_latest_first(db: Session) -> None:
    freeze_clock(db)
    send(db, request(queue="other"))
    first, second = send(db), send(db)
    ended_task(db, request(name="ended"))
    bulk_id = preview(db, wanted="queue:default")
    assert previewed(db, bulk_id) == [second, first]
    row = found(db, bulk_id)
    assert (row.action, row.state, row.filter, tuple(row.statuses)) == ("cancel", "PREVIEW", "queue:default", LIVE)
    assert (row.total, row.is_cut, row.left_out, row.processed, row.changed) == (2, False, 0, 0, 0)
    assert (row.created_at, row.created_by, row.acted_by, row.started_at, row.idle_s) == (NOON, "ada", None, None, None)
    assert row.sample == [second, first]
    assert column(db, "select count(*) from horsies.tasks") == [3]
    assert column(db, "select json_build_array(who, action, details ->> 'tasks')::text from horsies.audit") == [
        json.dumps(["ada", "bulk.preview", "2"])
    ]


def test_without_matching_tasks_the_preview_is_empty(db: Session) -> None:
    assert found(db, preview(db)).total == 0


def test_a_rerun_leaves_out_what_was_sent_again(db: Session) -> None:
    first, second = ended_task(db), ended_task(db)
    call(db, task_queries.rerun(first, uuid7()))
    bulk_id = preview(db, "rerun", statuses=["COMPLETED"])
    assert previewed(db, bulk_id) == [second]
    assert (found(db, bulk_id).total, found(db, bulk_id).left_out) == (1, 1)


@pytest.mark.parametrize(
    ("most", "windows", "expected"), [(2, 10, [4, 3]), (9, 10, [4, 3, 2, 1, 0]), (5, 10, [4, 3, 2, 1, 0])]
)
def test_no_more_tasks_are_stored_than_allowed(db: Session, most: int, windows: int, expected: Sequence[int]) -> None:
    sent = [send(db) for _ in range(5)]
    bulk_id = limited(db, most, windows)
    assert previewed(db, bulk_id) == [sent[place] for place in expected]
    assert found(db, bulk_id).is_cut is (len(expected) < len(sent))


def test_the_search_continues_window_by_window(db: Session) -> None:
    """Of 100,001 waiting tasks, the oldest matches; one window searches 100,000."""
    oldest = send(db, request(UUID(int=7 << 76 | 2 << 62), queue="mail"))
    send_many(db, 100_000)
    assert previewed(db, limited(db, 10, 1, "queue:mail")) == []
    assert found(db, limited(db, 10, 1, "queue:mail")).is_cut
    bulk_id = limited(db, 10, 2, "queue:mail")
    assert previewed(db, bulk_id) == [oldest]
    assert not found(db, bulk_id).is_cut


def limited(db: Session, most: int, windows: int, wanted: str = "queue:*") -> UUID:
    new_id = uuid4()
    document = parse_filter(f"{wanted} status:pending").unwrap().document()
    db.execute(
        "select horsies.bulk_preview(%s, 'cancel', %s, %s::json, '{PENDING}', 'ada', %s, %s)",
        (new_id, wanted, document, most, windows),
    )
    return new_id


def test_previews_that_nobody_has_started_are_deleted_after_a_day(db: Session) -> None:
    freeze_clock(db)
    send(db)
    started, forgotten = preview(db), preview(db)
    db.execute("update horsies.bulk_actions set state = 'DONE' where id = %s", (started,))
    move_clock(db, DAY_S - 1)
    recent = preview(db)
    assert set(column(db, "select id from horsies.bulk_actions")) == {started, forgotten, recent}
    move_clock(db, 2)
    latest = preview(db)
    assert set(column(db, "select id from horsies.bulk_actions")) == {started, recent, latest}


def test_tasks_that_workers_hold_are_found_too(db: Session) -> None:
    task_id = send(db)
    DrivenWorker(db).claim_one()
    assert previewed(db, preview(db)) == [task_id]
    assert previewed(db, preview(db, statuses=["PENDING"])) == []
