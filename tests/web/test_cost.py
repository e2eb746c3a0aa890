"""What pages cost the database: the rows of ended tasks and of runs that they read do not grow with their number."""

from urllib.parse import quote
from uuid import UUID

import pytest

from horsies import Horsies
from horsies.db.queries import monitoring as monitoring_queries
from tests.support.factories import DrivenWorker, ended_task, failed, request, send
from tests.support.runs import control, node, start
from tests.support.sessions import Session, call, freeze_clock, move_clock, scalar
from tests.support.waiting import wait_until
from tests.support.web import Visitor

MANY = 20_000
FEW = 6_000

_HISTORY = """
    insert into horsies.history
    select (jsonb_populate_record(h, jsonb_build_object(
        'id', overlay(h.id::text placing lpad(to_hex(n), 12, '0') from 25)))).*
    from horsies.history h cross join generate_series(1, %s) as n where h.id = %s
"""
_RUNS = """
    insert into horsies.workflows
    select (jsonb_populate_record(w, jsonb_build_object(
        'id', made.id, 'root_id', made.id, 'started_at', w.started_at - made.n * interval '1 s'))).*
    from horsies.workflows w cross join (select n, md5(n::text)::uuid as id from generate_series(1, %s) as n) as made
    where w.id = %s
"""
_READ = """
    select coalesce(sum(pg_stat_get_tuples_returned(c.oid) + pg_stat_get_tuples_fetched(c.oid)), 0)::bigint
    from pg_class c where c.relnamespace = 'horsies'::regnamespace
      and (c.relname like 'history%%' or c.relname = 'workflows' or c.relname like 'attempts%%') and c.relkind in ('r', 'i')
"""
_NO_AUTOVACUUM = """
    do $$
    declare
        name regclass;
    begin
        for name in select oid from pg_class where relnamespace = 'horsies'::regnamespace and relkind = 'r' loop
            execute format('alter table %s set (autovacuum_enabled = off)', name);
        end loop;
    end $$
"""
_OTHERS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"

PATHS = (
    *("/", "/queues", "/queues?queue=default", "/tasks", "/tasks?filter=status:completed", "/errors", "/runs"),
    *("/runs?status=cancelled", "/runs?status=failed", "/runs?status=running", "/definitions", "/schedules"),
    *("/workers", "/system", "/send"),
)


@pytest.fixture
def paths(db: Session) -> list[str]:
    """Fill the database with many ended tasks and runs, and return the paths of all pages."""
    freeze_clock(db)
    db.execute(_NO_AUTOVACUUM)  # what it reads would count, too
    ended = ended_task(db)
    worker = DrivenWorker(db, queues=("mail",), names=["send_mail"])
    crashed = send(db, request(name="send_mail", queue="mail"))
    worker.finish(failed(worker.claim_one(), "BOOM"))
    waiting = send(db)
    run = start(db, node())
    control(db, run, "cancel")
    live = start(db, node(), node(0))
    db.execute(_HISTORY, (MANY, ended))
    db.execute(_RUNS, (MANY, run))
    move_clock(db, 120)
    for counting in (monitoring_queries.sample(None), monitoring_queries.sample_errors()):
        while call(db, counting):
            continue
    db.execute("analyze")
    db.execute("select pg_stat_force_next_flush()")  # what this session has read must not count for a page
    group: UUID = scalar(db, "select id from horsies.error_groups")
    return [
        *PATHS,
        f"/errors?group={group}",
        *(f"/tasks/{each}" for each in (ended, crashed, waiting)),
        f"/runs/{live}",
    ]


def rows_read(db: Session, app: Horsies, path: str) -> int:
    """Visit a page; return the number of rows and entries of indexes that were read for it."""
    wait_until(lambda: scalar(db, _OTHERS) == 0, 20, "the end of other sessions, which report what they have read")
    before = scalar(db, _READ)
    assert Visitor(app).get(path).status_code == 200
    wait_until(lambda: scalar(db, _OTHERS) == 0, 20, "the end of the sessions of the page")
    return scalar(db, _READ) - before


@pytest.mark.timeout(180)
def test_pages_read_few_of_many_ended_tasks_and_runs(db: Session, app: Horsies, paths: list[str]) -> None:
    found = {path: rows_read(db, app, path) for path in paths}
    assert {path: rows for path, rows in found.items() if rows > FEW} == {}
    assert found["/tasks"] > 0, "the statistics say what was read"
    assert rows_read(db, app, f"/tasks?filter={quote('task:missing')}") > FEW, "a search for a name reads its window"
