"""`find_tasks`: all fields of a filter, pages, and the bound of a search."""

import random
from datetime import timedelta
from uuid import UUID

import pytest

from horsies.db.queries import monitoring as monitoring_queries
from horsies.monitoring.filters import parse_filter
from tests.support.factories import HOSTNAME, DrivenWorker, done, failed, numbered_id, request, send
from tests.support.sessions import NOON, Session, call, column, freeze_clock, move_clock

NOBODY = numbered_id(99_999)


@pytest.fixture
def ids(db: Session) -> list[UUID]:
    """Create a completed, a failed, a running and a waiting task, and one that waits in another queue."""
    sent = [send(db, request(numbered_id(number))) for number in range(4)]
    worker = DrivenWorker(db)
    completed, broken, _ = worker.claim(3)
    worker.finish(done(completed), failed(broken))
    return [*sent, send(db, request(numbered_id(4), name="mail", queue="other"))]


def page(db: Session, text: str, before: UUID | None = None, most: int = 10) -> tuple[list[UUID], UUID | None, bool]:
    document = parse_filter(text).unwrap().document()
    rows, next_before, is_cut = call(db, monitoring_queries.find_tasks(document, before, most))
    return [row.id for row in rows], next_before, is_cut


def found(db: Session, text: str) -> list[UUID]:
    return page(db, text)[0]


def test_an_empty_filter_finds_all(db: Session, ids: list[UUID]) -> None:
    assert page(db, "") == (ids[::-1], None, False)


def test_no_tasks_at_all(db: Session) -> None:
    assert page(db, "") == ([], None, False)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("status:running", [2]),
        ("status:failed status:pending", [4, 3, 1]),
        ("-status:pending", [2, 1, 0]),
        ("status:claimed", []),
        ("-status:pending -status:claimed -status:running", [1, 0]),
        ("queue:other", [4]),
        ("queue:o*", [4]),
        ('queue:"o*"', []),
        ("-queue:other", [3, 2, 1, 0]),
        ("task:add queue:default", [3, 2, 1, 0]),
        ("task:add task:mail", [4, 3, 2, 1, 0]),
        ("task:a_d", []),
        ("-task:*", []),
        ("error:BOOM", [1]),
        ("error:BO*", [1]),
        ("error:BANG", []),
        ("-error:BOOM", [4, 3, 2, 0]),
        (f"worker:{HOSTNAME}", [2, 1, 0]),
        ("worker:host*", [2, 1, 0]),
        ("-worker:host*", [4, 3]),
        ("worker:elsewhere", []),
        ("key:x", []),
        (f"id:{numbered_id(1)}", [1]),
        (f"id:{numbered_id(4)} id:{numbered_id(0)}", [4, 0]),
        (f"id:{numbered_id(4)} status:failed", []),
        (f"id:{NOBODY}", []),
        (f"-id:{numbered_id(1)}", [4, 3, 2, 0]),
        (f"run:{NOBODY}", []),
        (f"-run:{NOBODY}", [4, 3, 2, 1, 0]),
    ],
)
def test_every_field(db: Session, ids: list[UUID], text: str, places: list[int]) -> None:
    assert found(db, text) == [ids[place] for place in places]


def test_keys_and_runs(db: Session, ids: list[UUID]) -> None:
    run = numbered_id(500)
    db.execute("update horsies.tasks set task_key = 'tenant-7', workflow_id = %s, node_index = 0, root_id = %s"
               " where id = %s", (NOBODY, run, ids[3]))  # fmt: skip
    db.execute("update horsies.history set task_key = 'tenant-8' where id = %s", (ids[0],))
    assert found(db, "key:tenant-7") == [ids[3]]
    assert found(db, "key:tenant-*") == [ids[3], ids[0]]
    assert found(db, "-key:tenant-8") == [ids[4], ids[3], ids[2], ids[1]]
    assert found(db, f"run:{run}") == found(db, f"run:{NOBODY}") == [ids[3]]
    assert found(db, f"-run:{run}") == [ids[4], ids[2], ids[1], ids[0]]


def test_times_are_those_of_sending_and_of_the_end(db: Session) -> None:
    freeze_clock(db)
    first, second = (send(db, request(numbered_id(number))) for number in range(2))
    move_clock(db, 3600)
    third = send(db, request(numbered_id(2)))
    worker = DrivenWorker(db)
    [fence] = worker.claim(1)
    worker.finish(done(fence))  # the first task ends at 13:00, the second one was sent at 12:00 and waits
    move_clock(db, 1800)  # 13:30
    hour = (NOON + timedelta(hours=1)).isoformat()
    assert found(db, "since:1h") == [third, first]
    assert found(db, "until:1h") == [second]
    assert found(db, f"since:{hour}") == [third, first]
    assert found(db, f"until:{hour}") == [second]
    assert found(db, "since:31m until:29m") == [third, first]
    assert found(db, "since:29m") == []
    assert found(db, "since:3650d") == [third, second, first]


