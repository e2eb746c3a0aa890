"""One task answers `RateLimited`: no worker of the cluster starts a task of its key until then, and others continue."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from horsies.db.sqlfiles import bind
from tests.support.environment import Environment
from tests.support.sessions import SCHEMA, Session, scalar
from tests.support.waiting import wait_until

TASKS = Path(__file__).with_name("limited_tasks.py")
SENT = 120
SEND = """
    select count(horsies.send('call', json_build_object('tenant', 'k' || n %% 3), queue => 'apis', key => 'k' || n %% 3))
    from generate_series(1, %s) as n
"""
# The hold is written behind the lock of the queue, which each claim takes before it reads its clock.
RECORD_HOLDS = """
    create table public.recorded (key text, at timestamptz default clock_timestamp(), until timestamptz);
    grant all on public.recorded to public;
    create function public.record_hold() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
    as 'begin insert into public.recorded (key, until) values (new.key, new.until); return new; end';
    create trigger record_hold after insert or update on horsies.holds
    for each row execute function public.record_hold()
"""
STARTS = "select task_key, started_at from horsies.history where started_at > %s order by started_at"


def starts_after(session: Session, at: datetime) -> list[tuple[str, datetime]]:
    """Return the keys and times of the starts after a time."""
    return [(key, started) for key, started in session.execute(bind(STARTS, SCHEMA), (at,)).fetchall()]


def test_nothing_of_the_key_starts_in_the_cluster_until_then(environment: Environment) -> None:
    shutil.copy(TASKS, environment.folder)
    session = environment.session
    session.execute(RECORD_HOLDS)
    workers = [environment.worker("--processes=2", app="limited_tasks:app") for _ in range(2)]
    for worker in workers:
        worker.wait_until_ready()
    assert scalar(session, SEND, SENT) == SENT
    ended = "select count(*) from horsies.history where status = 'COMPLETED'"
    wait_until(lambda: scalar(session, ended) == SENT, 30, "all tasks to complete")

    [(limited, at, until)] = session.execute("select key, at, until from public.recorded").fetchall()
    assert until - at > timedelta(seconds=1)
    starts = starts_after(session, at)
    early = [key for key, started in starts if started < until]
    assert limited not in early
    assert early, "no task of another key has started meanwhile"
    assert limited in {key for key, _ in starts}
    answered: list[tuple[Any, ...]] = session.execute(
        "select postponed ->> 'code', postponed ->> 'scope', (postponed ->> 'count')::int from horsies.history"
        " where postponed is not null"
    ).fetchall()
    assert answered == [("RATE_LIMITED", "key", 1)]
    assert scalar(session, "select max(attempt) from horsies.history") == 1
    assert scalar(session, "select count(*) from horsies.attempts") == 0
    assert [worker.stop() for worker in workers] == [0, 0]
