"""`drain` and a real worker leave the same rows: outcomes, retries, deadlines, transactional tasks, limits, workflows."""

import os
from typing import Any

import psycopg
import pytest

from horsies.testing import TestQueue
from tests.support.databases import new_database
from tests.support.server import Server
from tests.support.waiting import wait_until
from tests.testing.outcomes_app import app, send_everything, start_random_workflow

_ENDED = """
    select h.task_name, h.queue, h.priority, h.args::text, h.status, h.error_code, h.attempt, h.result::text,
           h.retry_policy::text, h.timeout_ms, h.node_index
    from horsies.history h order by 1, 4, 11
"""
_ATTEMPTS = """
    select h.task_name, h.args::text, a.attempt, a.outcome, a.error_code, a.error ->> 'message'
    from horsies.attempts a join horsies.history h on h.id = a.task_id order by 1, 2, 3
"""
_RUNS = """
    select w.name, w.status, n.node_id, n.status, n.error_code, n.result::text
    from horsies.workflows w join horsies.workflow_nodes n on n.workflow_id = w.id order by w.name, n.index
"""
_LEFT = "select count(*) from horsies.tasks"
_NO_IDLE_LIMIT = """
    select set_config(s.name, '0', false) from pg_settings s where s.name = 'idle_session_timeout'
"""  # servers before 14 have no such setting
GRAPHS = int(os.environ.get("HORSIES_PARITY_GRAPHS", "200"))
"""The number of random workflows."""


def rows(session: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    statements = {"ended": _ENDED, "attempts": _ATTEMPTS, "runs": _RUNS, "written": "select * from written"}
    return {name: session.execute(statement.encode()).fetchall() for name, statement in statements.items()}


def prepared(url: str) -> psycopg.Connection[Any]:
    session = psycopg.connect(url, autocommit=True, client_encoding="utf8")
    session.execute(_NO_IDLE_LIMIT)
    session.execute("create table written (number int)")
    return session


def send_all() -> int:
    for seed in range(GRAPHS):
        start_random_workflow(seed)
    return send_everything()


@pytest.mark.timeout(500)
def test_drain_leaves_the_rows_of_a_real_worker(server: Server, template: str) -> None:
    with new_database(server, template) as url, prepared(url) as session, TestQueue(app, database_url=url) as queue:
        count = send_all()
        queue.advance("1 hour")
        queue.drain()
        drained = rows(session)
    with new_database(server, template) as url, prepared(url) as session, TestQueue(app, database_url=url) as queue:
        with queue.worker():
            send_all()
            wait_until(lambda: session.execute(_LEFT).fetchone() == (0,), 240, lambda: str(rows(session)))
        worked = rows(session)
    assert len(drained["ended"]) >= count
    assert len({name for name, *_ in drained["runs"]}) == 1 + GRAPHS
    for name, found in drained.items():
        assert found == worked[name], name