def test_pages_follow_each_other(db: Session, ids: list[UUID]) -> None:
    assert page(db, "", most=2) == ([ids[4], ids[3]], ids[3], False)
    assert page(db, "", ids[3], most=2) == ([ids[2], ids[1]], ids[1], False)
    assert page(db, "", ids[1], most=2) == ([ids[0]], None, False)
    assert page(db, "", most=5) == (ids[::-1], None, False)
    assert page(db, "", most=0)[0] == []
    assert page(db, "", most=2**31 - 1) == (ids[::-1], None, False)


@pytest.mark.parametrize("looked_at", [1, 2, 3, 7, 100])
def test_all_pages_together_are_the_whole_list_also_with_a_bound(db: Session, looked_at: int) -> None:
    """No task is missing or twice, in whatever pieces live and ended tasks are searched."""
    dice = random.Random(looked_at)  # noqa: S311
    sent = [send(db, request(numbered_id(number), queue=dice.choice("ab"))) for number in range(30)]
    worker = DrivenWorker(db, queues=["a", "b"])
    fences = worker.claim(20)
    worker.finish(*(done(fence) for fence in dice.sample(list(fences), 15)))
    wanted = parse_filter("queue:a").unwrap().document()
    expected = column(db, "select id from (select id, queue from horsies.tasks union all"
                      " select id, queue from horsies.history) t where queue = 'a' order by id desc")  # fmt: skip
    listed: list[UUID] = []
    before: UUID | None = None
    calls = 0
    while before is not None or not calls:
        [(ids, before, is_cut)] = db.execute(
            "select * from horsies.find_tasks(%s::json, %s, 4, %s)", (wanted, before, looked_at)
        ).fetchall()
        assert not is_cut or len(ids) <= 4
        listed += ids
        calls += 1
        assert calls <= len(sent) + 1
    assert listed == expected


def insert_ended(db: Session, count: int) -> None:
    """Insert ended tasks, one each minute before now; the last one has another name."""
    db.execute(
        "insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,"
        " finished_at, fingerprint) select (%s || lpad(to_hex(n), 12, '0'))::uuid, case n when 1 then 'rare' else 'add'"
        " end, 'default', 100, '{}', 'COMPLETED', '1', now(), 1, now(), now() - n * interval '1 minute', 'x'"
        " from generate_series(1, %s) as n",
        (str(numbered_id(0))[:24], count),
    )


def test_a_list_that_is_full_early_reads_little(db: Session) -> None:
    insert_ended(db, 6000)
    latest = [numbered_id(6000 - n) for n in range(10)]
    reads = (
        "select sum(pg_stat_get_xact_tuples_returned(c.oid))::int from pg_class c"
        " where c.relnamespace = 'horsies'::regnamespace and c.relname like 'history%' and c.relkind = 'i'"
    )
    with db.transaction(force_rollback=True):
        [(before,)] = db.execute(reads).fetchall()
        assert page(db, "status:completed")[0] == latest
        [(after,)] = db.execute(reads).fetchall()
    assert after - before < 2500
    assert page(db, "task:rare") == ([numbered_id(1)], None, False), "a rare task is searched for further back"


def test_a_search_continues_where_the_one_before_has_ended(db: Session) -> None:
    """Each row is read once by the search for the last id, and once to be filtered."""
    insert_ended(db, 30_000)
    reads = (
        "select sum(pg_stat_get_xact_tuples_returned(c.oid))::int from pg_class c"
        " where c.relnamespace = 'horsies'::regnamespace and c.relname like 'history%' and c.relkind = 'i'"
    )
    with db.transaction(force_rollback=True):
        [(before,)] = db.execute(reads).fetchall()
        assert page(db, "task:rare") == ([numbered_id(1)], None, False)
        [(after,)] = db.execute(reads).fetchall()
    assert 30_000 < after - before < 62_000


def test_history_is_not_read_in_full(db: Session) -> None:
    db.execute(
        "insert into horsies.history (id, task_name, queue, priority, args, status, result, run_at, attempt, sent_at,"
        " finished_at, fingerprint) select (%s || lpad(to_hex(n), 12, '0'))::uuid, 'add', 'default', 100, '{}',"
        " 'COMPLETED', '1', now(), 1, now(), now() - n * interval '1 minute', 'x' from generate_series(1, 5000) as n",
        (str(numbered_id(0))[:24],),
    )
    wanted = parse_filter("task:nothing since:3d").unwrap().document()
    with db.transaction(force_rollback=True):
        rows = db.execute("select is_cut from horsies.find_tasks(%s::json, null, 10, 100)", (wanted,)).fetchall()
        [(read,)] = db.execute(
            "select sum(pg_stat_get_xact_tuples_returned(c.oid)) from pg_class c"
            " where c.relnamespace = 'horsies'::regnamespace and c.relname like 'history%' and c.relkind = 'i'"
        ).fetchall()
        [(whole,)] = db.execute(
            "select sum(pg_stat_get_xact_numscans(c.oid)) from pg_class c"
            " where c.relnamespace = 'horsies'::regnamespace and c.relname like 'history%' and c.relkind = 'r'"
        ).fetchall()
    assert rows == [(True,)]
    assert 100 <= read < 300
    assert whole == 0
